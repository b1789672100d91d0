"""`verify` finds every row that is not as it was written, changes nothing, and repairs summaries alone."""

import random
import sqlite3
import tracemalloc
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from jobs_for_tests import some_job
from tuneledger import Archive, Input, Job
from tuneledger.errors import DatabaseDamaged, DatabaseError, SchemaError
from tuneledger.repository import Finding, Problem, digests
from tuneledger.tables import Base
from tuneledger.testing import checkpoint, job

CHANGED, MISSING, ORPHANED, SUMMARY = Problem.CHANGED, Problem.MISSING, Problem.ORPHANED, Problem.SUMMARY
UNREADABLE = Problem.UNREADABLE

# What is done to the job of that name, and what verify is to say of it: (problem, step or None for the job).
# {key} is the job's key, {own} the id of a metric name that it alone uses.
CASES: dict[str, tuple[str, set[tuple[Problem, int | None]]]] = {
    "untouched": ("SELECT 1", set()),
    "a value": ("UPDATE metrics SET value = value + 1e-16 WHERE {job} AND step_number = 2", {(CHANGED, 2)}),
    "a value made NaN": (
        "UPDATE metrics SET value = NULL, kind = 2 WHERE {job} AND name_id = {own} AND step_number = 2",
        {(CHANGED, 2), (SUMMARY, None)},
    ),
    "a value missing": (
        "DELETE FROM metrics WHERE {job} AND step_number = 3",
        {(CHANGED, 3), (SUMMARY, None)},
    ),
    "a value added": (
        "INSERT INTO metrics VALUES ({key}, {own}, 1000, 1.5, NULL)",
        {(ORPHANED, 1000), (SUMMARY, None)},
    ),
    "a time": ("UPDATE checkpoints SET created_at = 5 WHERE {job} AND step_number = 1", {(CHANGED, 1)}),
    "other fields": ("UPDATE checkpoints SET extra = '{{}}' WHERE {job} AND step_number = 1", {(CHANGED, 1)}),
    "the digest of a step": (
        "UPDATE checkpoints SET digest = 7 WHERE {job} AND step_number = 2",
        {(CHANGED, 2)},
    ),
    "a checkpoint missing": (
        "DELETE FROM checkpoints WHERE {job} AND step_number = 2",
        {(ORPHANED, 2), (CHANGED, None)},
    ),
    "a whole step missing": (
        (
            "DELETE FROM checkpoints WHERE {job} AND step_number = 4; "
            "DELETE FROM metrics WHERE {job} AND step_number = 4"
        ),
        {(CHANGED, None), (SUMMARY, None)},
    ),
    "a checkpoint added": (
        (
            "INSERT INTO checkpoints SELECT job_key, 77, created_at, extra, digest FROM checkpoints "
            "WHERE {job} AND step_number = 1"
        ),
        {(CHANGED, 77), (CHANGED, None)},
    ),
    "its status": ("UPDATE jobs SET status = 'SUCCESS' WHERE {job}", {(CHANGED, None)}),
    "its document": ("UPDATE jobs SET document = '{{\"steps\":5}}' WHERE {job}", {(CHANGED, None)}),
    "spaces in its document": ("UPDATE jobs SET document = ' ' || document WHERE {job}", {(CHANGED, None)}),
    "a document that is none": ("UPDATE jobs SET document = '{{' WHERE {job}", {(UNREADABLE, None)}),
    "the name of an event": (
        "UPDATE events SET name = 'other' WHERE {job} AND occurrence = 0",
        {(CHANGED, None)},
    ),
    "the data of an event": ("UPDATE events SET data = '{{' WHERE {job}", {(CHANGED, None)}),
    "an event missing": (
        "DELETE FROM events WHERE {job} AND digest = (SELECT min(digest) FROM events WHERE {job})",
        {(CHANGED, None)},
    ),
    "an equal event missing": (
        "DELETE FROM events WHERE {job} AND name = 'twice' AND occurrence = 0",
        {(MISSING, None), (CHANGED, None)},
    ),
    "a state": ("UPDATE job_states SET status = 'X' WHERE {job}", {(CHANGED, None)}),
    "a state missing": ("DELETE FROM job_states WHERE {job}", {(CHANGED, None)}),
    "its digest": ("UPDATE job_digests SET digest = 1 WHERE {job}", {(CHANGED, None)}),
    "its digest missing": ("DELETE FROM job_digests WHERE {job}", {(MISSING, None)}),
    "the name of a metric": (
        "UPDATE metric_names SET name = 'other', canonical = 'other' WHERE name_id = {own}",
        {(CHANGED, step) for step in (1, 2, 3, 4)},
    ),
    "no name of a metric": ("DELETE FROM metric_names WHERE name_id = {own}", {(MISSING, None)}),
    "a series unlisted": ("DELETE FROM job_metrics WHERE {job} AND name_id = {own}", {(SUMMARY, None)}),
    "a series too many": (
        "INSERT INTO job_metrics (job_key, name_id) VALUES ({key}, 9999)",
        {(SUMMARY, None)},
    ),
    "a summary": ("UPDATE job_metrics SET min_value = -1 WHERE {job}", {(SUMMARY, None)}),
    "the step of a summary": (
        "UPDATE job_metrics SET max_step = 3 WHERE {job} AND name_id = {own}",
        {(SUMMARY, None)},
    ),
    "a summary that is no longer kept": ("UPDATE job_digests SET summary_digest = 1 WHERE {job}", set()),
}


def job_of(name: str) -> Job:
    """A job with every part that a row can be wrong in, and a metric of its own."""
    made = some_job(name, 4)
    given: dict[str, Any] = {
        "job_id": name,
        "provider": "test",
        "status": "RUNNING",
        "revision": 4,
        "created_at": 9,
    }
    given["document"] = {"steps": 4}
    given["events"] = [*made.events, *[{"name": "twice", "created_at": 5}] * 2]
    given["checkpoints"] = [
        {
            "metrics": checkpoint.metrics.named_values() | {f"own of {name}": checkpoint.step_number / 3},
            "step_number": checkpoint.step_number,
            "created_at": checkpoint.created_at,
        }
        for checkpoint in made.checkpoints
    ]
    given["checkpoints"][0]["metrics"] |= {"odd": float("nan"), "zero": -0.0, "null": None, "text": "x"}
    return Job.model_validate(given)


def execute(archive: Archive, script: str) -> list[Any]:
    """Runs statements past the library, foreign keys off; gives the rows of the last."""
    rows: list[Any] = []
    with archive.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        if archive.location.schema:
            driver.execute("SET search_path TO tuneledger; SET session_replication_role = replica")
        else:
            driver.execute("PRAGMA foreign_keys = OFF")
        for statement in script.split("; "):
            cursor = driver.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
        if archive.location.schema:
            driver.commit()
            driver.execute("RESET ALL")
            driver.commit()
        else:
            driver.execute("PRAGMA foreign_keys = ON")
    return rows


def rows_of(archive: Archive) -> list[Any]:
    """Every row of every table."""
    tables = (
        "jobs",
        "job_digests",
        "job_states",
        "checkpoints",
        "metric_names",
        "job_metrics",
        "metrics",
        "events",
    )
    return [sorted(execute(archive, f"SELECT * FROM {table}"), key=repr) for table in tables]


def said_of(findings: Iterable[Finding], name: str) -> set[tuple[Problem, int | None]]:
    """What the findings say of one job."""
    return {(found.problem, found.step_number) for found in findings if found.job_id == name}


@pytest.fixture
def damaged(database_url: str) -> Iterable[Archive]:
    """An archive with a job a case, damaged as the case says."""
    with Archive(database_url) as archive:
        for name in CASES:
            archive.save(job_of(name))
        assert list(archive.verify()) == []
        for name, (script, _) in CASES.items():
            [(key,)] = execute(archive, f"SELECT job_key FROM jobs WHERE job_id = '{name}'")
            [(own,)] = execute(archive, f"SELECT name_id FROM metric_names WHERE name = 'own of {name}'")
            execute(archive, script.format(job=f"job_key = {key}", key=key, own=own))
        yield archive


def test_verify_names_job_and_step(damaged: Archive) -> None:
    """Each kind of damage is told with its job and step, nothing is told of others, nothing is changed."""
    before = rows_of(damaged)
    findings = list(damaged.verify())
    said = {name: said_of(findings, name) for name in CASES}
    assert said == {name: expected for name, (_, expected) in CASES.items()}
    assert rows_of(damaged) == before
    for finding in findings:
        assert "\n" not in str(finding)
        assert len(str(finding)) < 1_000
    assert "job 'a value' step 2: changed: it does not fit its digest" in map(str, findings)


def test_repair_rebuilds_summaries_alone(damaged: Archive) -> None:
    """`repair` mends the jobs in which summaries alone are wrong, as they were; it touches no content."""
    mended = {name for name, (_, said) in CASES.items() if said == {(SUMMARY, None)}}
    assert len(mended) == 4
    before = rows_of(damaged)
    left = list(damaged.repair())
    after = list(damaged.verify())
    for name, (_, said) in CASES.items():
        expected = set() if name in mended else said
        assert said_of(left, name) == expected, name
        assert said_of(after, name) == expected, name
    content = [index for index, _ in enumerate(before) if index != 5]  # job_metrics
    assert [rows_of(damaged)[index] for index in content] == [before[index] for index in content]
    with damaged.read() as repository:
        for name in mended:
            assert repository.job(name) == job_of(name)
            assert repository.summaries(name)["train_loss"] == repository.summaries("untouched")["train_loss"]


def test_a_summary_that_names_no_step(database_url: str) -> None:
    """The best step is looked for by the summary; one that is not stored is damage of that job, told so."""
    with Archive(database_url) as archive:
        archive.save(some_job())
        table = f"{archive.location.schema}.job_metrics" if archive.location.schema else "job_metrics"
        with archive.engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE {table} SET min_step = 77")
        with (
            archive.read() as repository,
            pytest.raises(DatabaseDamaged, match=r"job 'job'.* step 77.*--repair"),
        ):
            repository.best_checkpoint("job", "train_loss")
        assert not list(archive.repair())
        with archive.read() as repository:
            assert repository.best_checkpoint("job", "train_loss")


def test_the_proof_goes_on_to_the_last_step_there_can_be(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where that step ends a window, nothing is asked for beyond 63 bits."""
    monkeypatch.setattr(digests, "_VALUES_A_WINDOW", 0)
    steps = [*range(63), 2**63 - 1]
    with Archive(database_url) as archive:
        archive.save(job("long", checkpoints=[checkpoint(step, {"loss": 0.5}) for step in steps]))
        with archive.read() as repository:
            assert repository.proof("long").holds


@pytest.mark.parametrize("change", ["kind = 1", "value = 'text'", "value = NULL, kind = 99"])
def test_what_no_check_lets_through(sqlite_url: str, change: str) -> None:
    """Values that no release writes, as only a damaged file holds them, are told by their step."""
    with Archive(sqlite_url) as archive:
        archive.save(some_job("odd", 4))
        execute(
            archive,
            f"PRAGMA ignore_check_constraints = ON; UPDATE metrics SET {change} WHERE step_number = 2; "
            "PRAGMA ignore_check_constraints = OFF",
        )
        assert (CHANGED, 2) in said_of(archive.verify(), "odd")


def test_a_changed_schema_is_told(sqlite_url: str) -> None:
    """What somebody did to the tables of a file is found too, before its rows are."""
    with Archive(sqlite_url) as archive:
        execute(archive, "ALTER TABLE jobs ADD COLUMN theirs")
        found, *_ = archive.verify()
    assert (found.problem, found.job_id) == (CHANGED, None)
    assert found.detail.startswith("the schema: ")
    assert "theirs" in found.detail


def test_rows_without_a_job(database_url: str) -> None:
    """Rows whose job is gone are told table by table, and a canonical name that is none."""
    with Archive(database_url) as archive:
        archive.save(job_of("gone"), inputs=[Input("x.json", "test", 1, "aa")])
        with archive.write() as repository:
            repository.label("gone", add=["pinned"])
        archive.save(job_of("stays"))
        execute(archive, "DELETE FROM jobs WHERE job_id = 'gone'")
        execute(archive, "UPDATE metric_names SET canonical = 'x' WHERE name = 'train_loss'")
        findings = list(archive.verify())
        assert all(found.job_id is None for found in findings)
        orphans = {found.detail.split()[0] for found in findings if found.problem is ORPHANED}
        assert orphans == set(Base.metadata.tables) - {"jobs", "metric_names"}
        assert [found.problem for found in findings if found.problem is not ORPHANED] == [CHANGED]


def test_what_cannot_be_read_is_narrowed_down(sqlite_url: str) -> None:
    """Text that is no UTF-8 is told by its step or its part, and everything else is still looked at."""
    with Archive(sqlite_url) as archive:
        for name in ("steps", "document", "events", "states", "name", "series"):
            archive.save(job_of(name))
        archive.save(some_job("long", 12_000))
        broken = "CAST(x'ff' AS TEXT)"
        key = "job_key = (SELECT job_key FROM jobs WHERE job_id = '{}')"
        for name, statement in {
            "steps": f"UPDATE checkpoints SET extra = {broken} WHERE step_number IN (2, 3) AND ",
            "document": f"UPDATE jobs SET document = {broken} WHERE ",
            "events": f"UPDATE events SET name = {broken} WHERE ",
            "states": f"UPDATE job_states SET status = {broken} WHERE ",
            "long": f"UPDATE checkpoints SET extra = {broken} WHERE step_number IN (6000, 11999) AND ",
        }.items():
            execute(archive, statement + key.format(name))
        execute(archive, f"UPDATE metric_names SET name = {broken} WHERE name = 'own of name'")
        execute(archive, "DELETE FROM metrics WHERE step_number = 9000")
        findings = list(archive.verify())
        assert said_of(findings, "steps") == {(UNREADABLE, 2), (UNREADABLE, 3)}
        assert said_of(findings, "long") == {
            (UNREADABLE, 6000), (UNREADABLE, 11999), (CHANGED, 9000)
        }  # fmt: skip
        for name in ("events", "states", "name"):
            assert said_of(findings, name) == {(UNREADABLE, None)}, name
        assert said_of(findings, "series") == set()
        assert any(found.job_id is None and found.problem is UNREADABLE for found in findings)


def test_an_index_that_lacks_a_row(sqlite_url: str) -> None:
    """No digest covers an index, by which jobs are found: SQLite's own look at the file does."""
    path = make_url(sqlite_url).database or ""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (entry,) = connection.execute("SELECT * FROM sqlite_master WHERE name = 'ix_jobs_created_at'")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_master WHERE name = 'ix_jobs_created_at'")
    with Archive(path) as archive:
        archive.save(job_of("unlisted"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", entry)
    with Archive(path) as archive:
        (finding, *_) = archive.verify()
    assert finding.problem is UNREADABLE
    assert "ix_jobs_created_at" in str(finding)


def test_a_schema_that_was_changed(sqlite_url: str) -> None:
    """A part of the schema that is gone is told, though every row holds."""
    with Archive(sqlite_url) as archive:
        archive.save(job_of("whole"))
        execute(archive, "DROP INDEX ix_jobs_created_at")
        (finding,) = archive.verify()
    assert finding.problem is CHANGED
    assert "the schema" in str(finding)
    assert "ix_jobs_created_at" in str(finding)


def test_memory_is_bounded(sqlite_url: str) -> None:
    """Verifying a job of many windows takes no more memory than one of a few."""
    peaks = []
    with Archive(sqlite_url, durable=False) as archive:
        for steps in (5_000, 15_000):
            job = some_job(f"job of {steps}", steps, events=[])
            archive.save(job)
            with archive.read() as repository:
                key = repository._job_key(job.job_id)
                tracemalloc.start()
                try:
                    assert list(repository.verify_job(key)) == []
                    peaks.append(tracemalloc.get_traced_memory()[1])
                finally:
                    tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


# -- bit flips ------------------------------------------------------------------------------------

FLIPS = 60
_NOT_CONTENT = {"jobs": ("archived_at",), "job_digests": ("summary_digest",)}


def logical_content(path: Path) -> object:
    """Every value that the archive is to give back, by SQL alone; None where it cannot be read."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    connection.text_factory = bytes
    try:
        return [
            (table, _values(connection, table.decode()))
            for (table,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table'"
            ).fetchall()
            if table != b"inputs"
        ]
    except (sqlite3.Error, UnicodeDecodeError):
        return None
    finally:
        connection.close()


def _values(connection: sqlite3.Connection, table: str) -> list[str]:
    cursor = connection.execute(f"SELECT * FROM {table}")
    left_out = _NOT_CONTENT.get(table, ())
    kept = [index for index, column in enumerate(cursor.description) if column[0] not in left_out]
    return sorted(repr([row[index] for index in kept]) for row in cursor)


def is_found(path: Path) -> bool:
    """Whether opening or verifying the file tells of damage, and does so by an error of our own."""
    try:
        with Archive(path, read_only=True) as archive:
            return any(True for _ in archive.verify())
    except (DatabaseDamaged, DatabaseError, SchemaError):
        return True


def test_bit_flips(sqlite_url: str, tmp_path: Path) -> None:
    """Of flipped bits that change any value of the archive, verify finds all."""
    path = Path(make_url(sqlite_url).database or "")
    with Archive(path) as archive:
        for name in ("one", "two", "three"):
            archive.save(job_of(name))
        archive.save(some_job("four", 300))
        with archive.engine.connect() as connection:
            connection.exec_driver_sql("ROLLBACK")
            connection.exec_driver_sql("VACUUM")
            connection.exec_driver_sql("BEGIN")
    whole = path.read_bytes()
    content = logical_content(path)
    assert not is_found(path)
    drawn = random.Random(20250)  # noqa: S311 - the same flips each time, no secret
    changed = missed = 0
    flipped = tmp_path / "flipped.db"
    while changed < FLIPS:
        place, bit = drawn.randrange(100, len(whole)), drawn.randrange(8)
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        flipped.write_bytes(damaged)
        if logical_content(flipped) == content:
            continue
        changed += 1
        missed += not is_found(flipped)
    assert (changed, missed) == (FLIPS, 0)
