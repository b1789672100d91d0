"""Failures that hardly ever happen: errors of the drivers' own, ruined pages, damage without end."""

import shutil
import sqlite3
import traceback
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import exc
from sqlalchemy.engine import make_url

from jobs_for_tests import some_job
from postgres_server import libpq_url
from tuneledger import Archive
from tuneledger.engine.failures import translated, translation
from tuneledger.errors import (
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseError,
    DatabaseUnavailable,
    InvalidArgument,
    TuneledgerError,
)
from tuneledger.repository import Problem, verification

RARE: list[tuple[BaseException, type[TuneledgerError] | None]] = [
    (exc.TimeoutError("x"), DatabaseBusy),
    (exc.PendingRollbackError("x"), DatabaseUnavailable),
    (exc.DisconnectionError("x"), DatabaseUnavailable),
    (exc.InvalidRequestError("x"), DatabaseError),
    (exc.DBAPIError("x", None, Exception("x"), connection_invalidated=True), DatabaseUnavailable),
    (exc.DBAPIError("x", None, Exception("x")), DatabaseError),
    (sqlite3.ProgrammingError("closed"), DatabaseError),
    (sqlite3.OperationalError("could not decode"), DatabaseDamaged),
    (psycopg.DataError("NUL"), InvalidArgument),
    (psycopg.ProgrammingError("no result"), DatabaseError),
    (psycopg.OperationalError("gone"), DatabaseUnavailable),
    (OverflowError("large"), InvalidArgument),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a damaged schema"), DatabaseDamaged),
    (ValueError("not a database's"), None),
]


@pytest.mark.parametrize(("error", "expected"), RARE, ids=lambda each: getattr(each, "__name__", repr(each)))
def test_error_of_the_drivers_own(error: BaseException, expected: type[TuneledgerError] | None) -> None:
    """What carries no code is told by its class, and what is no database's error is left alone."""
    ours = translation(error)
    assert (type(ours) if ours else None) is expected


def test_a_translated_error_tells_nothing_of_the_drivers() -> None:
    """No traceback of our error shows the driver's, whose message may quote rows and passwords."""
    drivers: list[Exception] = [psycopg.OperationalError("hunter2"), sqlite3.OperationalError("hunter2")]
    for error in drivers:
        with pytest.raises(DatabaseError) as caught, translated():
            raise error
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))
        with pytest.raises(DatabaseBusy) as caught_again, translated():  # as SQLAlchemy's events raise ours
            raise DatabaseBusy from error
        assert "hunter2" not in "".join(traceback.format_exception(caught_again.value))


def test_copy_that_failed_is_not_committed(postgres_url: str) -> None:
    """COPY's errors pass SQLAlchemy by, and PostgreSQL would take the COMMIT: nothing written, no word."""
    with psycopg.connect(libpq_url(postgres_url), autocommit=True) as administrator:
        administrator.execute("""
            CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'x'; END $$;
            CREATE TRIGGER fail BEFORE INSERT ON tuneledger.metrics FOR EACH ROW WHEN (NEW.step_number = 150)
                EXECUTE FUNCTION fail();
        """)
    with Archive(postgres_url) as archive:
        with pytest.raises(DatabaseError, match="earlier statement"), archive.write() as repository:  # noqa: PT012 - the end of the block raises
            repository.save(some_job("first"))
            with pytest.raises(DatabaseError, match="P0001"):
                repository.save(some_job("second", 200))
        with archive.read() as repository:
            assert repository.count_jobs() == 0


def test_reading_makes_no_archive(tmp_path: Path) -> None:
    """What is not there is told, and not made."""
    with pytest.raises(DatabaseUnavailable, match="without read_only it would be made"):
        Archive(tmp_path / "none.db", read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_folder_read_as_a_file(tmp_path: Path) -> None:
    """A folder cannot be read as an archive either."""
    with pytest.raises((DatabaseDamaged, DatabaseUnavailable)):  # by what the system says of reading it
        Archive(tmp_path, read_only=True)


@pytest.mark.parametrize(
    "table",
    [
        "jobs",
        "job_digests",
        "job_states",
        "checkpoints",
        "metric_names",
        "job_metrics",
        "metrics",
        "events",
        "inputs",
    ],
)
def test_ruined_table(sqlite_url: str, tmp_path: Path, table: str) -> None:
    """A table whose first page is ruined is told, whichever it is, and verify comes to its end."""
    path = Path(make_url(sqlite_url).database or "")
    with Archive(path) as archive:
        archive.save(some_job())
    ruined = tmp_path / "ruined.db"
    shutil.copy(path, ruined)
    connection = sqlite3.connect(path)
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table]).fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    with ruined.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    with Archive(ruined, read_only=True) as archive:
        findings = list(archive.verify())
    assert any(found.problem is Problem.UNREADABLE for found in findings)


def test_damage_without_end(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of which hardly anything can be read is given up after many tries, and says from where on."""
    monkeypatch.setattr(verification, "_MOST_FAILURES", 70)
    with Archive(sqlite_url) as archive:
        archive.save(some_job(steps=50))
        with archive.engine.connect() as connection, connection.begin():
            connection.exec_driver_sql("UPDATE checkpoints SET extra = CAST(x'ff' AS TEXT)")
            connection.exec_driver_sql("UPDATE job_metrics SET min_value = CAST(x'ff' AS TEXT)")
        findings = list(archive.verify())
    details = [found.detail for found in findings]
    assert any(detail.startswith("more of its steps, from") for detail in details)
    assert any(detail.startswith("its rows in job_metrics") for detail in details)
    assert len(findings) < 50
