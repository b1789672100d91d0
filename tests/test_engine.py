"""What each connection is told, where an archive lies, and what stays secret."""

import os
import sqlite3
import stat
import traceback
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from tuneledger import Archive, CheckpointOut, Job
from tuneledger.engine import locate, open_engine, postgresql
from tuneledger.errors import InvalidArgument, SchemaForeign, TuneledgerError, UnsuitableConnection

JOB = Job.model_validate(
    {
        "job_id": "j",
        "provider": "p",
        "checkpoints": [{"metrics": {"loss": 0.5}, "step_number": 1, "created_at": 1}],
    }
)


def asked(archive: Archive, question: str, *, write: bool = False) -> Any:
    """What a connection answers inside one of the archive's transactions."""
    with archive.write() if write else archive.read() as repository:
        return repository._connection.exec_driver_sql(question).scalar()


# -- SQLite ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("durable", "synchronous"), [(True, 2), (False, 1)])
def test_sqlite_settings(sqlite_url: str, durable: bool, synchronous: int) -> None:  # noqa: FBT001 - a parameter
    """Foreign keys on, write-ahead log, FULL unless the caller gives durability up, a wait for locks."""
    with Archive(sqlite_url, durable=durable, wait_seconds=7) as archive:
        assert asked(archive, "PRAGMA foreign_keys") == 1
        assert asked(archive, "PRAGMA journal_mode") == "wal"
        assert asked(archive, "PRAGMA synchronous") == synchronous
        assert asked(archive, "PRAGMA busy_timeout") == 7000
    with Archive(sqlite_url, read_only=True) as archive:
        assert asked(archive, "PRAGMA query_only") == 1
        assert asked(archive, "PRAGMA foreign_keys") == 1


def test_the_driver_begins_nothing_by_itself(sqlite_url: str) -> None:
    """What is done outside of a transaction of ours is no part of one that nobody asked for."""
    engine = open_engine(sqlite_url)
    with closing(engine.raw_connection()) as connection:
        driver: Any = connection.driver_connection
        driver.execute("CREATE TEMP TABLE noted (number)")
        driver.execute("INSERT INTO temp.noted VALUES (1)")
        assert not driver.in_transaction
    engine.dispose()


def test_a_file_of_others_is_left_as_it_is(tmp_path: Path) -> None:
    """Not even its mode changes, whatever its tables are called."""
    path = tmp_path / "others.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE sqlitenotes (text)")
    before = path.read_bytes()
    with pytest.raises(SchemaForeign):
        Archive(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    """0600 whatever the umask, and so are the log and the shared memory beside it."""
    before = os.umask(0)
    try:
        with Archive(tmp_path / "new.db") as archive, archive.write() as repository:
            repository.save(JOB)
            files = sorted(tmp_path.iterdir())
            assert [file.name for file in files] == ["new.db", "new.db-shm", "new.db-wal"]
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    finally:
        os.umask(before)


def test_the_mode_of_an_old_file_is_its_owners_affair(sqlite_url: str, tmp_path: Path) -> None:
    """A file that is shared on purpose stays so."""
    (tmp_path / "ledger.db").chmod(0o664)
    with Archive(sqlite_url) as archive:
        archive.save(JOB)
    assert stat.S_IMODE((tmp_path / "ledger.db").stat().st_mode) == 0o664


def test_nothing_is_made_before_the_first_connection(tmp_path: Path) -> None:
    """An engine alone touches no file."""
    open_engine(tmp_path / "later.db").dispose()
    assert list(tmp_path.iterdir()) == []


def test_memory_lives_as_long_as_its_archive() -> None:
    """`sqlite://` is an archive of its own, gone with it."""
    for location in ("sqlite://", "sqlite:///:memory:"):
        with Archive(location) as archive:
            assert archive.save(JOB).created
            with archive.read() as repository:
                assert repository.job("j") == JOB


# -- PostgreSQL -----------------------------------------------------------------------------------


def test_postgresql_settings_are_of_the_transaction(postgres_url: str) -> None:
    """A pooler hands the session on: nothing that was set outlives the transaction."""
    with Archive(postgres_url, wait_seconds=7, durable=False) as archive:
        assert asked(archive, "SHOW transaction_isolation") == "repeatable read"
        assert asked(archive, "SHOW transaction_read_only") == "on"
        assert asked(archive, "SHOW transaction_isolation", write=True) == "read committed"
        assert asked(archive, "SHOW lock_timeout", write=True) == "7s"
        assert asked(archive, "SHOW synchronous_commit", write=True) == "off"
        assert asked(archive, "SHOW search_path", write=True) == '"$user", public'
        with archive.engine.connect() as connection:  # the same session, by the pool
            for name in ("lock_timeout", "statement_timeout", "synchronous_commit", "search_path"):
                query = f"SELECT setting = reset_val FROM pg_settings WHERE name = '{name}'"
                assert connection.exec_driver_sql(query).scalar(), name
            assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "read committed"
            assert connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "off"
            driver: Any = connection.connection.driver_connection
            assert driver.prepare_threshold is None
    with Archive(postgres_url, read_only=True) as archive:
        assert asked(archive, "SHOW transaction_read_only", write=True) == "on"


def test_postgresql_statements_outside_of_transactions(postgres_url: str) -> None:
    """Who asks an engine of ours for AUTOCOMMIT gets it, for what no transaction may hold, and no longer."""
    with Archive(postgres_url) as archive:
        with archive.engine.connect() as connection:
            outside = connection.execution_options(isolation_level="AUTOCOMMIT")
            outside.exec_driver_sql("VACUUM tuneledger.jobs")
        with archive.write() as repository:
            repository.save(JOB)
            assert asked(archive, "SELECT count(*) FROM tuneledger.jobs") == 0


# -- processes ------------------------------------------------------------------------------------


def test_a_forked_child_has_connections_of_its_own(database_url: str) -> None:
    """A child that inherits an open archive neither uses its parent's connection nor closes it."""
    with Archive(database_url) as archive:
        archive.save(JOB)
        with archive.read() as repository:
            parents = repository._connection.connection.driver_connection
        child = os.fork()
        if child == 0:
            # Nothing of the test's may run in the child: it ends here, whatever happens.
            try:
                more = CheckpointOut.model_validate({"metrics": {}, "step_number": 2, "created_at": 2})
                with archive.read() as repository:
                    there = repository.count_jobs()
                    own = repository._connection.connection.driver_connection is not parents
                added = archive.append("j", [more]).added
                archive.close()
                os._exit(0 if (there, added, own) == (1, 1, True) else 1)
            except BaseException:  # noqa: BLE001 - told by the exit status
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with archive.write() as repository:
            assert repository.count_checkpoints("j") == 2
            repository.delete_job("j")


def test_a_forked_child_asks_nothing_of_its_parents_server(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even whether the connection is still there, however long that lay idle: the answers would mix."""
    monkeypatch.setattr(postgresql, "_ASKED_AFTER_SECONDS", -1.0)
    with Archive(postgres_url) as archive, (tmp_path / "trace").open("w") as trace:
        with closing(archive.engine.raw_connection()) as lent:
            parents: Any = lent.driver_connection
        parents.pgconn.trace(trace.fileno())
        child = os.fork()
        if child == 0:
            try:
                with archive.read() as repository:
                    os._exit(repository.count_jobs())
            except BaseException:  # noqa: BLE001 - told by the exit status
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert (tmp_path / "trace").read_text() == ""


# -- locations ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "shown", "schema"),
    [
        ("a/b.db", "a/b.db", None),
        (Path("c.db"), "c.db", None),
        ("sqlite:///d.db", "d.db", None),
        ("sqlite:////tmp/e.db", "/tmp/e.db", None),  # noqa: S108 - a name, nothing is made there
        ("sqlite://", "sqlite+pysqlite://", None),
        ("postgresql://u:secret@h/d", "postgresql+psycopg://u:***@h/d", "tuneledger"),
        ("postgres://h/d?schema=x", "postgresql+psycopg://h/d?schema=x", "x"),
        ("postgresql://h/d?sslmode=require", "postgresql+psycopg://h/d", "tuneledger"),
        (make_url("postgresql+psycopg://u:secret@h:5/d"), "postgresql+psycopg://u:***@h:5/d", "tuneledger"),
    ],
)
def test_locations(location: Any, shown: str, schema: str | None) -> None:
    """Paths and URLs lead to one place, whose text shows no secret."""
    place = locate(location)
    assert (str(place), place.schema) == (shown, schema)
    assert "secret" not in f"{place!r}{place}"
    assert place.path == (Path(shown) if schema is None and "://" not in shown else None)


@pytest.mark.parametrize(
    "location",
    [
        "",
        "a\0b",
        "mysql://u:secret@h/d",
        "postgresql://u:secret@h:port/d",
        "://secret",
        "sqlite:///x.db?mode=secret",
        "postgresql://h/d?schema=Secret",
        "postgresql://h/d?schema=pg_secret",
        "postgresql://h/d?schema=" + "s" * 64,
        "postgresql://h/d?schema=1secret",
        "postgresql://h/d?schema=secret_a&schema=secret_b",
    ],
)
def test_what_leads_nowhere_is_refused_without_quoting_it(location: str) -> None:
    """No part of a URL that could be a password is repeated, in the message or in the traceback."""
    with pytest.raises(InvalidArgument) as caught:
        locate(location)
    assert "ecret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "location", ["postgresql:/u:secret@h/d", "postgres:/u:secret@h/d", "mysql:/secret@h"]
)
def test_a_misspelt_url_is_no_path(location: str) -> None:
    """Taken for one it would be named in every message, with the password in it."""
    try:
        shown = str(locate(location))
    except InvalidArgument as error:
        shown = str(error)
    assert "secret" not in shown


def test_a_schema_is_named_once() -> None:
    """Of two schemas in one URL neither is taken, nor the default, which nobody named; nor that for none."""
    with pytest.raises(InvalidArgument, match=r"several schemas.*give \?schema= once"):
        locate("postgresql://h/d?schema=a&schema=b")
    with pytest.raises(InvalidArgument, match="a schema name is"):
        locate("postgresql://h/d", "")
    with pytest.raises(InvalidArgument, match="'FineTuning': a schema name is"):
        locate("postgresql://h/d", "FineTuning")


def test_a_schema_belongs_to_postgresql() -> None:
    """An SQLite file holds one archive; asking for a schema in it is a mistake."""
    for location in ("x.db", "sqlite://"):
        with pytest.raises(InvalidArgument, match="--schema belongs to PostgreSQL"):
            locate(location, "x")


@pytest.mark.parametrize("query", ["", "?password=hidden-word", "?sslpassword=hidden-word"])
def test_a_password_is_shown_nowhere(postgres_url: str, query: str, caplog: pytest.LogCaptureFixture) -> None:
    """Not by any repr, message, traceback or log record, wherever in the URL it stands."""
    caplog.set_level("DEBUG")
    url = make_url(postgres_url).set(port=1, password="hidden-word")  # noqa: S106 - nobody's
    location = url.render_as_string(hide_password=False) + query
    engine = open_engine(location)
    shown = [repr(engine), str(engine.url), repr(engine.url), repr(locate(location)), str(locate(location))]
    with pytest.raises(TuneledgerError) as caught:
        Archive(location, wait_seconds=0)
    shown += traceback.format_exception(caught.value)
    shown += [record.getMessage() for record in caplog.records]
    assert not [text for text in shown if "hidden-word" in text]


def test_an_old_sqlite_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """RETURNING is as old as 3.35; an older library would fail at the first save."""
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 34, 1))
    with pytest.raises(UnsuitableConnection, match=r"SQLite 3\.34\.1 .* 3\.35\.0"):
        open_engine(tmp_path / "x.db")
