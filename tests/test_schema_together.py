"""Many processes at once, and processes that die: one migration, whole or not at all."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

import postgres_server
from schema_archives import catalog_of, contents, grow, load, opened, revision_of
from tuneledger import schema
from tuneledger.engine import open_engine
from tuneledger.errors import DatabaseBusy
from tuneledger.schema import guarded

LONG = os.environ.get("TUNELEDGER_LONG") == "1"
PROCESSES, ROUNDS, KILLS = (32, 20, 100) if LONG else (8, 2, 25)
WORKER = Path(__file__).with_name("schema_workers.py")


class Worker:
    """One such process."""

    def __init__(self) -> None:
        # Coverage of its own would be lost when it is killed, and slows it down.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
        self.process = subprocess.Popen(
            [sys.executable, WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def tell(self, line: str) -> None:
        """Sends a line."""
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """Waits for a line."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        """Ends it."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def workers() -> Iterator[list[Worker]]:
    """As many processes, which have imported everything."""
    started = [Worker() for _ in range(PROCESSES)]
    yield started
    for worker in started:
        worker.close()


@pytest.fixture
def worker() -> Iterator[Worker]:
    """One process."""
    started = Worker()
    yield started
    started.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "way"),
    [
        ("sqlite", "open"),
        *((engine, way) for engine in ("sqlite", "postgresql") for way in ("python", "command")),
    ],
)
@pytest.mark.timeout(1800)
def test_all_at_once(
    workers: list[Worker], postgres_server_url: str, tmp_path: Path, engine: str, way: str
) -> None:
    """On one empty database every process succeeds, and the schema is whole."""
    for number in range(ROUNDS):
        with ExitStack() as stack:
            if engine == "sqlite":
                url = f"sqlite:///{tmp_path}/{number}.db"
            else:
                url = stack.enter_context(postgres_server.new_database(postgres_server_url))
            for worker in workers:
                worker.tell(f"{way} {url}")
            assert {worker.hear() for worker in workers} == {"ready"}
            for worker in workers:
                worker.tell("go")
            assert {worker.hear() for worker in workers} == {"done"}
            with opened(url) as database:
                assert revision_of(database) == schema.head()
                assert schema.drift(database) == []


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.timeout(1800)
def test_killed_at_any_moment(empty_database_url: str, worker: Worker) -> None:
    """After SIGKILL in the middle the database is at a whole revision, has its rows, and upgrades on."""
    load(empty_database_url, "0001")
    inside = 0
    chance = random.Random(3)  # noqa: S311 - moments, no secret
    with opened(empty_database_url) as engine:
        grow(engine, jobs=6, steps=1_500)
        low = contents(engine), catalog_of(engine)
        started = time.monotonic()
        schema.upgrade(engine, backup=False)
        longest = time.monotonic() - started
        high = contents(engine), catalog_of(engine)
        for _ in range(KILLS):
            schema.downgrade(engine, "0001", backup=False)
            engine.dispose()
            worker.tell(f"fork {empty_database_url}")
            assert worker.hear() == "ready"
            worker.tell("go")
            word, child = worker.hear().split()
            assert word == "child"
            time.sleep(chance.uniform(0, longest))  # the moment of the kill
            with suppress(ProcessLookupError):  # it was quicker
                os.kill(int(child), signal.SIGKILL)
            answers = [worker.hear()]
            while answers[-1] != "done":
                answers.append(worker.hear())
            if "finished" in answers:
                longest *= 0.7  # it is quicker than it was measured: the next one is to be met at work
            else:
                inside += 1
            wanted = {"0001": low, schema.head(): high}
            assert (contents(engine), catalog_of(engine)) == wanted[revision_of(engine) or ""]
            assert schema.upgrade(engine, backup=False) == schema.head()
            assert (contents(engine), catalog_of(engine)) == high
    met = f"{inside} of {KILLS} kills fell inside the upgrade"
    sys.stdout.write(f"{make_url(empty_database_url).get_backend_name()}: {met}\n")
    assert inside >= KILLS / 2, met


def test_who_waits_too_long_is_told(empty_database_url: str) -> None:
    """While another migrates, an upgrade waits as long as it was told to, then says who is in the way."""
    engine, hurried = open_engine(empty_database_url), open_engine(empty_database_url, wait_seconds=0.2)
    with guarded(engine):
        started = time.monotonic()
        with pytest.raises(DatabaseBusy, match="another process migrates or writes to"):
            schema.upgrade(hurried)
        assert 0.1 < time.monotonic() - started < 20
    assert schema.upgrade(hurried) == schema.head()
    engine.dispose()
    hurried.dispose()


def test_a_callers_engine_keeps_others_waiting(empty_database_url: str) -> None:
    """Its migration has the lock before it looks, as ours has: nobody meets half of the work."""
    theirs, hurried = create_engine(empty_database_url), open_engine(empty_database_url, wait_seconds=0.2)
    with guarded(theirs), pytest.raises(DatabaseBusy):
        schema.upgrade(hurried)
    theirs.dispose()
    hurried.dispose()


def test_a_callers_engine_waits_no_longer(empty_postgres_url: str) -> None:
    """Who migrates over an engine without a limit gets one, who has a limit keeps it."""
    hurried = create_engine(empty_postgres_url, connect_args={"options": "-c lock_timeout=200"})
    theirs = create_engine(empty_postgres_url)
    with guarded(theirs) as connection:
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "30s"
        with pytest.raises(DatabaseBusy, match="another process migrates or writes to"):
            schema.upgrade(hurried)
    assert schema.upgrade(hurried) == schema.head()
    with theirs.connect() as connection:
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "0"
    theirs.dispose()
    hurried.dispose()


def test_two_schemas_are_migrated_at_once(empty_postgres_url: str) -> None:
    """The lock is one archive's, not the database's."""
    engine = open_engine(empty_postgres_url)
    other = open_engine(empty_postgres_url, schema="other", wait_seconds=0.2)
    with guarded(engine):
        assert schema.upgrade(other) == schema.head()
    engine.dispose()
    other.dispose()


def test_a_migration_may_take_its_time(empty_postgres_url: str) -> None:
    """What bounds other statements would end a long one of a migration: here none is bounded, once begun."""
    engine = open_engine(empty_postgres_url, wait_seconds=0.1, reply_seconds=0.1)
    with guarded(engine) as connection:
        assert connection.exec_driver_sql("SELECT 1 FROM pg_sleep(2.6)").scalar() == 1
    engine.dispose()


def test_who_waits_long_enough_succeeds(empty_database_url: str) -> None:
    """The second finds the work done."""
    first, second = open_engine(empty_database_url), open_engine(empty_database_url)
    found: list[str] = []
    with guarded(first):
        waiting = threading.Thread(target=lambda: found.append(schema.upgrade(second)))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
    waiting.join(60)
    assert found == [schema.head()]
    first.dispose()
    second.dispose()
