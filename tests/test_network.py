"""Whatever the network does to the way to PostgreSQL: nothing is lost or half, nobody waits for ever."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from faulty_network import FaultyNetwork
from jobs_for_tests import some_job
from postgres_server import PostgresServer, libpq_url, new_database
from tuneledger import Archive, schema
from tuneledger.engine import open_engine, patience, postgresql
from tuneledger.errors import DatabaseBusy, DatabaseUnavailable

WAIT, REPLY = 1.0, 1.0
# A statement may take both waits, and two seconds more until its silence is noticed; a connection ten to come
# up; what a fault struck is tried once more after the wait is over; and the machine may be busy.
LONGEST_SECONDS = 2 * (WAIT + REPLY + 2) + 10 + 10

FAULTS = ("cut", "reset", "black hole", "delay")
MOMENTS = {
    "at connect": ("connect", b""),
    "before the insert": ("before", b"INSERT INTO tuneledger.jobs"),
    "in the answer to the insert": ("after", b"INSERT INTO tuneledger.jobs"),
    "before COMMIT": ("before", b"COMMIT"),
    "in the answer to COMMIT": ("after", b"COMMIT"),
}


@pytest.fixture
def network(postgres_url: str) -> Iterator[FaultyNetwork]:
    """A way to the server that a test may break."""
    made = FaultyNetwork(make_url(postgres_url).port or 5432)
    yield made
    made.close()


@pytest.fixture
def archive(postgres_url: str, network: FaultyNetwork) -> Iterator[Archive]:
    """An archive at the other end of that way, and in use already."""
    url = make_url(postgres_url).set(port=network.port)
    with Archive(url, wait_seconds=WAIT, reply_seconds=REPLY) as opened:
        opened.save(some_job("before"))
        yield opened


@contextmanager
def in_time() -> Iterator[None]:
    """Nothing takes longer than the stated time-outs allow."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < LONGEST_SECONDS


def check(postgres_url: str, archive: Archive, *, acknowledged: bool) -> None:
    """By a way of its own: whole or not at all, and there if it was acknowledged; then everything goes on."""
    with Archive(postgres_url) as direct, direct.read() as repository:
        if acknowledged or repository.count_jobs() == 2:
            assert repository.job("struck") == some_job("struck", 100)
        assert repository.job("before") == some_job("before")
    archive.save(some_job("struck", 100))
    archive.save(some_job("after"))
    with archive.read() as repository:
        assert repository.job("struck") == some_job("struck", 100)
    assert list(archive.verify()) == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_fault(postgres_url: str, network: FaultyNetwork, archive: Archive, fault: str, moment: str) -> None:
    """A single fault is got over by the save itself, or told in time; repeating is right then."""
    if moment == "at connect":
        archive.engine.dispose()
    network.strike(fault, *MOMENTS[moment])
    acknowledged = False
    with in_time():
        try:
            archive.save(some_job("struck", 100))
            acknowledged = True
        except (DatabaseUnavailable, DatabaseBusy):
            assert fault == "black hole"
    assert network.struck == 1
    check(postgres_url, archive, acknowledged=acknowledged)


@pytest.mark.parametrize("fault", ["reset", "black hole"])
def test_fault_while_reading(network: FaultyNetwork, archive: Archive, fault: str) -> None:
    """A reader is told in time, and the next transaction reads again."""
    network.strike(fault, "before", b"FROM tuneledger.events")
    with in_time(), pytest.raises(DatabaseUnavailable), archive.read() as repository:
        repository.job("before")
    assert network.struck == 1
    with archive.read() as repository:
        assert repository.job("before") == some_job("before")


@pytest.mark.parametrize("asked_first", [True, False])
def test_silence_between_transactions(
    postgres_url: str,
    network: FaultyNetwork,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    asked_first: bool,
) -> None:
    """A way that died while nobody used it is noticed at once, however long a statement may take.

    The connection is asked after it lay idle for a while, which costs a save none of its tries.
    """
    monkeypatch.setattr(patience, "BETWEEN_TRANSACTIONS_SECONDS", 0.5)
    if asked_first:
        monkeypatch.setattr(postgresql, "_ASKED_AFTER_SECONDS", -1.0)
    with Archive(make_url(postgres_url).set(port=network.port)) as archive:
        archive.save(some_job("before"))
        network.strike("black hole", "before", b"Q\x00")  # the next query: the ping, or BEGIN
        with in_time():
            assert archive.save(some_job("struck")).created
    assert network.struck == 1
    assert ("again" in caplog.text) is not asked_first


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_fault_while_appending(
    postgres_url: str, network: FaultyNetwork, archive: Archive, fault: str, when: str
) -> None:
    """An append that is one round trip gets over a fault as a save does, also where its COMMIT took place."""
    fresh = some_job(steps=1, first=900).checkpoints
    network.strike(fault, when, b"COMMIT")
    with in_time():
        try:
            report = archive.append("before", fresh)
        except (DatabaseUnavailable, DatabaseBusy):
            assert fault == "black hole"
        else:
            assert report.added + report.unchanged == 1
    assert network.struck == 1
    archive.append("before", fresh)
    with Archive(postgres_url) as direct, direct.read() as repository:
        assert repository.job("before").checkpoints == [*some_job("before").checkpoints, *fresh]
    assert list(archive.verify()) == []


def test_dead_paths_are_looked_for(postgres_url: str) -> None:
    """The system asks after a silent connection by itself, and says when what was sent is not confirmed."""
    with Archive(postgres_url) as archive, archive.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        with socket.socket(fileno=os.dup(driver.fileno())) as raw:
            assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            asked = (
                socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT
            )  # fmt: skip
            assert [raw.getsockopt(socket.IPPROTO_TCP, option) for option in asked] == [30, 10, 3, 60_000]


def test_connections_that_died_in_the_pool(postgres_url: str) -> None:
    """An engine of ours gives out no connection that was ended meanwhile, by the server or by this side."""
    engine = open_engine(postgres_url)
    with psycopg.connect(libpq_url(postgres_url), autocommit=True) as administrator:
        for by_the_server in (True, False):
            with engine.connect() as connection:
                driver: Any = connection.connection.driver_connection
                assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
            if by_the_server:
                administrator.execute("SELECT pg_terminate_backend(%s, 10000)", [driver.info.backend_pid])
            else:
                driver.close()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
    engine.dispose()


def test_refused_connections(postgres_url: str, network: FaultyNetwork, archive: Archive) -> None:
    """A server that takes no connections is unavailable at once, also for an open pool; then all goes on."""
    network.refuse()
    with in_time(), pytest.raises(DatabaseUnavailable):
        archive.save(some_job("struck", 100))
    with in_time(), pytest.raises(DatabaseUnavailable):
        Archive(archive.location)
    network.accept()
    check(postgres_url, archive, acknowledged=False)


@pytest.fixture
def own_server() -> Iterator[tuple[PostgresServer, str]]:
    """A server that may be restarted, and a migrated database on it."""
    server = PostgresServer()
    try:
        with new_database(server.url) as url:
            engine = open_engine(url)
            schema.upgrade(engine)
            engine.dispose()
            yield server, url
    finally:
        server.close()


def test_restart_between_two_statements(own_server: tuple[PostgresServer, str]) -> None:
    """A transaction of one's own that a restart cuts in two is told as lost and leaves nothing."""
    server, url = own_server

    def restart() -> None:
        server.stop()
        server.start()

    with Archive(url) as archive:
        archive.save(some_job("before"))
        with pytest.raises(DatabaseUnavailable), archive.write() as repository:  # noqa: PT012 - cut in its middle
            repository.save(some_job("first half"))
            restart()
            repository.save(some_job("second half"))
        with pytest.raises(DatabaseUnavailable), archive.read() as repository:  # noqa: PT012 - the same
            assert repository.job_ids() == ["before"]
            restart()
            repository.job("before")
        with archive.write() as repository:
            repository.save(some_job("first half"))
            repository.save(some_job("second half"))
        with archive.read() as repository:
            assert repository.job_ids() == ["before", "first half", "second half"]
        assert list(archive.verify()) == []


@pytest.mark.parametrize("moment", ["before the insert", "in the answer to COMMIT"])
def test_restarted_server(own_server: tuple[PostgresServer, str], moment: str) -> None:
    """A server that is restarted in the middle of a save costs that save a try, and nothing else."""
    server, url = own_server
    network = FaultyNetwork(server.port)

    def restart() -> None:
        server.stop()
        server.start()

    network.on_strike = restart
    try:
        with Archive(make_url(url).set(port=network.port), wait_seconds=20, reply_seconds=20) as archive:
            archive.save(some_job("before"))
            network.strike("call", *MOMENTS[moment])
            assert archive.save(some_job("struck", 100)).added in (0, 100)
            assert network.struck == 1
            check(url, archive, acknowledged=True)
    finally:
        network.close()
