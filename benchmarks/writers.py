"""How fast 1 to 8 processes write to one archive, and how long the command line takes to start.

``python -m benchmarks.writers`` prints checkpoints a second of jobs of 1,000 checkpoints, every commit
durable, and the time of ``tuneledger jobs`` on a small archive beside that of ``sqlite3 FILE 'select ...'``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import subprocess
import sys
import time
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from benchmarks import workload
from benchmarks.__main__ import fresh_database, server

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

_CHECKPOINTS: Final = 1_000
_WRITERS: Final = (1, 2, 4, 8)
_STARTS: Final = 15


def write(url: str, writer: int, jobs: int, together: Barrier, results: Any) -> None:
    """Archive jobs made beforehand, from the moment that every writer is ready."""
    from benchmarks.stores.tuneledger_store import TuneledgerStore

    store = TuneledgerStore(url)
    made = [store.prepared(workload.run(f"writer-{writer}-{job}", _CHECKPOINTS)) for job in range(jobs)]
    together.wait()
    began = time.monotonic()
    for job in made:
        store.save(job)
    results.put((began, time.monotonic()))
    store.close()


def rate(url: str, writers: int, jobs: int) -> float:
    """Give checkpoints a second that so many writers reach together."""
    started = multiprocessing.get_context("spawn")
    together, results = started.Barrier(writers), started.Queue()
    processes = [
        started.Process(target=write, args=(url, number, jobs // writers, together, results))
        for number in range(writers)
    ]
    for process in processes:
        process.start()
    times: list[tuple[float, float]] = [results.get() for _ in processes]
    for process in processes:
        process.join()
    seconds = max(ended for _, ended in times) - min(began for began, _ in times)
    return jobs // writers * writers * _CHECKPOINTS / seconds


def starts(url: str) -> tuple[float, float]:
    """Give the median milliseconds of ``tuneledger jobs`` and of sqlite3's own select."""
    path = url.removeprefix("sqlite:///")
    commands = (
        [sys.executable, "-m", "tuneledger", "-q", "jobs", "--db", path],
        ["sqlite3", path, "select job_id, provider, model, status, created_at from jobs"],
    )
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(_STARTS):
        for command, times in zip(commands, found, strict=True):
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - commands of our own
            times.append(1000 * (time.perf_counter() - began))
    return median(found[0]), median(found[1])


def main() -> None:
    """Measure on both engines."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.writers", description=__doc__)
    parser.add_argument("--jobs", type=int, default=160, help="jobs of 1,000 checkpoints, over all writers")
    parser.add_argument("--engines", default="sqlite,postgresql", help="comma-separated")
    parser.add_argument("--postgres", help="URL of a server that may CREATE DATABASE; else one is started")
    given = parser.parse_args()
    print(f"| checkpoints/s | {' | '.join(f'{count} writers' for count in _WRITERS)} |")
    print("|" + " --- |" * (len(_WRITERS) + 1))
    for engine in given.engines.split(","):
        cells = []
        with server(engine, given.postgres) as place:
            for writers in _WRITERS:
                with fresh_database(engine, place) as url:
                    cells.append(f"{rate(url, writers, given.jobs):,.0f}")
        print(f"| {engine} | {' | '.join(cells)} |")
    with fresh_database("sqlite", "") as url:
        rate(url, 1, 10)
        ours, theirs = starts(url)
    print(f"\n`tuneledger jobs`: {ours:.0f} ms, `sqlite3 FILE select`: {theirs:.0f} ms")


if __name__ == "__main__":
    main()
