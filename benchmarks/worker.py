"""Measures one store on one database, in a process of its own, and prints what it found as JSON."""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from benchmarks import workload
from benchmarks.stores import Missing, Store, opened

if TYPE_CHECKING:
    from collections.abc import Callable

APPENDS: Final = 200
RANGES: Final = 100
SHOWN_JOBS: Final = 20
SHOWN_POINTS: Final = 500
_BEST_OF: Final = 3
_WARM_UP: Final = 5
_READ_WHOLE: Final = 10  # jobs asked for their best where that means to read them whole; scaled up then


class Wrong(Exception):
    """A store gave back something else than went in; no time of it counts."""


@dataclass
class Measured:
    """What one process found: measure to figure, or to the reason why there is none."""

    figures: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def attempt(self, name: str, measure: Callable[[], float]) -> None:
        """Take a figure, or note why there is none."""
        try:
            self.figures[name] = measure()
        except Missing as error:
            self.missing[name] = str(error)


def clock() -> float:
    """Give the time by the clock that was asked for."""
    return time.process_time() if os.environ.get("BENCHMARK_CLOCK") == "cpu" else time.perf_counter()


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Time one call, with no garbage of others' to collect in it."""
    gc.collect()
    began = clock()
    result = work()
    return clock() - began, result


def compared(store: Store, answer: Any, expected: list[workload.Point]) -> None:
    """Raise `Wrong` unless the answer is exactly what was archived."""
    found = store.plain(answer)
    if not store.keeps_time:
        expected = [point._replace(created_at=0) for point in expected]
    if found != expected:
        raise Wrong(f"{len(found)} points for {len(expected)}, or other values")


def write(store: Store, size: int, budget_seconds: float) -> Measured:
    """Archive, archive again, append. Stops archiving when the budget is spent."""
    measured = Measured()
    each = size // workload.JOBS
    spent, archived = 0.0, 0
    ids = workload.runs(size)
    for job_id in ids:  # made, archived and forgotten one by one, as `tuneledger archive` does
        took, _ = seconds(partial(store.save, store.prepared(workload.run(job_id, each))))
        spent += took
        archived += each
        if spent > budget_seconds:
            break
    measured.figures["archive"] = archived / spent
    measured.figures["archived"] = archived
    if archived < size:
        measured.missing["read"] = f"filling it would take {size / archived * spent / 60:.0f} minutes"
    measured.figures["bytes"] = store.size_bytes() / archived
    one = workload.run(ids[0], each)
    again = [store.prepared(one) for _ in range(3)]
    altered = store.prepared(workload.changed(one))
    original = store.prepared(one)
    measured.attempt("again", lambda: each / min(seconds(partial(store.save_again, job))[0] for job in again))
    measured.attempt("again_1_percent", lambda: each / seconds(lambda: store.save_again(altered))[0])
    if "again" in measured.figures:
        store.save_again(original)
    measured.attempt("append", lambda: _appends(store, one))
    measured.attempt("validate", lambda: each / seconds(lambda: store.validate(one))[0])
    return measured


def _appends(store: Store, run: workload.Run) -> float:
    points = workload.following(run, APPENDS + _WARM_UP)
    for point in points[:_WARM_UP]:
        store.append(run.job_id, point)
    times = []
    for point in points[_WARM_UP:]:
        began = clock()
        store.append(run.job_id, point)
        times.append(clock() - began)
    return 1 / median(times)


def fill_long(store: Store, size: int, budget_seconds: float) -> Measured:
    """Archive the jobs that are read whole, the shortest first, as far as the budget goes."""
    longest = 0
    for job_id, length in workload.long_runs(size).items():
        took, _ = seconds(partial(store.save, store.prepared(workload.run(job_id, length))))
        longest = length
        if took * 10 > budget_seconds:
            break
    return Measured({"longest": longest})


def read(store: Store, size: int, longest: int) -> Measured:
    """Ranges, whole jobs, series, latest, best: milliseconds each."""
    measured = Measured()
    each = size // workload.JOBS
    ids = workload.runs(size)[1:]  # the first one was changed and appended to
    measured.attempt("range", lambda: _ranges(store, ids, each))
    for job_id, length in workload.long_runs(min(size, longest)).items():
        expected = workload.run(job_id, length).points
        measured.attempt(f"job_{length}", partial(_whole, store, job_id, expected))
        measured.attempt(f"columns_{length}", partial(_repeated, partial(store.columns, job_id)))
    measured.attempt("series", lambda: _series(store, ids, each, measured))
    for what, ask in (("latest", store.latest), ("best", store.best)):
        asked = ids[:_READ_WHOLE] if what == "best" and store.best_reads_whole_jobs else ids
        measured.attempt(what, partial(_repeated, partial(ask, asked), len(ids) / len(asked)))
    step = each // 2 * workload.STEPS_APART
    measured.attempt("by_key", lambda: _repeated(lambda: store.by_key(ids, step)))
    return measured


def _repeated(work: Callable[[], Any], scale: float = 1.0) -> float:
    work()
    return scale * 1000 * median(seconds(work)[0] for _ in range(_BEST_OF))


def _ranges(store: Store, ids: list[str], each: int) -> float:
    times = []
    span = min(RANGES, each)
    for index, job_id in enumerate(ids[: _WARM_UP + 20]):
        first = (each - span) * index // len(ids)
        bounds = (first + 1) * workload.STEPS_APART, (first + span) * workload.STEPS_APART
        took, answer = seconds(partial(store.between, job_id, *bounds))
        compared(store, answer, workload.run(job_id, each).points[first : first + span])
        if index >= _WARM_UP:
            times.append(took)
    return 1000 * median(times)


def _whole(store: Store, job_id: str, expected: list[workload.Point]) -> float:
    times = []
    for _ in range(_BEST_OF):
        took, answer = seconds(lambda: store.whole(job_id))
        compared(store, answer, expected)
        times.append(took)
    return 1000 * median(times)


def _series(store: Store, ids: list[str], each: int, measured: Measured) -> float:
    times = []
    truths = [workload.run(job_id, each) for job_id in ids[:SHOWN_JOBS]]
    for _ in range(3):
        took, answer = seconds(lambda: store.series(ids[:SHOWN_JOBS], SHOWN_POINTS))
        times.append(took)
    curves = store.curves(answer)
    if len(curves) != SHOWN_JOBS or any(len(curve) > SHOWN_POINTS + 1 for curve in curves):
        raise Wrong("not 20 curves of at most 500 points")
    spikes = 0
    for curve, run in zip(curves, truths, strict=True):
        if not set(curve) <= {(point.step, point.train_loss) for point in run.points}:
            raise Wrong("a curve shows points that were never archived")
        spikes += (run.spike.step, run.spike.train_loss) in curve
    measured.figures["spikes"] = spikes / len(truths)
    return 1000 * median(times)


def stream(store: Store, size: int) -> Measured:
    """Read everything once; checkpoints a second and the memory it took beyond the start."""
    ids = workload.runs(size)[1:]
    expected = size // workload.JOBS * len(ids)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    took, count = seconds(lambda: sum(1 for _ in store.stream(ids)))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if count != expected:
        raise Wrong(f"{count} checkpoints for {expected}")
    return Measured({"stream": count / took, "stream_megabytes": (after - before) / 1024})


def main() -> None:
    """Run one phase: worker.py STORE URL PHASE SIZE BUDGET_SECONDS LONGEST."""
    name, url, phase, size, budget, longest = sys.argv[1:7]
    store = opened(name, url)
    gc.freeze()  # what the packages are made of is nobody's garbage
    try:
        if phase == "write":
            measured = write(store, int(size), float(budget))
        elif phase == "fill":
            measured = fill_long(store, int(size), float(budget))
        elif phase == "read":
            measured = read(store, int(size), int(longest))
        else:
            measured = stream(store, int(size))
    finally:
        store.close()
    json.dump({"figures": measured.figures, "missing": measured.missing}, sys.stdout)


if __name__ == "__main__":
    main()
