"""What a PostgreSQL server does wrong reaches the caller as our own error, and nothing half stays behind."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from jobs_for_tests import some_job
from postgres_server import libpq_url
from small_disk import small_disk
from stored_content import stored_ids
from tuneledger import Archive
from tuneledger.engine import patience
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
        assert stored_ids(archive) == set()
        administrator.execute("DROP TRIGGER fail ON metrics")
        assert archive.save(some_job(steps=200)).added == 200


@pytest.mark.slow
@pytest.mark.no_cover
def test_full_disk_of_the_server() -> None:
    """A server whose disk is full takes nothing of a job, keeps what it had, and goes on with more room."""
    with small_disk() as disk:
        with Archive(disk.url) as archive:
            archive.save(some_job("kept", 100))
            with pytest.raises(DatabaseFull if disk.says_full else DatabaseError) as caught:
                archive.save(some_job("large", 15_000))
            assert not caught.value.retryable
            assert stored_ids(archive) == {"kept"}
        disk.enlarge()
        with Archive(disk.url) as archive:
            assert archive.save(some_job("large", 15_000)).added == 15_000
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
        assert stored_ids(archive) == set()
        administrator.execute("DROP TRIGGER die ON metrics")
        assert archive.save(some_job(steps=steps)).created


def end_the_session_first(administrator: psycopg.Connection, at: str) -> None:
    """Lets the first try of a write lose its session there, the next ones a deadlock, and later ones pass."""
    administrator.execute(f"""
        CREATE SEQUENCE tries;
        CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('tuneledger.tries') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
            IF nextval('tuneledger.tries') < 5 THEN RAISE EXCEPTION 'x' USING ERRCODE = '40P01'; END IF;
            RETURN NEW; END $$;
        CREATE TRIGGER die {at} FOR EACH ROW EXECUTE FUNCTION die();
    """)


def test_retry_after_a_lost_session(postgres_url: str, administrator: psycopg.Connection) -> None:
    """A save whose session is ended once is repeated by itself, and so is a deadlock's loser."""
    end_the_session_first(administrator, "BEFORE INSERT ON jobs")
    with Archive(postgres_url) as archive:
        assert archive.save(some_job()).created
        assert archive.append("job", some_job(first=4).checkpoints).added == 3


def test_an_append_is_repeated(
    postgres_url: str, administrator: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """So is the append of one checkpoint, which its session's end or an error leaves undone.

    The pool is told of the session that ended: it would log what the driver says of it.
    """
    end_the_session_first(administrator, "AFTER UPDATE ON job_digests")
    with Archive(postgres_url) as archive:
        archive.save(some_job())
        assert archive.append("job", some_job(first=4, steps=1).checkpoints).added == 1
        assert list(archive.verify()) == []
    assert {record.name for record in caplog.records} == {"tuneledger"}


def test_an_append_has_its_settings(postgres_url: str, administrator: psycopg.Connection) -> None:
    """What is sent in one piece is as durable, waits as long and sees as much as any other transaction."""
    names = ("transaction_isolation", "transaction_read_only", "synchronous_commit", "lock_timeout",
             "statement_timeout")  # fmt: skip
    current = ", ".join(f"current_setting('{name}')" for name in names)
    administrator.execute(
        f"""
        CREATE TABLE found (values text[]);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO tuneledger.found VALUES (ARRAY[{current}]); RETURN NEW; END $$;
        CREATE TRIGGER note BEFORE INSERT ON checkpoints FOR EACH ROW EXECUTE FUNCTION note();
    """.encode()
    )
    unlike = "-c default_transaction_isolation=serializable -c default_transaction_read_only=on"
    url = make_url(postgres_url).update_query_dict({"options": f"{unlike} -c synchronous_commit=off"})
    for durable, on_disk in ((True, "on"), (False, "off")):
        with Archive(url, durable=durable, wait_seconds=7, reply_seconds=2) as archive:
            archive.save(some_job())
            administrator.execute("TRUNCATE found")
            assert archive.append("job", some_job(first=4 + durable, steps=1).checkpoints).added == 1
        found = administrator.execute("SELECT values FROM found").fetchall()
        assert found == [(["read committed", "off", on_disk, "7s", "9s"],)]


def test_lock_that_is_kept_from_an_append(
    postgres_url: str,
    administrator: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An append waits for a lock as long as was said, in one try, and goes on afterwards."""
    monkeypatch.setattr(patience, "BETWEEN_TRANSACTIONS_SECONDS", 0.1)  # which does not bound this wait
    fresh = some_job(first=4, steps=1).checkpoints
    with Archive(postgres_url, wait_seconds=0.5) as archive:
        archive.save(some_job())
        with administrator.transaction():
            administrator.execute("SELECT * FROM job_digests FOR UPDATE")
            began = time.monotonic()
            with pytest.raises(DatabaseBusy, match="55P03"):
                archive.append("job", fresh)
            assert 0.4 < time.monotonic() - began < 3
        assert caplog.records == []
        assert archive.append("job", fresh).added == 1


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
