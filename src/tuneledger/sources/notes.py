"""What is odd about a job's data. Suspicions for people to look at; no value is ever changed for one.

Notes are computed from what is stored, so that they are always of the data as it is.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tuneledger.models import CANONICAL_METRIC_NAMES, CheckpointOut, Placeholder
from tuneledger.sources.steps import EARLIER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Note", "quality_notes"]

_MANY_ZEROS: Final = 3
"""Zero losses from which they are worth a note; Trainer's filter turns NaN into 0.0."""
_ZERO_SHARE: Final = 0.05
_REGULAR_SHARE: Final = 0.8
"""The share of equal distances from which steps count as regular, so that a wider one is a gap."""
_FEWEST_DISTANCES: Final = 4


@dataclass(frozen=True, slots=True)
class Note:
    """Something odd: ``kind`` is one of a few fixed words, ``text`` says it for people."""

    kind: str
    text: str
    metric: str | None = None
    first_step: int | None = None


@dataclass(slots=True)
class _Series:
    """What one pass over a metric counted."""

    count: int = 0
    zeros: int = 0
    placeholders: int = 0
    not_finite: int = 0
    first_not_finite: int | None = None
    lowest: float = math.inf
    lowest_step: int | None = None

    def add(self, step: int, value: float) -> None:
        self.count += 1
        if isinstance(value, Placeholder):
            self.placeholders += 1
        elif not math.isfinite(value):
            self.not_finite += 1
            self.first_not_finite = step if self.first_not_finite is None else self.first_not_finite
        else:
            self.zeros += value == 0.0
            if value < self.lowest:
                self.lowest, self.lowest_step = value, step


def quality_notes(
    checkpoints: Iterable[CheckpointOut], *, kept: Callable[[CheckpointOut], bool] = lambda _: True
) -> list[Note]:
    """Look through a job's checkpoints, in step order, once and in constant memory a checkpoint.

    ``kept`` tells whether the provider had kept a checkpoint itself.
    """
    series: defaultdict[str, _Series] = defaultdict(_Series)
    distances: Counter[int] = Counter()
    widest: dict[int, int] = {}
    kept_steps: set[int] = set()
    repeated: list[int] = []
    last: int | None = None
    gone = timeless = 0
    for checkpoint in checkpoints:
        step = checkpoint.step_number
        if last is not None:
            distances[step - last] += 1
            widest.setdefault(step - last, last)
        last = step
        if kept(checkpoint):
            kept_steps.add(step)
        else:
            gone += 1
        timeless += not checkpoint.created_at
        if EARLIER in (checkpoint.__pydantic_extra__ or {}):
            repeated.append(step)
        for name, value in checkpoint.metrics.named_values().items():
            if isinstance(value, float):
                series[name].add(step, value)
    notes = [*_of_steps(distances, widest), *_of_repeats(repeated)]
    if timeless:
        have = "1 checkpoint has" if timeless == 1 else f"{timeless} checkpoints have"
        notes.append(Note("no_time", f"{have} no time: the source gives none"))
    for name in sorted(series):
        notes += _of_series(name, series[name], kept_steps if gone else None)
    return notes


def _of_steps(distances: Counter[int], widest: dict[int, int]) -> Iterable[Note]:
    total = distances.total()
    if total < _FEWEST_DISTANCES:
        return
    usual, count = distances.most_common(1)[0]
    gaps = {distance: number for distance, number in distances.items() if distance > usual}
    if gaps and count >= _REGULAR_SHARE * total:
        largest = max(gaps)
        often = sum(gaps.values())
        yield Note(
            "gaps",
            f"steps usually are {usual} apart, but more {'once' if often == 1 else f'{often} times'}; "
            f"the widest gap is {largest} after step {widest[largest]}",
            first_step=min(widest[distance] for distance in gaps),
        )


def _of_repeats(repeated: list[int]) -> Iterable[Note]:
    if repeated:
        several = len(repeated) > 1
        where = f"{len(repeated)} steps, from step {repeated[0]} on," if several else f"step {repeated[0]}"
        yield Note(
            "went_back",
            f"several rows of {where} tell different values: the run went back or was resumed, "
            "or each row has a time or a rate of its own; the earlier values are kept beside the last",
            first_step=repeated[0],
        )


def _of_series(name: str, found: _Series, kept_steps: set[int] | None) -> Iterable[Note]:
    if found.placeholders:
        yield Note(
            "placeholders",
            f"{_values(found.placeholders, found.count, name)} 0.0 for not evaluated",
            name,
        )
    if found.not_finite:
        yield Note(
            "not_finite",
            f"{_values(found.not_finite, found.count, name)} NaN or infinite, "
            f"first at step {found.first_not_finite}",
            name,
            found.first_not_finite,
        )
    stands_for = CANONICAL_METRIC_NAMES.get(name, name)
    if not stands_for.endswith("loss"):
        return
    if found.zeros >= _MANY_ZEROS and found.zeros >= _ZERO_SHARE * found.count:
        yield Note(
            "zero_losses",
            f"{_values(found.zeros, found.count, name)} exactly 0.0: the run may have diverged "
            f"(trainers can log NaN as 0.0), or it is one whose loss starts there",
            name,
        )
    best_is_gone = kept_steps is not None and found.lowest_step not in kept_steps
    if best_is_gone and found.lowest_step is not None and "valid" in stands_for:
        yield Note(
            "best_not_kept",
            f"the best {name} is at step {found.lowest_step}, of which the provider kept no checkpoint",
            name,
            found.lowest_step,
        )


def _values(few: int, count: int, name: str) -> str:
    """Begin a sentence about ``few`` of the values of a metric, up to its verb."""
    if count == 1:
        return f"the only value of {name} is"
    return f"{few} of {count} values of {name} {'is' if few == 1 else 'are'}"
