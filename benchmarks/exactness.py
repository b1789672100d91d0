"""Ask each store to give back what it was given: ``python -m benchmarks.exactness`` prints README's table.

Each case is a job of one checkpoint in an SQLite file of the store's own, through the store's own interface.
"""

from __future__ import annotations

import math
import sys
import tempfile
from typing import Final

from benchmarks.stores import Missing, Store, opened
from benchmarks.workload import Point, Run

STORES: Final = ("tuneledger", "MLflow", "Trackio", "Optuna")
VALUES: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf, "-0.0": -0.0}


def main() -> None:
    """Print a row a case."""
    rows: dict[str, list[str]] = {}
    for name in STORES:
        with tempfile.TemporaryDirectory(prefix="tuneledger-exactness-") as folder:
            store = opened(name, f"sqlite:///{folder}/store.db")
            for case, value in VALUES.items():
                rows.setdefault(f"{case} comes back as", []).append(_value(store, case, value))
            rows.setdefault("a job saved twice has", []).append(_twice(store))
            store.close()
    print("| |", " | ".join(STORES), "|\n|---|" + "---|" * len(STORES))
    for case, answers in rows.items():
        print(f"| {case} |", " | ".join(answers), "|")


def _value(store: Store, case: str, value: float) -> str:
    run = Run(case, 1_700_000_000, [Point(10, 1_700_000_030, value, 0.5, 0.5)])
    try:
        store.save(store.prepared(run))
        (point,) = store.plain(store.whole(run.job_id))
    except Exception as error:  # noqa: BLE001 - whatever a store refuses by is its answer
        print(f"{type(store).__name__}, {case}: {error!r}", file=sys.stderr)
        return "refused"
    return "itself" if repr(point.train_loss) == repr(value) else f"{point.train_loss!r}"


def _twice(store: Store) -> str:
    run = Run("twice", 1_700_000_000, [Point(10, 1_700_000_030, 0.5, 0.5, 0.5)])
    prepared = store.prepared(run)
    store.save(prepared)
    try:
        store.save_again(prepared)
    except Missing:  # the benchmarks leave out what would distort their figures
        store.save(prepared)
    points = store.plain(store.whole(run.job_id))
    return "its checkpoint once" if len(points) == 1 else f"its checkpoint {len(points)} times"


if __name__ == "__main__":
    main()
