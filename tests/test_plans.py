"""How the engines find a range of steps: by their own plans, and by what they visit on the way."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event, text

from tuneledger import Archive, CheckpointOut, CheckpointRepository, Job

NAMES = [f"metric_{number:02}" for number in range(40)]
# Steps a job; the longest holds 1,000,000 checkpoints in the long run, with 40 metrics for the range's sake.
SHORT, LONG = 400, 25_000 if os.environ.get("TUNELEDGER_LONG") == "1" else 4_000
MILLION = 1_000_000 if os.environ.get("TUNELEDGER_LONG") == "1" else 20_000


@pytest.fixture
def archive(database_url: str) -> Iterator[Archive]:
    """An archive with a short and a long job of 40 metrics, and a very long one of a single metric."""
    with Archive(database_url, durable=False) as opened:
        for job_id, length, names in (
            ("short", SHORT, NAMES),
            ("long", LONG, NAMES),
            ("narrow", MILLION, ["loss"]),
        ):
            opened.save(Job(job_id=job_id, provider="p"))
            for first in range(0, length, 20_000):
                steps = range(first, min(length, first + 20_000))
                with opened.write() as repository:
                    repository.append(job_id, [checkpoint(step, names) for step in steps])
        yield opened


def checkpoint(step: int, names: list[str]) -> CheckpointOut:
    """A checkpoint with these metrics."""
    metrics = dict.fromkeys(names, step / 8)
    return CheckpointOut.model_validate({"metrics": metrics, "step_number": step, "created_at": 1})


def noted(repository: CheckpointRepository, ask: Callable[[], object]) -> list[tuple[str, Any]]:
    """The statements that a question sends, as the driver gets them, with their parameters."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_rest: object) -> None:
        seen.append((statement, parameters))

    connection = repository._connection
    event.listen(connection, "before_cursor_execute", note)
    try:
        ask()
    finally:
        event.remove(connection, "before_cursor_execute", note)
    return seen


def statements(repository: CheckpointRepository, job_id: str) -> list[tuple[str, Any]]:
    """The statements that read the values of a range."""

    def ask() -> None:
        assert len(repository.checkpoints(job_id, first_step=200, last_step=219)) == 20

    seen = noted(repository, ask)
    return [found for found in seen if "FROM metrics" in found[0] or ".metrics" in found[0]]


def plan(repository: CheckpointRepository, statement: str, parameters: Any, how: str) -> Any:
    """What EXPLAIN says of a statement."""
    driver: Any = repository._connection.connection.driver_connection
    return driver.execute(f"{how} {statement}", parameters).fetchall()


def test_sqlite_bounds_job_name_and_step(sqlite_url: str) -> None:
    """The range is sought by job, name and both steps; `job_key=?` alone would read the whole job."""
    with Archive(sqlite_url) as archive:
        archive.save(Job(job_id="j", provider="p", checkpoints=[checkpoint(s, NAMES) for s in range(300)]))
        with archive.read() as repository:
            (read,) = statements(repository, "j")
            told = " ".join(row[3] for row in plan(repository, *read, "EXPLAIN QUERY PLAN"))
    assert "(job_key=? AND name_id=? AND step_number>? AND step_number<?)" in told
    assert "SCAN" not in told


@pytest.mark.parametrize("analyzed", [False, True])
def test_sqlite_seeks_what_is_asked_of_many_jobs(sqlite_url: str, *, analyzed: bool) -> None:
    """Latest, best and thinned-out curves of jobs read no table whole, before statistics and after."""
    jobs = [f"job-{number}" for number in range(30)]
    with Archive(sqlite_url, durable=False) as archive:
        for job_id in jobs:
            steps = [checkpoint(step, NAMES[:3]) for step in range(50)]
            archive.save(Job(job_id=job_id, provider="p", checkpoints=steps))
        if analyzed:
            with archive.engine.begin() as connection:
                connection.execute(text("ANALYZE"))
        with archive.read() as repository:
            for ask in (
                lambda: repository.latest_checkpoints(jobs[:20]),
                lambda: repository.best_checkpoints(NAMES[0], job_ids=jobs[:20]),
                lambda: repository.series(jobs[:20], NAMES[0], points=10),
                lambda: repository.series(jobs[:20], NAMES[0]),
            ):
                found = noted(repository, ask)
                assert found
                for read in found:
                    told = [row[3] for row in plan(repository, *read, "EXPLAIN QUERY PLAN")]
                    scanned = [line for line in told if line.startswith("SCAN ")]
                    tables = ("checkpoints", "metrics", "job_metrics", "jobs")
                    assert not [line for line in scanned if line.split()[1] in tables], (read[0], told)


@pytest.mark.parametrize("analyzed", [False, True])
def test_postgresql_seeks_what_is_asked_of_many_jobs(postgres_url: str, *, analyzed: bool) -> None:
    """Latest and best of jobs cost these jobs, not the archive, before statistics and after."""
    jobs = [f"job-{number}" for number in range(30)]
    with Archive(postgres_url, durable=False) as archive:
        steps = [checkpoint(step, NAMES[:2]) for step in range(400)]
        for job_id in jobs:
            archive.save(Job(job_id=job_id, provider="p", checkpoints=steps))
        if analyzed:
            with archive.engine.begin() as connection:
                for table in ("checkpoints", "metrics", "job_metrics"):
                    connection.execute(text(f"ANALYZE tuneledger.{table}"))
        with archive.read() as repository:
            # As the planner sees large tables: reading one whole is cheap, shared among several processes.
            for setting in ("min_parallel_table_scan_size", "parallel_setup_cost", "parallel_tuple_cost"):
                repository._connection.exec_driver_sql(f"SET LOCAL {setting} = 0")
            for ask in (
                lambda: repository.latest_checkpoints(jobs[:20]),
                lambda: repository.best_checkpoints(NAMES[0], job_ids=jobs[:20]),
            ):
                found = noted(repository, ask)
                assert found
                for read in found:
                    told = "\n".join(row[0] for row in plan(repository, *read, "EXPLAIN"))
                    assert "Seq Scan on checkpoints" not in told
                    assert "Seq Scan on metrics" not in told


@pytest.mark.parametrize("analyzed", [False, True])
def test_postgresql_seeks_each_bucket_once(postgres_url: str, *, analyzed: bool) -> None:
    """A thinned-out curve costs a few seeks a point, before the table's first statistics and after."""
    points = 50
    with Archive(postgres_url, durable=False) as archive:
        checkpoints = [checkpoint(step, NAMES[:1]) for step in range(3_000)]
        archive.save(Job(job_id="j", provider="p", checkpoints=checkpoints))
        if analyzed:
            with archive.engine.begin() as connection:
                connection.execute(text("ANALYZE tuneledger.metrics"))
        with archive.read() as repository:
            seeks = "SELECT idx_scan + seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'metrics'"
            connection = repository._connection
            before: int = connection.exec_driver_sql(seeks).scalar_one()
            (series,) = repository.series(["j"], NAMES[0], points=points).values()
            assert points / 2 < len(series.steps) <= points
            # One for its length, two for its ends; one a point to find its step, and one to read it.
            assert connection.exec_driver_sql(seeks).scalar_one() - before <= 3 + 2 * points


def test_a_range_costs_the_range(archive: Archive) -> None:
    """Rows visited don't grow with the job's length: neither with 40 metrics nor at the most checkpoints."""
    place = "tuneledger." if archive.location.schema else ""
    for analyzed in (False, True):
        if analyzed:  # plans must be right before and after the statistics are
            with archive.engine.begin() as connection:
                for table in ("metrics", "checkpoints"):
                    connection.execute(text(f"ANALYZE {place}{table}"))
        with archive.read() as repository:
            visited = {job_id: work(repository, job_id) for job_id in ("short", "long")}
            narrow = work(repository, "narrow", names=1)
        assert visited["long"] <= 1.3 * visited["short"]
        assert narrow <= visited["short"]


def work(repository: CheckpointRepository, job_id: str, names: int = len(NAMES)) -> float:
    """What reading the range takes: SQLite's virtual machine steps, PostgreSQL's rows and pages."""
    if repository._connection.dialect.name == "sqlite":
        driver: Any = repository._connection.connection.driver_connection
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        driver.set_progress_handler(count, 10)
        try:
            assert len(repository.checkpoints(job_id, first_step=200, last_step=219)) == 20
        finally:
            driver.set_progress_handler(None, 0)
        return steps
    (read,) = statements(repository, job_id)
    (told,) = plan(repository, *read, "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)")
    root = told[0][0]["Plan"]
    nodes = [root]
    for node in nodes:
        nodes += node.get("Plans", [])
    (scan,) = [node for node in nodes if node.get("Relation Name") == "metrics"]
    index = next(node for node in nodes if "Index Cond" in node)
    assert all(
        column in index["Index Cond"] for column in ("job_key", "name_id", "step_number >=", "step_number <=")
    )
    assert scan.get("Rows Removed by Filter", 0) == 0
    assert scan["Actual Rows"] * scan["Actual Loops"] == 20 * names
    return float(root["Shared Hit Blocks"] + root["Shared Read Blocks"])
