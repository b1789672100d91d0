"""Checkpoints built of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from tuneledger import json_text
from tuneledger.mapping.values import VALUES, of_rows
from tuneledger.models import CheckpointOut

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["checkpoints_from"]

_CHECKPOINTS = TypeAdapter(list[CheckpointOut])


@of_rows
def checkpoints_from(
    rows: Iterable[tuple[int, int, str | None]],
    metrics: Iterable[tuple[int, int, float | None, int | None]],
    names: Mapping[int, str],
    only: frozenset[str] | None = None,
) -> list[CheckpointOut]:
    """Make checkpoints of rows (step, created_at, extra) and (name_id, step, value, kind).

    They come in the order of ``rows``. ``names`` gives the metric of a name_id, ``only`` the metrics
    wanted (None: all); ``metrics`` holds nothing else, but may hold values of steps that ``rows`` lacks:
    under READ COMMITTED another writer's step can show up between the two queries.
    """
    by_step: dict[int, dict[str, Any]] = {}
    items: list[dict[str, Any]] = []
    for step, created_at, extra in rows:
        values: dict[str, Any] = {}
        by_step[step] = values
        item: dict[str, Any] = {"metrics": values, "step_number": step, "created_at": created_at}
        if extra is not None:
            kept: Any = json_text.load(extra)
            item |= kept.get("fields", {})
            aside = kept.get("metrics", {})
            values |= aside if only is None else {name: aside[name] for name in aside if name in only}
        items.append(item)
    for name_id, step, value, kind in metrics:
        of_step = by_step.get(step)
        if of_step is not None:
            of_step[names[name_id]] = value if kind is None else VALUES[kind]
    return _CHECKPOINTS.validate_python(items)
