"""A save that returned survives SIGKILL, and one that was cut off left nothing half."""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from jobs_for_tests import some_job
from postgres_server import PostgresServer, new_database
from processes import context
from tuneledger import Archive, Job, schema
from tuneledger.engine import open_engine
from tuneledger.errors import TuneledgerError

LONG = os.environ.get("TUNELEDGER_LONG") == "1"
KILLS = 1_000 if LONG else 25
STEPS, MORE = 150, 30


def grown(job_id: str) -> Job:
    """The job after the append."""
    return some_job(job_id, STEPS, checkpoints=some_job(job_id, STEPS + MORE).checkpoints)


def write_until_killed(url: str, log: str, name: str) -> None:
    """Saves jobs and appends to them, and writes down what begins, what writes and what was acknowledged."""
    notes = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with Archive(url) as archive:

        @event.listens_for(archive.engine, "before_cursor_execute")
        def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            if statement.startswith("INSERT"):
                os.write(notes, b"writing\n")

        # Made before, so that the time goes into writing.
        first, more = some_job("first", STEPS), some_job("more", MORE, first=STEPS + 1).checkpoints
        for number in range(1_000_000):
            job_id = f"{name}-{number}"
            archive.save(first.model_copy(update={"job_id": job_id}))
            os.write(notes, f"saved {job_id}\n".encode())
            archive.append(job_id, more)
            os.write(notes, f"appended {job_id}\n".encode())


def check(archive: Archive, name: str, lines: list[str]) -> None:
    """What was acknowledged is there, and whatever is there is whole."""
    with archive.read() as repository:
        stored = {job_id for job_id in repository.job_ids() if job_id.startswith(f"{name}-")}
        acknowledged = {line.split()[1] for line in lines if line.startswith("saved ")}
        appended = {line.split()[1] for line in lines if line.startswith("appended ")}
        assert acknowledged <= stored
        for job_id in stored:
            job = repository.job(job_id)
            assert job in (some_job(job_id, STEPS), grown(job_id))
            assert job == grown(job_id) or job_id not in appended


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.timeout(7_200 if LONG else 300)
def test_sigkill(database_url: str, tmp_path: Path) -> None:
    """Nothing acknowledged is lost, nothing is half; at least half of the kills fell into a write."""
    drawn = random.Random(7)  # noqa: S311 - the moments of the kills, no secret
    in_mid_write = 0
    for number in range(KILLS):
        log = tmp_path / f"log-{number}"
        process = context().Process(target=write_until_killed, args=(database_url, str(log), f"run-{number}"))
        process.start()
        try:
            while not log.exists() or b"appended" not in log.read_bytes():
                time.sleep(0.005)  # until the worker has begun
                assert process.is_alive()
            time.sleep(drawn.uniform(0, 0.05))  # the moment of the kill
            if number % 4:  # one in four falls wherever it falls
                while not log.read_bytes().endswith(b"writing\n"):
                    time.sleep(0)  # lets the worker write
                time.sleep(drawn.uniform(0, 0.003))  # into its statements, or its commit
        finally:
            process.kill()
            process.join()
        lines = log.read_text().splitlines()
        in_mid_write += lines[-1] == "writing"
        with Archive(database_url) as archive:
            check(archive, f"run-{number}", lines)
    with Archive(database_url) as archive:
        assert list(archive.verify()) == []
    print(f"{in_mid_write} of {KILLS} kills fell into a write")  # noqa: T201 - the figure, for who runs it by -s
    assert in_mid_write >= KILLS / 2


@pytest.fixture
def crashing_server() -> Iterator[tuple[PostgresServer, str]]:
    """A server with PostgreSQL's own crash safety, and a migrated database on it."""
    server = PostgresServer(durable=True)
    try:
        with new_database(server.url) as url:
            engine = open_engine(url)
            schema.upgrade(engine)
            engine.dispose()
            yield server, url
    finally:
        server.close()


@pytest.mark.slow
def test_server_crash(crashing_server: tuple[PostgresServer, str]) -> None:
    """A server that crashes keeps every save that returned, and an open archive goes on with it."""
    server, url = crashing_server
    with Archive(url, wait_seconds=5) as archive:
        for number in range(3):
            archive.save(some_job(f"job {number}", 200))
            server.stop("immediate")
            with pytest.raises(TuneledgerError) as caught:
                archive.save(some_job(f"lost {number}"))
            assert caught.value.retryable
            server.start()
            with archive.read() as repository:  # the pool's connections are all dead
                assert repository.job(f"job {number}") == some_job(f"job {number}", 200)
        assert list(archive.verify()) == []
