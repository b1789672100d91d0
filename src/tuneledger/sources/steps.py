"""Log rows into checkpoints: what several rows say of one step becomes one checkpoint."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tuneledger.models import CheckpointOut

__all__ = ["EARLIER", "checkpoints_of_rows", "one_a_step", "rows_of", "whole_step"]

EARLIER: Final = "earlier_values"
"""The field of a checkpoint with the values that a later row of the same step replaced: by the metric's
name, in the order they came."""


def whole_step(value: object) -> int | None:
    """Give a step number that came as an integer, or as 50.0, as several programs write it; else None."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def checkpoints_of_rows(
    steps: Sequence[int], rows: Sequence[dict[str, Any]], times: Iterable[int] | None = None
) -> list[dict[str, Any]]:
    """Give rows of metrics as the fields of `CheckpointOut`; ``rows`` are taken over and may change.

    ``times`` are UNIX seconds, 0 where they are not given. See `one_a_step` for rows of one step.
    """
    checkpoints = [
        {"metrics": row, "step_number": step, "created_at": time}
        for step, row, time in zip(steps, rows, repeat(0) if times is None else times, strict=False)
    ]
    return checkpoints if len(set(steps)) == len(steps) else one_a_step(checkpoints)


def one_a_step(checkpoints: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merge checkpoints of one step into the first of them, which is changed.

    Of a metric that stands in several the last value stands; the ones before it that differ are kept
    under `EARLIER`. Of the times and of other fields the last one known stands. What is no checkpoint is left
    to be refused.
    """
    by_step: dict[int, dict[str, Any]] = {}
    others: list[dict[str, Any]] = []
    for checkpoint in checkpoints:
        step = checkpoint["step_number"]
        if type(step) is not int or not isinstance(checkpoint["metrics"], dict):
            others.append(checkpoint)
            continue
        first = by_step.setdefault(step, checkpoint)
        if first is not checkpoint:
            _add(first, checkpoint)
    return [*by_step.values(), *others]


def _add(first: dict[str, Any], later: dict[str, Any]) -> None:
    metrics = first["metrics"]
    for name, value in later["metrics"].items():
        if name in metrics and not _same(metrics[name], value):
            first.setdefault(EARLIER, {}).setdefault(name, []).append(metrics[name])
        metrics[name] = value
    first["created_at"] = later["created_at"] or first["created_at"]
    for name, value in later.items():
        first.setdefault(name, value)


def _same(one: object, other: object) -> bool:
    return one == other or (one != one and other != other)  # noqa: PLR0124 - NaN differs from itself


def rows_of(checkpoints: Iterable[CheckpointOut]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give checkpoints as rows again, (step, metrics): of each step the earlier values, then the last."""
    for checkpoint in checkpoints:
        earlier: dict[str, list[Any]] = (checkpoint.__pydantic_extra__ or {}).get(EARLIER, {})
        for index in range(max(map(len, earlier.values()), default=0)):
            yield (
                checkpoint.step_number,
                {name: values[index] for name, values in earlier.items() if index < len(values)},
            )
        yield checkpoint.step_number, checkpoint.metrics.named_values()
