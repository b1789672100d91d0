"""Up, down and up again with data; all of a migration or nothing of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest
from sqlalchemy import Engine, event

from schema_archives import JOBS, catalog_of, contents, dump_of, jobs_in, load, opened, revision_of
from tuneledger import Archive, schema
from tuneledger.errors import DataLoss, InvalidArgument, SchemaEmpty
from tuneledger.repository import OnConflict

REVISIONS = schema.revisions()


@pytest.fixture
def engine(empty_database_url: str) -> Iterator[Engine]:
    """The engine of an empty database, on each engine."""
    with opened(empty_database_url) as opened_engine:
        yield opened_engine


@pytest.mark.parametrize("revision", REVISIONS)
def test_stored_databases_upgrade(empty_database_url: str, engine: Engine, revision: str) -> None:
    """A database that any release left behind becomes the newest one, with every job as it was archived."""
    load(empty_database_url, revision)
    assert schema.drift(engine) == []
    assert revision_of(engine) == revision
    before = contents(engine)["job_digests"]
    assert schema.upgrade(engine) == REVISIONS[-1]
    assert schema.drift(engine) == []
    latest = {job.job_id: job for job in JOBS}
    found = jobs_in(empty_database_url)
    assert [job.checkpoints for job in found] == [latest[job.job_id].checkpoints for job in found]
    assert sorted(latest) == [job.job_id for job in found]
    # Saving what they were made of again finds their digests unchanged.
    with Archive(empty_database_url) as archive:
        for job in found:
            assert not archive.save(job, on_conflict=OnConflict.ERROR).wrote
    schema.downgrade(engine, revision)
    assert contents(engine)["job_digests"] == before


@pytest.mark.parametrize("revision", REVISIONS)
def test_up_down_and_up_again(empty_database_url: str, engine: Engine, revision: str) -> None:
    """From every revision up, back down and up again: no row changes that the revisions have in common."""
    load(empty_database_url, revision)
    low = contents(engine), catalog_of(engine)
    schema.upgrade(engine)
    high = contents(engine), catalog_of(engine)
    assert schema.downgrade(engine, revision) == revision
    assert (contents(engine), catalog_of(engine)) == low
    assert schema.upgrade(engine) == REVISIONS[-1]
    assert (contents(engine), catalog_of(engine)) == high


def test_one_step_at_a_time(empty_database_url: str, engine: Engine) -> None:
    """Each revision is reached, and left, by itself; where it is already, nothing happens."""
    load(empty_database_url, "0001")
    jobs = contents(engine)["jobs"]
    for revision in REVISIONS:
        assert schema.upgrade(engine, revision) == revision
        assert schema.drift(engine) == []
        assert contents(engine)["jobs"] == jobs
    assert schema.upgrade(engine, "0001") == REVISIONS[-1]
    for revision in reversed(REVISIONS):
        assert schema.downgrade(engine, revision) == revision
        assert schema.drift(engine) == []
        assert contents(engine)["jobs"] == jobs
    assert schema.downgrade(engine, "0002") == "0001"


def test_progress_is_told(empty_database_url: str, engine: Engine) -> None:
    """While the rows are read it is told how many jobs are done, of how many, up to the last."""
    load(empty_database_url, "0001")
    told: list[tuple[int, int]] = []
    schema.upgrade(engine, progress=lambda done, total: told.append((done, total)))
    assert told == sorted(set(told))
    assert told[-1] == (3, 3)


def test_a_downgrade_refuses_to_lose_rows(empty_database_url: str, engine: Engine) -> None:
    """What would be lost is told by table and count, and nothing changes until that is accepted."""
    load(empty_database_url, REVISIONS[-1])
    before = contents(engine)
    with pytest.raises(DataLoss) as refused:
        schema.downgrade(engine, "base")
    assert refused.value.rows == {
        table: len(before[table])
        for table in ("jobs", "job_states", "checkpoints", "metrics", "events", "inputs")
    }
    for table, rows in refused.value.rows.items():
        assert f"{rows} of {table}" in str(refused.value)
    assert contents(engine) == before
    assert schema.downgrade(engine, "base", accept_data_loss=True) is None
    assert contents(engine) == {}
    with pytest.raises(SchemaEmpty):
        schema.downgrade(engine, "base")
    assert schema.upgrade(engine) == REVISIONS[-1]
    assert schema.drift(engine) == []


def test_labels_are_not_lost_either(empty_database_url: str, engine: Engine) -> None:
    """What people put on jobs is told where it would go; what can be computed again is not."""
    load(empty_database_url, REVISIONS[-1])
    with Archive(empty_database_url) as archive, archive.write() as repository:
        repository.label("run-2", add=["kept"])
    with pytest.raises(DataLoss, match="would lose rows: 1 of job_labels; nothing was changed") as refused:
        schema.downgrade(engine, "0001")
    assert refused.value.rows == {"job_labels": 1}
    assert schema.downgrade(engine, "0001", accept_data_loss=True) == "0001"


def test_an_empty_archive_has_nothing_to_lose(engine: Engine) -> None:
    """Without rows a downgrade to nothing needs no leave."""
    schema.upgrade(engine)
    assert schema.downgrade(engine, "base") is None


def test_unknown_revisions(engine: Engine) -> None:
    """A revision that there is not is refused, with the list of those there are."""
    for migrate in (schema.upgrade, schema.downgrade):
        with pytest.raises(InvalidArgument, match="no revision '0815'; there are: 0001, 0002"):
            migrate(engine, "0815")


@contextmanager
def broken_after(engine: Engine, statements: int) -> Iterator[None]:
    """Raises after so many statements that write, as a failing disk or a cancelled query would."""
    left = statements

    def count_down(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        nonlocal left
        if statement.split(maxsplit=1)[0].upper() not in {"SELECT", "BEGIN", "SET", "SHOW", "PRAGMA"}:
            left -= 1
            if left == 0:
                raise ConnectionError

    event.listen(engine, "after_cursor_execute", count_down)
    try:
        yield
    finally:
        event.remove(engine, "after_cursor_execute", count_down)


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("start", [None, "0001"])
def test_broken_after_any_statement(empty_database_url: str, engine: Engine, start: str | None) -> None:
    """A migration that breaks after any of its statements leaves the database as it was, up and down."""
    if start is not None:
        load(empty_database_url, start)
    target = start or "base"
    before = contents(engine), catalog_of(engine), revision_of(engine)
    upgrades = _broken_until_it_works(engine, lambda: schema.upgrade(engine, backup=False), before)
    after = contents(engine), catalog_of(engine), revision_of(engine)
    assert after != before
    downgrades = _broken_until_it_works(engine, lambda: schema.downgrade(engine, target, backup=False), after)
    assert min(upgrades, downgrades) > 12
    assert contents(engine) == before[0]


def _broken_until_it_works(engine: Engine, migrate: object, before: object) -> int:
    assert callable(migrate)
    for statements in count(1):
        try:
            with broken_after(engine, statements):
                migrate()
        except ConnectionError:
            assert (contents(engine), catalog_of(engine), revision_of(engine)) == before
        else:
            return statements
    raise AssertionError


def test_dumps_are_of_every_revision() -> None:
    """Each revision has its dump, made by scripts/schema-dump."""
    for revision in REVISIONS:
        for name in ("sqlite", "postgresql"):
            assert f"'{revision}'" in dump_of(revision, name)
