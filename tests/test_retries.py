"""Whatever writes many jobs gets over a lock, a deadlock and a lost connection, as a save does."""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import Engine, make_url

from jobs_for_tests import some_job
from postgres_server import libpq_url
from tuneledger import Archive
from tuneledger.cli import run
from tuneledger.copying import CopyReport, copy_jobs
from tuneledger.errors import DatabaseBusy, DatabaseFull
from tuneledger.pruning import PruneReport, prune

JOBS = 4


def fill(archive: Archive, steps: int = 5) -> None:
    """A few jobs of so many steps, and no others; none at all of no steps."""
    with archive.write() as repository:
        for job in repository.jobs().jobs:
            repository.delete_job(job.job_id)
    for number in range(JOBS if steps else 0):
        archive.save(some_job(f"job {number}", steps))


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Archive]:
    """An archive to copy from."""
    with Archive(tmp_path / "source.db") as opened:
        fill(opened)
        yield opened


def copied(source: Archive, target: Archive) -> CopyReport:
    """Copies what is new and merges what differs."""
    return copy_jobs(source, target)


def replaced(source: Archive, target: Archive) -> CopyReport:
    """Copies what is new and replaces what differs."""
    return copy_jobs(source, target, on_conflict="replace")


def pruned(_source: Archive, target: Archive) -> PruneReport:
    """Deletes every job."""
    return prune(target, provider="test")


def thinned(_source: Archive, target: Archive) -> PruneReport:
    """Thins every job."""
    return prune(target, provider="test", keep_last=2)


def repaired(_source: Archive, target: Archive) -> list[Any]:
    """Makes every summary wrong, and right again."""
    with target.engine.begin() as connection:
        connection.execute(text("UPDATE tuneledger.job_metrics SET min_value = 7"))
    return list(target.repair())


def labelled(_source: Archive, target: Archive) -> list[int]:
    """Puts labels on a job, by the command line."""
    url = target.location.url.render_as_string(hide_password=False)
    return [run(["label", "job 1", "--add", "x", "--db", url]), run(["pin", "job 1", "--db", url])]


def deleted(_source: Archive, target: Archive) -> int:
    """Deletes two jobs, by the command line."""
    url = target.location.url.render_as_string(hide_password=False)
    return run(["delete", "job 1", "job 2", "--yes", "--db", url])


Work = Callable[[Archive, Archive], Any]


@pytest.mark.parametrize(
    ("steps", "work", "statement"),
    [
        (0, copied, "INSERT INTO tuneledger.job_digests"),
        (3, copied, "UPDATE tuneledger.job_digests"),
        (3, replaced, "DELETE FROM tuneledger.checkpoints"),
        (5, pruned, "DELETE FROM tuneledger.events"),
        (5, thinned, "DELETE FROM tuneledger.metrics"),
        (5, repaired, "UPDATE tuneledger.job_digests"),
        (5, labelled, "INSERT INTO tuneledger.job_labels"),
        (5, deleted, "DELETE FROM tuneledger.checkpoints"),
    ],
    ids=["copy", "merge", "replace", "prune", "thin", "repair", "label", "delete"],
)
def test_lost_connection(postgres_url: str, source: Archive, steps: int, work: Work, statement: str) -> None:
    """The connection is lost in the middle of the work: it is done again, and ends as if nothing had been."""
    with Archive(postgres_url) as archive:
        fill(archive, steps)
        undisturbed = work(source, archive)
        after = contents(archive)
        fill(archive, steps)
        with cut_off_before(statement, postgres_url) as struck:
            assert work(source, archive) == undisturbed
        assert struck == [statement]
        assert contents(archive) == after
        assert list(archive.verify()) == []


@contextmanager
def cut_off_before(statement: str, postgres_url: str) -> Iterator[list[str]]:
    """The first session that is about to send such a statement is ended by the server."""
    struck: list[str] = []
    with psycopg.connect(libpq_url(postgres_url), autocommit=True) as administrator:

        def strike(connection: Any, _cursor: object, sent: str, *_rest: object) -> None:
            if statement in sent and not struck:
                struck.append(statement)
                pid = connection.connection.driver_connection.info.backend_pid
                administrator.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])

        # Of every engine: commands make their own.
        event.listen(Engine, "before_cursor_execute", strike)
        try:
            yield struck
        finally:
            event.remove(Engine, "before_cursor_execute", strike)


def contents(archive: Archive) -> dict[str, Any]:
    """Every job with its labels and summaries."""
    with archive.read() as repository:
        return {
            job.job_id: (
                repository.job(job.job_id),
                repository.labels(job.job_id),
                repository.summaries(job.job_id),
            )
            for job in repository.jobs().jobs
        }


@pytest.mark.parametrize("work", [copied, replaced, pruned, thinned])
def test_lock_that_is_let_go(database_url: str, source: Archive, work: Work) -> None:
    """A lock that another connection holds for a moment is waited for, and the work is done once."""
    with Archive(database_url, wait_seconds=20) as archive:
        fill(archive, 3)
        undisturbed = work(source, archive)
        fill(archive, 3)
        with ThreadPoolExecutor(1) as pool, held(database_url) as let_go:
            working = pool.submit(work, source, archive)
            time.sleep(0.5)  # longer than the work takes where nothing holds it up
            assert not working.done()
            let_go()
            assert working.result() == undisturbed
        assert list(archive.verify()) == []
        with archive.read() as repository:
            assert repository.count_jobs() == (0 if work is pruned else JOBS)


@contextmanager
def held(database_url: str) -> Iterator[Callable[[], None]]:
    """Another connection keeps everybody from writing until it is told to let go."""
    engine = create_engine(make_url(database_url), isolation_level="AUTOCOMMIT")
    with closing(engine.raw_connection()) as connection:
        driver: Any = connection.driver_connection
        if engine.dialect.name == "sqlite":
            driver.isolation_level = None
            driver.execute("BEGIN IMMEDIATE")
        else:
            driver.autocommit = False
            driver.execute("LOCK TABLE tuneledger.job_digests IN EXCLUSIVE MODE")
        yield driver.rollback
    engine.dispose()


def test_deadlock_s_loser(postgres_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Of two that wait for each other's jobs PostgreSQL ends one: that one begins again, and says so."""
    lock = (
        "SELECT FROM tuneledger.job_digests "
        "WHERE job_key = (SELECT {}(job_key) FROM tuneledger.jobs) FOR UPDATE"
    )
    with Archive(postgres_url) as archive, psycopg.connect(libpq_url(postgres_url)) as other:
        fill(archive)
        # The one who has waited this long looks for a ring, and is its victim: never the other.
        other.execute("SET deadlock_timeout = '1h'")
        other.execute(lock.format("max"))
        with ThreadPoolExecutor(1) as pool, caplog.at_level(logging.WARNING, "tuneledger"):
            pruning = pool.submit(prune, archive, provider="test")
            wait_until_somebody_waits(postgres_url)
            other.execute(lock.format("min"))
            other.commit()
            report = pruning.result()
        assert (report.deleted, report.checkpoints) == (JOBS, 5 * JOBS)
        assert "prune 4 jobs again" in caplog.text
        assert "40P01" in caplog.text


def wait_until_somebody_waits(postgres_url: str) -> None:
    """Returns when a session of this database waits for another's lock."""
    query = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    deadline = time.monotonic() + 30
    with psycopg.connect(libpq_url(postgres_url), autocommit=True) as administrator:
        while administrator.execute(query).fetchone() == (0,):
            assert time.monotonic() < deadline
            time.sleep(0.01)  # until the server shows that the other one waits


def test_pauses_grow_and_differ(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five tries with a pause between them that about doubles; two that met don't come back together."""
    pauses: list[float] = []
    monkeypatch.setattr("tuneledger.archive.wait", lambda seconds, **_: pauses.append(seconds))
    with psycopg.connect(libpq_url(postgres_url), autocommit=True) as administrator:
        failing(administrator, "40P01")
    with Archive(postgres_url) as archive:
        for _ in range(2):
            with pytest.raises(DatabaseBusy, match="40P01"):
                archive.save(some_job())
    assert len(pauses) == 8
    for number, pause in enumerate(pauses):
        longest = 0.05 * 2 ** (number % 4 + 1) * 1.5
        assert longest / 3 <= pause <= longest
    assert pauses[:4] != pauses[4:]


def test_what_repeating_cannot_mend_is_told_at_once(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is not asked again."""
    pauses: list[float] = []
    monkeypatch.setattr("tuneledger.archive.wait", lambda seconds, **_: pauses.append(seconds))
    with psycopg.connect(libpq_url(postgres_url), autocommit=True) as administrator:
        failing(administrator, "53100")
    with Archive(postgres_url) as archive, pytest.raises(DatabaseFull):
        archive.save(some_job())
    assert pauses == []


def failing(administrator: psycopg.Connection, code: str) -> None:
    """No job can be inserted any more."""
    administrator.execute(
        f"""
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{code}'; END $$;
        CREATE TRIGGER fail BEFORE INSERT ON tuneledger.jobs FOR EACH ROW EXECUTE FUNCTION fail();
    """.encode()
    )
