import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Connection

from tuneledger import Archive, CheckpointOut
from tuneledger.testing.records import checkpoint, job


@pytest.fixture
def archive(database_url: str) -> Iterator[Archive]:
    """An archive of three jobs of 300 checkpoints with three metrics each."""
    with Archive(database_url) as opened:
        for number in range(3):
            opened.save(job(job_id=f"job-{number}", checkpoints=[point(step) for step in range(300)]))
        yield opened


def point(step: int, loss: float = 0.5) -> CheckpointOut:
    """A checkpoint of three metrics."""
    return checkpoint(step, {"train_loss": loss + step, "valid_loss": 1.0, "learning_rate": 0.1})


@contextmanager
def counted(archive: Archive) -> Iterator[list[str]]:
    """The statements that are sent meanwhile, but for those that begin a transaction."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_others: Any) -> None:
        if not statement.startswith(("BEGIN", "SET ")):
            sent.append(statement)

    event.listen(archive.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(archive.engine, "before_cursor_execute", note)


def on_engine(archive: Archive, *, sqlite: int, postgresql: int) -> int:
    """How many are expected here; a COPY is not counted, for it goes by the driver."""
    return sqlite if archive.engine.dialect.name == "sqlite" else postgresql


def test_a_new_job(archive: Archive) -> None:
    """The number of statements does not grow with the checkpoints, but for SQLite's batches."""
    with counted(archive) as sent:
        archive.save(job(job_id="new", checkpoints=[point(step) for step in range(1_000)]))
    assert len(sent) <= on_engine(archive, sqlite=14, postgresql=7), sent


def test_an_unchanged_job(archive: Archive) -> None:
    """Saving what is stored reads one row and writes none."""
    with counted(archive) as sent:
        archive.save(job(job_id="job-0", checkpoints=[point(step) for step in range(300)]))
    assert len(sent) == 1, sent


def test_appending(archive: Archive) -> None:
    """A new checkpoint of known metrics costs one statement on PostgreSQL and five on SQLite."""
    with archive.write() as repository, counted(archive) as sent:
        assert repository.append("job-0", [point(300)]).added == 1
    assert len(sent) == on_engine(archive, sqlite=5, postgresql=1), sent


def test_appending_alone(archive: Archive, tmp_path: Path) -> None:
    """A new checkpoint is one round trip to PostgreSQL, BEGIN, COMMIT and all; to SQLite seven statements."""
    with seen_by_the_driver(archive, tmp_path) as sent:
        assert archive.append("job-0", [point(300)]).added == 1
    assert len(sent()) == on_engine(archive, sqlite=7, postgresql=1), sent()
    if archive.engine.dialect.name == "sqlite":  # which tells a writer that read first of others too late
        assert sent()[0] == "BEGIN IMMEDIATE"


def test_a_transaction(archive: Archive, tmp_path: Path) -> None:
    """One question is three round trips: a connection that was used a moment ago is not tried first."""
    with seen_by_the_driver(archive, tmp_path) as sent, archive.read() as repository:
        assert repository.count_jobs() == 3
    assert len(sent()) == 3, sent()


@contextmanager
def seen_by_the_driver(archive: Archive, folder: Path) -> Iterator[Callable[[], list[str]]]:
    """What the one connection of the pool sends meanwhile: SQLite's statements, PostgreSQL's round trips."""
    statements: list[str] = []
    with closing(archive.engine.raw_connection()) as lent:
        driver: Any = lent.driver_connection
    if archive.engine.dialect.name == "sqlite":
        driver.set_trace_callback(statements.append)
        yield lambda: statements
        driver.set_trace_callback(None)
        return
    with (folder / "trace").open("w+") as file:
        driver.pgconn.trace(file.fileno())
        yield lambda: [
            line for line in (folder / "trace").read_text().splitlines() if "ReadyForQuery" in line
        ]
        driver.pgconn.untrace()


@pytest.mark.parametrize("steps", [10, 300])
def test_reading(archive: Archive, steps: int) -> None:
    """Checkpoints come in three statements, however many."""
    with archive.read() as repository, counted(archive) as sent:
        assert len(repository.checkpoints("job-0", last_step=steps - 1)) == steps
    assert len(sent) == 3, sent


def test_reading_a_long_job(archive: Archive) -> None:
    """Of a long range SQLite is asked for each series by itself; what comes back is the same."""
    seldom = [
        checkpoint(step, {"train_loss": 1.0} | ({"valid_loss": math.inf} if step > 2_990 else {}))
        for step in range(6_500)
    ]
    archive.save(job(job_id="long", checkpoints=seldom))
    with archive.read() as repository:
        with counted(archive) as sent:
            assert repository.checkpoints("long", last_step=2_499) == seldom[:2_500]
        assert len(sent) == on_engine(archive, sqlite=4, postgresql=3), sent
        with counted(archive) as sent:
            assert repository.checkpoints("long") == seldom
        assert len(sent) == on_engine(archive, sqlite=6, postgresql=5), sent
        assert repository.checkpoints("long", newest_first=True) == seldom[::-1]


def test_latest_and_best(archive: Archive) -> None:
    """For all jobs together as many statements as for one."""
    ids = ["job-0", "job-1", "job-2"]
    with archive.read() as repository, counted(archive) as sent:
        assert len(repository.latest_checkpoints(ids)) == 3
        assert len(sent) == 3, sent
        sent.clear()
        assert len(repository.best_checkpoints("train_loss", job_ids=ids)) == 3
        assert len(sent) == 4, sent


def plan(connection: Connection, statement: str) -> str:
    """The engine's plan, as text."""
    explain = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
    rows = connection.execute(text(explain + statement)).all()
    return "\n".join(str(row[-1]) for row in rows)


KEYED = {
    "a range of steps": (
        "SELECT value FROM metrics WHERE job_key = 2 AND name_id IN (1, 2) AND step_number BETWEEN 1 AND 9",
        "metrics",
    ),
    "checkpoints of a range": (
        "SELECT * FROM checkpoints WHERE job_key = 2 AND step_number BETWEEN 10 AND 20 ORDER BY step_number",
        "checkpoints",
    ),
    "the last step": ("SELECT max(step_number) FROM checkpoints WHERE job_key = 2", "checkpoints"),
}


@pytest.mark.parametrize("question", KEYED)
def test_plans_name_the_key(archive: Archive, question: str) -> None:
    """What is asked by job and step is found by the primary key on both engines, never by reading a table."""
    statement, table = KEYED[question]
    with archive.engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            statement = statement.replace(f"FROM {table}", f"FROM tuneledger.{table}")
            connection.execute(text(f"ANALYZE tuneledger.{table}"))
            # Three small jobs fit in few pages, which it would rather read whole.
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        shown = plan(connection, statement)
    assert f"pk_{table}" in shown or "USING PRIMARY KEY" in shown, shown
    assert "SCAN " not in shown.upper().replace("INDEX SCAN", "").replace("INDEX ONLY SCAN", "").replace(
        "HEAP SCAN", ""
    ), shown


# -- appending ----------------------------------------------------------------------------------


def test_appended_is_as_saved(archive: Archive) -> None:
    """A job appended to checkpoint by checkpoint is the job saved whole: content, digest, summaries."""
    archive.save(job(job_id="grown", checkpoints=[point(0)]))
    losses = iter([0.3, 0.7, None, float("nan"), -0.0, 0.2, float("inf")])
    given = [point(0)]
    for step, loss in zip(count(1), losses, strict=False):
        given.append(checkpoint(step, {"train_loss": loss, "valid_loss": 1.0}, note=f"step {step}"))
        assert archive.append("grown", given[-1:]).added == 1
    given.append(checkpoint(100, {}))
    assert archive.append("grown", given[-1:]).added == 1
    archive.save(job(job_id="whole", checkpoints=given))
    with archive.read() as repository:
        assert repository.checkpoints("grown") == given
        assert list(repository.summaries("grown").values()) == list(repository.summaries("whole").values())
    assert not list(archive.verify())


def test_appending_what_is_not_simply_new(archive: Archive) -> None:
    """A stored step is compared, a new metric added, and nothing is ever written half."""
    again = archive.append("job-0", [point(299)])
    assert (again.unchanged, again.wrote) == (1, False)
    changed = archive.append("job-0", [point(299, loss=9.0)])
    assert [change.new for change in changed.changed] == [308.0]
    fresh = checkpoint(300, {"train_loss": 0.5, "never_seen": 1.0})
    assert archive.append("job-0", [fresh]).added == 1
    with archive.read() as repository:
        assert repository.checkpoint("job-0", 300) == fresh
        assert "never_seen" in repository.metric_names("job-0")
    assert not list(archive.verify())


def test_appending_to_a_job_with_a_stale_summary(archive: Archive) -> None:
    """What another program left stale is computed again, not carried on."""
    place = f"{archive.location.schema}." if archive.location.schema else ""
    with archive.engine.begin() as connection:
        connection.execute(text(f"UPDATE {place}job_digests SET summary_digest = summary_digest + 1"))
        connection.execute(text(f"UPDATE {place}job_metrics SET number_count = 7"))
    assert archive.append("job-0", [point(300, loss=-1e6)]).added == 1
    with archive.read() as repository:
        assert repository.summaries("job-0")["train_loss"].min_step == 300
        assert repository.summaries("job-0")["train_loss"].number_count == 301


def test_appending_from_several_threads(archive: Archive) -> None:
    """Writers that append to one job, some of them the same steps, lose nothing and break no digest."""

    def write(first: int) -> int:
        return sum(archive.append("job-0", [point(step)]).added for step in range(first, first + 20))

    with ThreadPoolExecutor(4) as pool:
        added = sum(pool.map(write, [300, 310, 320, 400]))
    assert added == 60
    with archive.read() as repository:
        assert repository.count_checkpoints("job-0") == 360
        assert repository.summaries("job-0")["train_loss"].number_count == 360
    assert not list(archive.verify())
