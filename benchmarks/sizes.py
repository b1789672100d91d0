"""What reading costs as the archive grows: ``python -m benchmarks.sizes --sizes 1e4,1e5,1e6,1e7``.

One archive a size, of 100 jobs; prints milliseconds a question and draws them. A flat line is the goal.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from benchmarks.__main__ import fresh_database, measured_phase, server
from benchmarks.stores import BASELINE

_SHOWN: Final = {"range": "100 steps of a job", "latest": "latest of 99 jobs", "best": "best of 99 jobs"}
_SHOWN_TOO: Final = {"series": "20 curves of 500 points"}
"""It looks at every point of the curves, so it grows with the jobs."""


def measured(engine: str, size: int, given_server: str) -> dict[str, float]:
    """Fill an archive and ask it."""
    with fresh_database(engine, given_server) as url:
        numbers = [str(size), str(10**6), "0"]
        measured_phase(BASELINE, url, "write", numbers)
        answer = measured_phase(BASELINE, url, "read", numbers)
        if answer is None:
            raise SystemExit(1)
        figures: dict[str, float] = answer["figures"]
        return figures


def main() -> None:
    """Measure each size on each engine."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizes", description=__doc__)
    parser.add_argument("--sizes", default="1e4,1e5,1e6", help="checkpoints, comma-separated")
    parser.add_argument("--engines", default="sqlite,postgresql", help="comma-separated")
    parser.add_argument("--postgres", help="URL of a server that may CREATE DATABASE; else one is started")
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"), help="folder")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    sizes = [int(float(size)) for size in given.sizes.split(",")]
    results: dict[str, dict[int, dict[str, float]]] = {}
    for engine in given.engines.split(","):
        with server(engine, given.postgres) as place:
            for size in sizes:
                results.setdefault(engine, {})[size] = measured(engine, size, place)
                print(f"{engine} {size:,}", file=sys.stderr)
    (given.output / "sizes.json").write_text(json.dumps(results, indent=1))
    titles = _SHOWN | _SHOWN_TOO
    print(f"| ms | {' | '.join(f'{size:,}' for size in sizes)} | last to first |")
    print("|" + " --- |" * (len(sizes) + 2))
    for engine, found in results.items():
        for name, title in titles.items():
            costs = [found[size][name] for size in sizes]
            cells = " | ".join(f"{cost:.2f}" for cost in costs)
            print(f"| {engine}: {title} | {cells} | {costs[-1] / costs[0]:.2f} |")
    chart(results, given.output / "sizes.svg")


def chart(results: dict[str, dict[int, dict[str, float]]], path: Path) -> None:
    """Draw milliseconds by checkpoints stored, both logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes: Any = figure.add_subplot()
    for engine, found in results.items():
        for name, title in _SHOWN.items():
            costs = [figures[name] for figures in found.values()]
            axes.plot(list(found), costs, "o-" if engine == "sqlite" else "s--", label=f"{engine}: {title}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("checkpoints stored")
    axes.set_ylabel("milliseconds")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path)


if __name__ == "__main__":
    main()
