"""What a database does wrong reaches the caller as one of our own errors, and nothing half stays behind."""

import os
import resource
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import make_url

from jobs_for_tests import some_job
from postgres_server import libpq_url
from small_disk import small_disk
from tuneledger import Archive
from tuneledger.engine import open_engine
from tuneledger.errors import (
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseError,
    DatabaseFull,
    DatabaseReadOnly,
    DatabaseUnavailable,
    DependentObjects,
    InvalidArgument,
    PermissionDenied,
    SchemaBroken,
    TuneledgerError,
)
from unprivileged import unprivileged


def stored(archive: Archive) -> set[str]:
    """The ids of all jobs."""
    with archive.read() as repository:
        return {job.job_id for job in repository.jobs().jobs}


@pytest.fixture
def archive(database_url: str) -> Iterator[Archive]:
    """An archive that waits half a second for locks and for answers."""
    with Archive(database_url, wait_seconds=0.5, reply_seconds=0.5) as opened:
        yield opened


@pytest.fixture
def sqlite_path(sqlite_url: str) -> Path:
    """The migrated file."""
    return Path(make_url(sqlite_url).database or "")


# -- SQLite files ---------------------------------------------------------------------------------


def test_missing_folder(tmp_path: Path) -> None:
    """An archive in a folder that does not exist is unavailable, and no folder is made."""
    with pytest.raises(DatabaseUnavailable, match="folder"):
        Archive(tmp_path / "missing/x.db")
    assert not (tmp_path / "missing").exists()


def test_folder_in_place_of_a_file(tmp_path: Path) -> None:
    """A folder is no archive."""
    with pytest.raises(DatabaseUnavailable):
        Archive(tmp_path)


@pytest.mark.parametrize("content", [b"PNG, or so", b"SQLite format 3\0" + b"\xff" * 4096, os.urandom(9000)])
@pytest.mark.parametrize("read_only", [False, True])
def test_other_kind_of_file(tmp_path: Path, content: bytes, read_only: bool) -> None:  # noqa: FBT001 - a parameter
    """A file that is no SQLite database is refused and left as it is."""
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(DatabaseDamaged, match="no SQLite database, or a damaged one; choose another file"):
        Archive(path, read_only=read_only)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_read_only_file(sqlite_path: Path) -> None:
    """A file without write permission opens to read, and says so when it is to be written."""
    with Archive(sqlite_path) as archive:
        archive.save(some_job())
    sqlite_path.chmod(0o400)
    with unprivileged():
        with pytest.raises(DatabaseReadOnly, match="cannot be written"):
            Archive(sqlite_path)
        with Archive(sqlite_path, read_only=True) as archive:
            assert stored(archive) == {"job"}
            with pytest.raises(DatabaseReadOnly):
                archive.save(some_job("other"))


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Nobody without special rights may write in `folder`."""
    folder.chmod(0o500)
    try:
        with unprivileged():
            yield
    finally:
        folder.chmod(0o700)


def test_read_only_folder(sqlite_path: Path) -> None:
    """A file in WAL mode can be read in a folder where no log can be made; to write there is refused."""
    with Archive(sqlite_path) as archive:
        archive.save(some_job())
    with locked_folder(sqlite_path.parent):
        with pytest.raises(DatabaseReadOnly, match="cannot be written"):
            Archive(sqlite_path)
        with Archive(sqlite_path, read_only=True) as archive:
            assert stored(archive) == {"job"}
            assert stored(archive) == {"job"}


def test_reader_without_locks_sees_the_writer(sqlite_path: Path) -> None:
    """Read without locks is never a mixture: a change between two reads is seen, one within is told."""
    with Archive(sqlite_path) as archive:
        archive.save(some_job())
    with locked_folder(sqlite_path.parent), Archive(sqlite_path, read_only=True) as reader:
        assert stored(reader) == {"job"}
        written_elsewhere(sqlite_path, "second")
        assert stored(reader) == {"job", "second"}
        with (  # noqa: PT012 - the end of the block raises
            pytest.raises(DatabaseBusy, match="while it was read"),
            reader.read() as repository,
        ):
            assert repository.count_jobs() == 2
            written_elsewhere(sqlite_path, "third")
        assert stored(reader) == {"job", "second", "third"}


def written_elsewhere(path: Path, job_id: str) -> None:
    """Somebody who may write there saves a job: another thread, whose rights are whole."""

    def save() -> None:
        path.parent.chmod(0o700)
        with Archive(path) as archive:
            archive.save(some_job(job_id))
        path.parent.chmod(0o500)

    in_a_thread(save)


def in_a_thread(work: Callable[[], None]) -> None:
    """Does `work` in a thread that begins with the process's own rights."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not failures


def test_full_disk(sqlite_path: Path) -> None:
    """A file that may not grow takes nothing of a job, keeps what it had, and goes on when it may again."""
    with Archive(sqlite_path) as archive:
        archive.save(some_job("kept", 100))
    with file_size_limit(sqlite_path.stat().st_size), Archive(sqlite_path) as archive:
        with pytest.raises(DatabaseFull, match="nothing of the transaction"):
            archive.save(some_job("large", 20_000))
        assert stored(archive) == {"kept"}
        raise_limit()
        assert archive.save(some_job("large", 20_000)).added == 20_000
        with archive.read() as repository:
            assert repository.job("kept") == some_job("kept", 100)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file grows beyond `size` bytes, which is how a full disk or a quota looks to a program."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def raise_limit() -> None:
    """Files may grow again."""
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    )


def test_full_by_sqlites_own_word(sqlite_path: Path) -> None:
    """SQLITE_FULL, which rolls back by itself, is told as such and leaves nothing of the job."""
    with Archive(sqlite_path) as archive:
        archive.save(some_job("kept"))

        @event.listens_for(archive.engine, "checkout")
        def limit(connection: sqlite3.Connection, *_: object) -> None:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages + 4}")

        with pytest.raises(DatabaseFull):
            archive.save(some_job("large", 20_000))
        assert stored(archive) == {"kept"}


def test_swallowed_full_disk_is_not_committed(sqlite_path: Path) -> None:
    """After SQLite rolled back by itself a caller who goes on writes nothing at all."""
    with Archive(sqlite_path) as archive:

        @event.listens_for(archive.engine, "checkout")
        def limit(connection: sqlite3.Connection, *_: object) -> None:
            connection.execute("PRAGMA max_page_count = 90")

        with pytest.raises(DatabaseError, match="earlier statement"), archive.write() as repository:  # noqa: PT012 - its end raises
            repository.save(some_job("first"))
            with pytest.raises(DatabaseFull):
                repository.save(some_job("large", 20_000))
            repository.save(some_job("second"))
        assert stored(archive) == set()


def test_swallowed_write_error_is_not_committed(sqlite_path: Path) -> None:
    """After an error of the disk SQLite is out of its transaction: what follows must not commit by itself."""
    with Archive(sqlite_path) as archive:
        archive.save(some_job("kept", 100))
        with file_size_limit(sqlite_path.stat().st_size):
            with pytest.raises(DatabaseError, match="earlier statement"), archive.write() as repository:  # noqa: PT012 - what follows an error is the subject
                with pytest.raises(DatabaseFull):
                    repository.save(some_job("large", 60_000))
                raise_limit()
                repository.save(some_job("second"))
            assert stored(archive) == {"kept"}


def test_undecodable_text(sqlite_path: Path) -> None:
    """Text that is no UTF-8 in a damaged file is damage, not a Python error."""
    with Archive(sqlite_path) as archive:
        archive.save(some_job())
        with sqlite3.connect(sqlite_path) as connection:
            connection.execute("UPDATE jobs SET document = CAST(x'ff22' AS TEXT)")
        connection.close()
        with pytest.raises(DatabaseDamaged), archive.read() as repository:
            repository.job("job")


def test_a_file_that_somebody_reads_becomes_wal_afterwards(tmp_path: Path) -> None:
    """The change of mode needs the file alone: a reader is waited for, and one who stays is told of."""
    path = tmp_path / "new.db"
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("CREATE TABLE empty (x)")
    holder.execute("DROP TABLE empty")
    holder.execute("BEGIN")
    holder.execute("SELECT * FROM sqlite_master").fetchall()
    with pytest.raises(DatabaseBusy):
        Archive(path, wait_seconds=0.1)
    release = threading.Timer(0.3, holder.execute, ["COMMIT"])
    release.start()
    with Archive(path, wait_seconds=20) as archive:
        assert archive.save(some_job()).created
        with archive.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    release.join()
    holder.close()


def test_locked_file(sqlite_path: Path) -> None:
    """A lock that somebody keeps is waited for as long as was said, then told as retryable, once."""
    holder = sqlite3.connect(sqlite_path, isolation_level=None)
    with Archive(sqlite_path, wait_seconds=0.5) as archive:
        holder.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(DatabaseBusy) as caught:
            archive.save(some_job())
        assert 0.4 < time.monotonic() - began < 3
        assert caught.value.retryable
        holder.execute("ROLLBACK")
        assert archive.save(some_job()).created
    holder.close()


def test_save_inside_a_write_block_ends(sqlite_path: Path) -> None:
    """Saving beside an open transaction of one's own waits for it once, not once a try."""
    with Archive(sqlite_path, wait_seconds=0.5) as archive, archive.write():
        began = time.monotonic()
        with pytest.raises(DatabaseBusy):
            archive.save(some_job())
        assert time.monotonic() - began < 3


# -- PostgreSQL -----------------------------------------------------------------------------------


@pytest.fixture
def administrator(postgres_url: str) -> Iterator[psycopg.Connection]:
    """The superuser, committing at once."""
    with psycopg.connect(libpq_url(postgres_url), autocommit=True) as connection:
        connection.execute("SET search_path TO tuneledger")
        yield connection


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"port": 1}, "check the address"),
        ({"host": "no-such-host.invalid"}, "check the address"),
        ({"password": ""}, "asks for a password and was given none"),
        ({"password": "wrong-hunter2"}, "reached and refused; check the user, the password"),
        ({"database": "no_such_database"}, "reached and refused; check the user, the password"),
        ({"username": "nobody_here"}, "reached and refused; check the user, the password"),
    ],
)
def test_unreachable_server(
    postgres_url: str, change: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Wrong address, name or password: unavailable, by a message that says how far it came, and no secret."""
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    url = make_url(postgres_url).set(**change)
    with pytest.raises(DatabaseUnavailable, match=said) as caught:
        Archive(url)
    assert caught.value.retryable
    assert not url.password or str(url.password) not in str(caught.value)


def test_misspelt_parameter(postgres_url: str) -> None:
    """What libpq does not know is a mistake in the URL, and no reason to look into the archive."""
    url = make_url(postgres_url).update_query_dict({"sllmode": "require"})
    with pytest.raises(InvalidArgument, match=r"check how each after the \? is spelt") as caught:
        Archive(url)
    assert str(url.password) not in str(caught.value)


# Every code that we tell apart, and some that we don't, as the server itself sends them.
SQLSTATES = {
    "08006": DatabaseUnavailable,
    "22021": InvalidArgument,
    "22P05": InvalidArgument,
    "23505": DatabaseDamaged,
    "25006": DatabaseReadOnly,
    "25P03": DatabaseUnavailable,
    "25P04": DatabaseBusy,
    "28000": PermissionDenied,
    "2BP01": DependentObjects,
    "3D000": DatabaseUnavailable,
    "3F000": SchemaBroken,
    "40001": DatabaseBusy,
    "40003": DatabaseUnavailable,
    "40P01": DatabaseBusy,
    "42501": PermissionDenied,
    "42703": SchemaBroken,
    "42704": SchemaBroken,
    "42883": SchemaBroken,
    "42P01": SchemaBroken,
    "53100": DatabaseFull,
    "53200": DatabaseBusy,
    "53400": DatabaseFull,
    "55006": DatabaseBusy,
    "55P03": DatabaseBusy,
    "57014": DatabaseBusy,
    "57P01": DatabaseUnavailable,
    "58030": DatabaseDamaged,
    "XX001": DatabaseDamaged,
    "XX000": DatabaseError,
    "P0001": DatabaseError,
}


def test_sqlstates(postgres_url: str, administrator: psycopg.Connection) -> None:
    """Each code of PostgreSQL becomes its error, in a plain statement and in the middle of a COPY."""
    administrator.execute("""
        CREATE TABLE wanted (code text, secret text);
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'hunter2'
                USING ERRCODE = (SELECT code FROM tuneledger.wanted), DETAIL = 'hunter2';
        END $$;
        CREATE TRIGGER fail BEFORE INSERT ON metrics FOR EACH ROW EXECUTE FUNCTION fail();
    """)
    with Archive(postgres_url, wait_seconds=0) as archive:
        for code, expected in SQLSTATES.items():
            administrator.execute("TRUNCATE wanted")
            administrator.execute("INSERT INTO wanted VALUES (%s)", [code])
            for steps in (1, 200):  # an INSERT, and a COPY
                with pytest.raises(TuneledgerError) as caught:
                    archive.save(some_job(steps=steps))
                assert type(caught.value) is expected, (code, steps)
                assert code in str(caught.value)
                assert "hunter2" not in str(caught.value)
        assert stored(archive) == set()
        administrator.execute("DROP TRIGGER fail ON metrics")
        assert archive.save(some_job(steps=200)).added == 200


def test_full_disk_of_the_server() -> None:
    """A server whose disk is full takes nothing of a job, keeps what it had, and goes on with more room."""
    with small_disk() as disk:
        with Archive(disk.url) as archive:
            archive.save(some_job("kept", 100))
            with pytest.raises(DatabaseFull if disk.says_full else DatabaseError) as caught:
                archive.save(some_job("large", 30_000))
            assert not caught.value.retryable
            assert stored(archive) == {"kept"}
        disk.enlarge()
        with Archive(disk.url) as archive:
            assert archive.save(some_job("large", 30_000)).added == 30_000
            with archive.read() as repository:
                assert repository.job("kept") == some_job("kept", 100)
            assert list(archive.verify()) == []


def test_lock_that_is_kept(postgres_url: str, administrator: psycopg.Connection) -> None:
    """A row lock that somebody keeps is waited for as long as was said, no try is added to that."""
    with Archive(postgres_url, wait_seconds=0.5) as archive:
        archive.save(some_job())
        with administrator.transaction():
            administrator.execute("SELECT * FROM job_digests FOR UPDATE")
            began = time.monotonic()
            with pytest.raises(DatabaseBusy, match="55P03"):
                archive.save(some_job(steps=4))
            assert 0.4 < time.monotonic() - began < 3
        assert archive.save(some_job(steps=4)).added == 1


def test_no_wait_is_no_endless_wait(postgres_url: str, administrator: psycopg.Connection) -> None:
    """To wait for 0 seconds means that, though a lock_timeout of 0 means forever to PostgreSQL."""
    with Archive(postgres_url, wait_seconds=0) as archive:
        archive.save(some_job())
        with administrator.transaction():
            administrator.execute("SELECT * FROM job_digests FOR UPDATE")
            with pytest.raises(DatabaseBusy):
                archive.save(some_job(steps=4))


def test_statement_that_takes_too_long(postgres_url: str, administrator: psycopg.Connection) -> None:
    """A statement that outlasts both waits is ended by the server, also where a role set no such limit."""
    administrator.execute("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
                          "$$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$")  # fmt: skip
    administrator.execute("CREATE TRIGGER slow BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION slow()")
    with Archive(postgres_url, wait_seconds=0.2, reply_seconds=0.3) as archive:
        began = time.monotonic()
        with pytest.raises(DatabaseBusy, match="57014"):
            archive.save(some_job())
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("steps", [1, 200], ids=["insert", "copy"])
def test_session_that_is_ended(postgres_url: str, administrator: psycopg.Connection, steps: int) -> None:
    """A connection that dies in a statement or in a COPY is told as lost; the next save gets a new one."""
    administrator.execute(f"""
        CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
        CREATE TRIGGER die BEFORE INSERT ON metrics FOR EACH ROW WHEN (NEW.step_number = {steps})
            EXECUTE FUNCTION die();
    """)
    with Archive(postgres_url, wait_seconds=0) as archive:
        with pytest.raises(DatabaseUnavailable):
            archive.save(some_job(steps=steps))
        assert stored(archive) == set()
        administrator.execute("DROP TRIGGER die ON metrics")
        assert archive.save(some_job(steps=steps)).created


def test_retry_after_a_lost_session(postgres_url: str, administrator: psycopg.Connection) -> None:
    """A save whose session is ended once is repeated by itself, and so is a deadlock's loser."""
    administrator.execute("""
        CREATE SEQUENCE tries;
        CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('tuneledger.tries') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
            IF nextval('tuneledger.tries') < 5 THEN RAISE EXCEPTION 'x' USING ERRCODE = '40P01'; END IF;
            RETURN NEW; END $$;
        CREATE TRIGGER die BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION die();
    """)
    with Archive(postgres_url) as archive:
        assert archive.save(some_job()).created
        assert archive.append("job", some_job(first=4).checkpoints).added == 3


def test_pool_that_is_used_up(postgres_url: str) -> None:
    """More transactions at once than connections: the last is told so in time."""
    with Archive(postgres_url, wait_seconds=0.2) as archive:
        connections = [archive.engine.connect() for _ in range(15)]
        began = time.monotonic()
        with pytest.raises(DatabaseBusy, match="pool"):
            archive.save(some_job())
        assert time.monotonic() - began < 5
        for connection in connections:
            connection.close()
        assert archive.save(some_job()).created


def test_durable_commits(postgres_url: str) -> None:
    """A save waits for the disk also where the server's default does not, unless told to be fast."""
    for durable, expected in ((True, "on"), (False, "off")):
        with Archive(postgres_url, durable=durable) as archive, archive.write() as repository:
            connection = repository._connection
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == expected
    stronger = make_url(postgres_url).update_query_dict({"options": "-c synchronous_commit=remote_apply"})
    with Archive(stronger) as archive, archive.write() as repository:
        connection = repository._connection
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "remote_apply"


def test_durable_files(sqlite_url: str) -> None:
    """Each commit syncs the log to the disk, unless told to be fast."""
    for durable, expected in ((True, 2), (False, 1)):
        with Archive(sqlite_url, durable=durable) as archive, archive.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == expected


# -- both -----------------------------------------------------------------------------------------


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
    assert stored(archive) == set()
    assert archive.save(some_job()).created


def test_error_inside_a_savepoint_is_forgiven(archive: Archive) -> None:
    """A caller may undo a part by a savepoint; what stands outside of it is committed."""
    with archive.write() as repository:
        repository.save(some_job())
        nested = repository._session.begin_nested()
        with pytest.raises(SchemaBroken):
            repository._connection.exec_driver_sql("SELECT * FROM no_such_table")
        nested.rollback()
        repository.save(some_job("second"))
    assert stored(archive) == {"job", "second"}


def test_read_only_archive(database_url: str) -> None:
    """What was opened to read refuses to write, before it does anything."""
    with Archive(database_url) as archive:
        archive.save(some_job())
    with Archive(database_url, read_only=True) as archive:
        with pytest.raises(DatabaseReadOnly):
            archive.save(some_job("other"))
        assert stored(archive) == {"job"}


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
        ]
        filters: list[dict[str, Any]] = [
            {field: name} for field in ("provider", "model", "status", "input_name", "input_sha256")
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
