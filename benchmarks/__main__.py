"""Run the benchmarks: a store and a round at a time, so that a busy machine disturbs all alike."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import report
from benchmarks.stores import STORES

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT: Final = Path(__file__).parents[1]
_SLOW: Final = {"MLflow", "Optuna", "LangGraph"}
"""What takes minutes is measured once."""


def main() -> None:
    """Measure, print the table, write the figures and the chart."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--size", type=float, default=1e5, help="checkpoints archived, in 100 jobs: 1e4 to 1e7"
    )
    parser.add_argument("--rounds", type=int, default=3, help="times that the fast stores are measured")
    parser.add_argument(
        "--engines", default="sqlite,postgresql", type=lambda text: text.split(","), help="comma-separated"
    )
    parser.add_argument(
        "--stores", default=",".join(STORES), type=lambda text: text.split(","), help="comma-separated"
    )
    parser.add_argument(
        "--budget", type=float, default=60, help="seconds after which a store stops archiving"
    )
    parser.add_argument("--postgres", help="URL of a server that may CREATE DATABASE; else one is started")
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu counts the process' own processor time: for SQLite, on a machine that others use too; "
        "waiting for the disk is not in it",
    )
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"), help="folder")
    arguments = parser.parse_args()
    size = int(arguments.size)
    os.environ["BENCHMARK_CLOCK"] = arguments.clock  # for the processes that measure
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / f"{size:.0e}.json".replace("e+0", "e")
    results: dict[str, dict[str, list[dict[str, Any]]]] = {}
    document = {"size": size, "clock": arguments.clock, "machine": report.machine(), "results": results}
    for engine in arguments.engines:
        results[engine] = {}
        with server(engine, arguments.postgres) as place:
            for number in range(arguments.rounds):
                for name in arguments.stores:
                    if engine not in STORES[name][1] or (number and name in _SLOW):
                        continue
                    began = time.monotonic()
                    with fresh_database(engine, place) as url:
                        found = _measured(name, url, size, arguments.budget)
                    results[engine].setdefault(name, []).append(found)
                    path.write_text(
                        json.dumps(document, indent=1)
                    )  # what was measured outlives an interruption
                    took = time.monotonic() - began
                    print(f"{engine:10} round {number + 1} {name:12} {took:6.0f} s", file=sys.stderr)
    print(report.table(document))
    report.chart(document, path.with_suffix(".svg"))


def _measured(name: str, url: str, size: int, budget: float) -> dict[str, Any]:
    """Run the phases of one store, each in a process of its own."""
    found: dict[str, Any] = {"figures": {}, "missing": {}}
    for phase in ("write", "fill", "read", "stream"):
        longest = int(found["figures"].get("longest", 0))
        numbers = [str(size), str(budget), str(longest)]
        answer = measured_phase(name, url, phase, numbers, found["missing"])
        if answer is None:
            break
        found["figures"] |= answer["figures"]
        found["missing"] |= answer["missing"]
        if "read" in found["missing"]:
            break
    return found


def measured_phase(
    name: str, url: str, phase: str, numbers: list[str], missing: dict[str, str] | None = None
) -> dict[str, Any] | None:
    """Run one phase; None where it failed, with the reason in ``missing``."""
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", "benchmarks.worker", name, url, phase, *numbers],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    if done.returncode:
        if missing is not None:
            missing[phase] = done.stderr.strip().splitlines()[-1]
        print(f"{name}, {phase}: {done.stderr[-2000:]}", file=sys.stderr)
        return None
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@contextmanager
def server(engine: str, given: str | None) -> Iterator[str]:
    """Give the URL of a PostgreSQL server whose commits wait for the disk; nothing for SQLite."""
    if engine == "sqlite" or given:
        yield given or ""
        return
    sys.path.insert(0, str(_ROOT / "tests"))  # its server is the tests', with the settings for safety left on
    from postgres_server import PostgresServer

    server = PostgresServer(durable=True)
    try:
        yield server.url
    finally:
        server.close()


@contextmanager
def fresh_database(engine: str, server: str) -> Iterator[str]:
    """Give the URL of a fresh database, gone afterwards."""
    if engine == "sqlite":
        with tempfile.TemporaryDirectory(prefix="tuneledger-benchmark-") as folder:
            yield f"sqlite:///{folder}/store.db"
        return
    sys.path.insert(0, str(_ROOT / "tests"))
    from postgres_server import new_database

    with new_database(server) as url:
        yield url


if __name__ == "__main__":
    main()
