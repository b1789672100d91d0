"""What a database does wrong reaches the caller as one of our own errors, and nothing half stays behind."""

import copy
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from jobs_for_tests import some_job
from stored_content import stored_ids
from tuneledger import Archive, errors
from tuneledger.engine import open_engine
from tuneledger.errors import (
    DatabaseDamaged,
    DatabaseError,
    DatabaseReadOnly,
    InvalidArgument,
    SchemaBroken,
    TuneledgerError,
)


@pytest.fixture
def archive(database_url: str) -> Iterator[Archive]:
    """An archive that waits half a second for locks and for answers."""
    with Archive(database_url, wait_seconds=0.5, reply_seconds=0.5) as opened:
        yield opened


def test_missing_table(archive: Archive) -> None:
    """A table that is gone while the archive is open is a broken schema."""
    with archive.engine.connect() as connection, connection.begin():
        connection.execute(
            text("DROP TABLE " + ("tuneledger." if archive.location.schema else "") + "inputs")
        )
    with pytest.raises(SchemaBroken, match="db check"), archive.read() as repository:
        repository.jobs(input_name="x")


def test_swallowed_error_is_not_committed(archive: Archive) -> None:
    """A transaction in which a statement failed cannot be committed, whoever caught the error."""
    with pytest.raises(DatabaseError, match="earlier statement"), archive.write() as repository:  # noqa: PT012 - its end raises
        repository.save(some_job())
        with pytest.raises(SchemaBroken):
            repository._connection.exec_driver_sql("SELECT * FROM no_such_table")
    assert stored_ids(archive) == set()
    assert archive.save(some_job()).created


def test_an_append_that_fails_is_not_half(archive: Archive) -> None:
    """Of an append whose last statement fails nothing stays, and its connection serves the next one."""
    fresh = some_job(first=4, steps=1).checkpoints
    archive.save(some_job())
    refuse, allow = (
        (
            "CREATE TRIGGER no BEFORE INSERT ON metrics BEGIN SELECT RAISE(ABORT, 'x'); END",
            "DROP TRIGGER no",
        )
        if archive.location.schema is None
        else (
            "ALTER TABLE tuneledger.metrics ADD CONSTRAINT no CHECK (value < 0) NOT VALID",
            "ALTER TABLE tuneledger.metrics DROP CONSTRAINT no",
        )
    )
    with archive.engine.begin() as connection:
        connection.exec_driver_sql(refuse)
    with pytest.raises(DatabaseDamaged):
        archive.append("job", fresh)
    with archive.engine.begin() as connection:
        connection.exec_driver_sql(allow)
    assert not list(archive.verify())
    assert archive.append("job", fresh).added == 1
    assert not list(archive.verify())


def test_error_inside_a_savepoint_is_forgiven(archive: Archive) -> None:
    """A caller may undo a part by a savepoint; what stands outside of it is committed."""
    with archive.write() as repository:
        repository.save(some_job())
        nested = repository._session.begin_nested()
        with pytest.raises(SchemaBroken):
            repository._connection.exec_driver_sql("SELECT * FROM no_such_table")
        nested.rollback()
        repository.save(some_job("second"))
    assert stored_ids(archive) == {"job", "second"}


def test_read_only_archive(database_url: str) -> None:
    """What was opened to read refuses to write, before it does anything."""
    with Archive(database_url) as archive:
        archive.save(some_job())
    with Archive(database_url, read_only=True) as archive:
        with pytest.raises(DatabaseReadOnly):
            archive.save(some_job("other"))
        with pytest.raises(DatabaseReadOnly):
            archive.append("job", some_job(first=4, steps=1).checkpoints)
        assert stored_ids(archive) == {"job"}


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "b\udfff"])
def test_text_that_no_archive_holds(archive: Archive, name: str) -> None:
    """Asking for what can't be stored gets the same answer on both engines."""
    archive.save(some_job())
    with archive.read() as repository:
        asked: list[Callable[[], object]] = [
            lambda: repository.job(name),
            lambda: repository.series([name], "train_loss"),
            lambda: repository.job_id(name),
            lambda: repository.series(["job"], name),
            lambda: repository.best_checkpoint("job", name),
            lambda: repository.provider(name),
            lambda: repository.summaries(name),
        ]
        filters: list[dict[str, Any]] = [
            {field: name}
            for field in (
                *("provider", "model", "status", "input_name", "input_sha256"),
                *("label", "without_label"),
            )
        ]
        asked += [partial(repository.jobs, **narrowed) for narrowed in filters]
        asked += [partial(repository.count_jobs, **narrowed) for narrowed in filters]
        for ask in asked:
            with pytest.raises(InvalidArgument, match="not text"):
                ask()


def test_numbers_that_no_archive_holds(archive: Archive) -> None:
    """Bounds beyond 63 bits are as good as none, and a limit is a limit."""
    archive.save(some_job())
    with archive.read() as repository:
        assert len(repository.checkpoints("job", first_step=-(2**80), last_step=2**80)) == 3
        assert len(repository.checkpoints("job", created_from=-(2**80), created_to=2**80)) == 3
        assert repository.checkpoints("job", created_from=2**80) == []
        assert len(repository.jobs(created_from=-(2**80), created_to=2**80, limit=2**80).jobs) == 1
        assert repository.jobs(created_from=2**80).jobs == []


@pytest.mark.parametrize(
    "error",
    [
        errors.AmbiguousJob("a", ("ab", "ac")),
        errors.CheckpointNotFound("job", 5),
        errors.DataLoss("a file", {"jobs": 3}),
        errors.DatabaseBusy(),
        errors.DependentObjects.of("a schema", ("a view",)),
        errors.ExtraMissing("numpy"),
        errors.InvalidPayload(source="a file", position="line 3", reason="wrong"),
        errors.SourceRefused("no", http_status=403),
    ],
    ids=repr,
)
def test_errors_pass_between_processes(error: TuneledgerError) -> None:
    """By pickle, as a pool of processes sends them: one that does not come back breaks the whole pool."""
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 - pickled in this line
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 10**9])
def test_waits_are_bounded(tmp_path: Path, seconds: float) -> None:
    """No option makes a wait endless."""
    with pytest.raises(InvalidArgument, match="wait_seconds"):
        open_engine(tmp_path / "x.db", wait_seconds=seconds)
    with pytest.raises(InvalidArgument, match="reply_seconds"):
        open_engine(tmp_path / "x.db", reply_seconds=seconds)


DAMAGE = {
    "document": "UPDATE jobs SET document = '{'",
    "a document that is no object": "UPDATE jobs SET document = '[]'",
    "fields of older payloads": "UPDATE jobs SET older_fields = '{'",
    "an event's data": "UPDATE events SET data = '{'",
    "an event's name": "UPDATE events SET name = ''",
    "a checkpoint's fields": "UPDATE checkpoints SET extra = 'nothing'",
    "a checkpoint's time": "UPDATE checkpoints SET created_at = 9000000000000000000",
    "the lock of the job": "DELETE FROM job_digests",
}


@pytest.mark.parametrize("statement", DAMAGE.values(), ids=DAMAGE)
def test_damaged_rows(archive: Archive, statement: str) -> None:
    """Rows that somebody changed are told as damage, by reading or by saving, not as Python's error."""
    archive.save(some_job())
    if archive.location.schema:
        for table in ("jobs", "events", "checkpoints", "job_digests"):
            statement = statement.replace(f" {table}", f" tuneledger.{table}")
    with archive.engine.connect() as connection, connection.begin():
        connection.exec_driver_sql(statement.replace("%", "%%"))
    with pytest.raises(DatabaseDamaged, match="tuneledger verify"):  # noqa: PT012 - one of the two finds it
        with archive.read() as repository:
            repository.job("job")
        archive.save(some_job(steps=4))
