import asyncio
import importlib.util
import json
import math
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event, make_url

from faulty_network import FaultyNetwork
from postgres_server import libpq_url
from tuneledger import Archive, CheckpointOut, CheckpointRepository
from tuneledger.aio import AsyncArchive
from tuneledger.errors import DatabaseBusy, DatabaseReadOnly, DriverMissing, JobNotFound
from tuneledger.testing import checkpoint, checkpoints, job

pytestmark = pytest.mark.usefixtures("seen_through_greenlets")

EXAMPLE = Path(__file__).parents[1] / "docs/examples/serve_checkpoints.py"


def test_tasks_share_an_archive(database_url: str) -> None:
    """Tasks of one loop save, append and read at once, each in a transaction of its own."""

    async def main() -> None:
        async with AsyncArchive(database_url) as archive:
            await asyncio.gather(
                *(archive.save(job(f"job-{n}", checkpoints=checkpoints(20))) for n in range(8))
            )

            async def steps(n: int) -> int:
                async with archive.read() as repository:
                    return await repository.run(CheckpointRepository.count_checkpoints, f"job-{n}")

            assert await asyncio.gather(*map(steps, range(8))) == [20] * 8
            await asyncio.gather(*(archive.append(f"job-{n}", [checkpoint(999)]) for n in range(8)))
            assert await asyncio.gather(*map(steps, range(8))) == [21] * 8

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_missing_schema_is_made(kind: str, empty_sqlite_url: str) -> None:
    """An SQLite archive that is not there yet is made, by the same migrations."""

    async def main() -> None:
        async with AsyncArchive("sqlite://" if kind == "memory" else empty_sqlite_url) as archive:
            await archive.save(job())
            async with archive.read() as repository:
                assert await repository.run(lambda found: found.job("job-1")) == job()

    asyncio.run(main())


def test_cancelled_task_writes_nothing_and_leaves_the_pool_whole(database_url: str) -> None:
    """A task cancelled within its transaction rolls it back, and its connection serves again."""

    async def main() -> None:
        async with AsyncArchive(database_url, wait_seconds=5) as archive:
            reached = asyncio.Event()

            async def endless() -> None:
                async with archive.write() as repository:
                    await repository.run(CheckpointRepository.save, job(checkpoints=checkpoints(100)))
                    reached.set()
                    await asyncio.sleep(60)

            for _ in range(20):  # more often than a pool has connections
                reached.clear()
                task = asyncio.create_task(endless())
                await reached.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            async with archive.read() as repository:
                assert await repository.run(CheckpointRepository.count_jobs) == 0

    asyncio.run(main())


def test_cancelling_twice_does_not_lose_a_database_in_memory() -> None:
    """Cancelled again while it rolls back, a task still hands its connection back whole."""

    async def main() -> None:
        async with AsyncArchive("sqlite://", wait_seconds=5) as archive:
            await archive.save(job("kept"))
            reached = asyncio.Event()

            async def endless() -> None:
                async with archive.write() as repository:
                    await repository.run(CheckpointRepository.save, job())
                    reached.set()
                    await asyncio.sleep(60)

            task = asyncio.create_task(endless())
            await reached.wait()
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with archive.read() as repository:
                assert await repository.run(lambda found: found.jobs().jobs[0].job_id) == "kept"

    asyncio.run(main())


def test_waiting_lets_the_loop_go_on(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the tries of a save other tasks run: the pause is the event loop's, not the thread's."""
    monkeypatch.delattr(time, "sleep")  # it would stop the loop
    lost: list[str] = []

    async def main() -> None:
        async with AsyncArchive(postgres_url, wait_seconds=20) as archive:

            @event.listens_for(archive._archive.engine, "before_cursor_execute")
            def lose(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
                if not lost and statement.startswith("INSERT INTO tuneledger.jobs"):
                    lost.append(statement)
                    with psycopg.connect(libpq_url(postgres_url)) as other:
                        other.execute(_LOSE_ALL_OTHERS)

            assert (await archive.save(job())).created

    asyncio.run(main())
    assert len(lost) == 1


_LOSE_ALL_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def test_a_lock_that_stays_is_told(sqlite_url: str) -> None:
    """When the wait is over the error is ours."""
    holder = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")

    async def main() -> None:
        async with AsyncArchive(sqlite_url, wait_seconds=0.01) as archive:
            with pytest.raises(DatabaseBusy):
                await archive.save(job())

    asyncio.run(main())
    holder.close()


def test_errors_are_those_of_the_synchronous_door(database_url: str) -> None:
    """What is missing or forbidden is said by the same errors."""
    with Archive(database_url) as archive:
        archive.save(job())

    async def main() -> None:
        async with AsyncArchive(database_url, read_only=True) as archive:
            assert "AsyncArchive(" in repr(archive)
            assert (make_url(database_url).password or "://") not in repr(archive)
            with pytest.raises(JobNotFound):
                async with archive.read() as repository:
                    await repository.run(CheckpointRepository.job, "nobody")
            with pytest.raises(DatabaseReadOnly):
                await archive.save(job("another"))

    asyncio.run(main())


def test_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without aiosqlite the error says what to install."""
    monkeypatch.setitem(sys.modules, "aiosqlite", None)

    async def main() -> None:
        async with AsyncArchive("sqlite://"):
            raise AssertionError

    with pytest.raises(DriverMissing, match=r"tuneledger\[async\]"):
        asyncio.run(main())


def test_missing_greenlet_names_the_extra() -> None:
    """Without greenlet importing works and opening says what to install."""
    program = """
import asyncio, sys
sys.modules["greenlet"] = None
from tuneledger.aio import AsyncArchive
from tuneledger.errors import DriverMissing
async def main():
    async with AsyncArchive("sqlite://"):
        pass
try:
    asyncio.run(main())
except DriverMissing as error:
    print(error)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "tuneledger[async]" in ended.stdout


def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The example of the docs, as a module."""
    found = importlib.util.spec_from_file_location("serve_checkpoints", EXAMPLE)
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    monkeypatch.setitem(sys.modules, "serve_checkpoints", module)
    found.loader.exec_module(module)
    return module


def test_fastapi_example(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the docs serves pages of a step range and streams a whole job, each as it came."""
    given = [checkpoint(step) for step in range(1_500)]
    odd = [checkpoint(1, {"train_loss": 0.5}), checkpoint(2, {"train_loss": math.nan, "x": None, "y": -0.0})]
    with Archive(database_url) as archive:
        archive.save(job("run 1", checkpoints=given))
        archive.save(job("odd", checkpoints=odd))
    monkeypatch.setenv("TUNELEDGER_DATABASE_URL", database_url)
    with TestClient(example(monkeypatch).app) as client:
        answer = client.get("/jobs/run 1/checkpoints", params={"first_step": 10, "last_step": 12})
        assert [one["step_number"] for one in answer.json()] == [10, 11, 12]
        lines = client.get("/jobs/run 1/checkpoints.jsonl").text.splitlines()
        assert [json.loads(line)["step_number"] for line in lines] == list(range(1_500))
        page = client.get("/jobs/run 1/checkpoints").json()
        assert len(page) == 1_000
        following = client.get("/jobs/run 1/checkpoints", params={"first_step": page[-1]["step_number"] + 1})
        assert [one["step_number"] for one in page + following.json()] == list(range(1_500))
        whole = client.get("/jobs/odd/checkpoints").json()
        lines = client.get("/jobs/odd/checkpoints.jsonl").text.splitlines()
        for came in (whole, [json.loads(line) for line in lines]):
            assert [CheckpointOut.model_validate(one) for one in came] == odd
        for route in ("checkpoints", "checkpoints.jsonl"):
            for job_id, status in (("nobody", 404), ("no\0text", 422)):
                answer = client.get(f"/jobs/{quote(job_id)}/{route}")
                assert (answer.status_code, job_id[:2] in answer.json()["detail"]) == (status, True)
        assert client.get("/jobs/run 1/checkpoints", params={"limit": 10_001}).status_code == 422


def test_fastapi_example_without_its_database(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the database is away the answer is to come again; then all goes on."""
    with Archive(postgres_url) as archive:
        archive.save(job("run", checkpoints=[checkpoint(1)]))
    network = FaultyNetwork(make_url(postgres_url).port or 5432)
    try:
        url = make_url(postgres_url).set(port=network.port)
        monkeypatch.setenv("TUNELEDGER_DATABASE_URL", url.render_as_string(hide_password=False))
        with TestClient(example(monkeypatch).app) as client:
            for route in ("checkpoints", "checkpoints.jsonl"):
                assert client.get(f"/jobs/run/{route}").status_code == 200
                network.refuse()
                answer = client.get(f"/jobs/run/{route}")
                assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
                network.accept()
    finally:
        network.close()
