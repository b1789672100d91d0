"""Checkpoints built of rows, a window of them at a time.

The archive validated every value before it stored it. What a database guarantees of a column (its type, its
range, the names in it) is looked at once a column here, and then models are built as pydantic builds them,
without validating each value again: that takes four times as long. `tests/test_building.py` holds that nobody
can tell the two apart. Whatever is not as it should be goes through validation, which says so.
"""

from __future__ import annotations

import gc
import threading
from collections import deque
from contextlib import contextmanager
from functools import lru_cache
from itertools import groupby, repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter

from tuneledger import json_text
from tuneledger.mapping.shared import SharedDict, SharedSet
from tuneledger.mapping.values import VALUES, of_rows
from tuneledger.models import LAST_SECOND, CheckpointOut, MetricOut, Placeholder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = ["checkpoints_from", "checkpoints_of_series", "quiet_collector"]

Model = TypeVar("Model", bound=BaseModel)
Row = tuple[int, int, str | None]

_CHECKPOINTS = TypeAdapter(list[CheckpointOut], config=ConfigDict(defer_build=True))

_DECLARED: Final = tuple(MetricOut.model_fields)
_FIELDS: Final = tuple(CheckpointOut.model_fields)
_NOTHING: Final = SharedDict()
"""The unknown fields of a model that has none."""
_ABSENT: Final = object()
_METRIC_TYPES: Final = frozenset([float, Placeholder, type(None)])

# The slots of a model, as pydantic itself fills them; its own setters refuse a frozen model.
_set_fields, _set_names, _set_unknown, _set_private = (
    BaseModel.__dict__[slot].__set__
    for slot in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
)

_collector: Final = threading.Lock()


@contextmanager
def quiet_collector() -> Iterator[None]:
    """Keep the cyclic collector from looking, again and again, at many new objects that form no cycle.

    One thread at a time does so, for as long as one window or one list takes: others neither wait nor prolong
    it, and a program that has the collector off keeps it off.
    """
    if not gc.isenabled() or not _collector.acquire(blocking=False):
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        _collector.release()


def checkpoints_from(
    rows: Sequence[Row],
    metrics: Iterable[tuple[int, int, float | None, int | None]],
    names: Mapping[int, str],
    only: frozenset[str] | None = None,
    keys: Sequence[int] | None = None,
) -> list[CheckpointOut]:
    """Make checkpoints of rows (step, created_at, extra) and (name_id, step, value, kind).

    They come in the order of ``rows``. ``names`` gives the metric of a name_id, ``only`` the metrics
    wanted (None: all); ``metrics`` holds nothing else, but may hold values of steps that ``rows`` lacks:
    under READ COMMITTED another writer's step can show up between the two queries. With ``keys``, one a row,
    ``metrics`` refers to rows by these and not by steps, which several jobs may share.
    """
    return checkpoints_of_series(rows, groupby(metrics, key=itemgetter(0)), names, only, keys)


@of_rows
def checkpoints_of_series(
    rows: Sequence[Row],
    series: Iterable[tuple[int, Iterable[tuple[Any, ...]]]],
    names: Mapping[int, str],
    only: frozenset[str] | None = None,
    keys: Sequence[int] | None = None,
) -> list[CheckpointOut]:
    """Make what `checkpoints_from` makes, of metrics that come series by series, maybe in several pieces.

    ``series`` are name_ids, each with rows that end in step, value and kind.
    """
    if not rows:
        return []
    steps, times, extras = zip(*rows, strict=True)
    columns = _columns(steps if keys is None else tuple(keys), series, names)
    kinds = set().union(*(map(type, column) for column in columns.values()))
    if any(extras) or not _sound(steps, times, kinds - {object}, tuple(columns)):
        return _validated(rows, columns, only)
    if object not in kinds:  # nothing is `_ABSENT`
        return _alike(steps, times, columns)
    return _of_shapes(steps, times, columns)


def _columns(
    keys: tuple[int, ...],
    series: Iterable[tuple[int, Iterable[tuple[Any, ...]]]],
    names: Mapping[int, str],
) -> dict[str, Sequence[Any]]:
    """Give each metric as a column beside ``keys``, ``_ABSENT`` where there is none."""
    columns: dict[str, Sequence[Any]] = {}
    by_name: dict[int, list[tuple[Any, ...]]] = {}
    for name_id, piece in series:
        by_name.setdefault(name_id, []).extend(piece)
    for name_id, found in by_name.items():
        if not found:
            continue
        *_, at, given, kinds = zip(*found, strict=True)
        values: Sequence[Any] = given
        if kinds.count(None) < len(kinds):
            values = [
                value if kind is None else VALUES[kind] for value, kind in zip(given, kinds, strict=True)
            ]
        if at != keys:
            at_key = dict(zip(at, values, strict=True))
            values = [at_key.get(key, _ABSENT) for key in keys]
        columns[names[name_id]] = values
    return columns


def _sound(steps: Sequence[int], times: Sequence[int], kinds: set[type], names: tuple[str, ...]) -> bool:
    """Tell whether every value is one that validation lets through as it is; ``kinds`` are the metrics'."""
    return (
        {int}.issuperset(map(type, steps))
        and {int}.issuperset(map(type, times))
        and min(steps) >= 0
        and min(times) >= 0
        and max(times) <= LAST_SECOND
        and _METRIC_TYPES.issuperset(kinds)
        and _sound_names(names)
    )


@lru_cache(maxsize=256)
def _sound_names(names: tuple[str, ...]) -> bool:
    MetricOut.model_validate(dict.fromkeys(names, 1.0))
    return True


def _alike(
    steps: Sequence[int], times: Sequence[int], columns: Mapping[str, Sequence[Any]]
) -> list[CheckpointOut]:
    """Build checkpoints that all have the same metrics."""
    count = len(steps)
    declared = [columns.get(name, repeat(None, count)) for name in _DECLARED]
    train, valid, accuracy = _DECLARED
    fields = [
        {train: first, valid: second, accuracy: third} for first, second, third in zip(*declared, strict=True)
    ]
    unknown = [name for name in columns if name not in _DECLARED]
    extras: Iterable[dict[str, Any]]
    if unknown:
        values = zip(*(columns[name] for name in unknown), strict=True)
        extras = [dict(zip(unknown, row, strict=True)) for row in values]
    else:
        extras = repeat(_NOTHING)
    metrics = _built(MetricOut, count, fields, columns, extras)
    return _built(
        CheckpointOut,
        count,
        [
            {"metrics": of_step, "step_number": step, "created_at": time}
            for of_step, step, time in zip(metrics, steps, times, strict=True)
        ],
        _FIELDS,
        repeat(_NOTHING),
    )


def _built(
    model: type[Model],
    count: int,
    fields: Iterable[dict[str, Any]],
    names: Iterable[str],
    unknown: Iterable[dict[str, Any]],
) -> list[Model]:
    made = [*map(object.__new__, repeat(model, count))]
    _each(_set_fields, made, fields)
    _each(_set_names, made, repeat(SharedSet(names)))
    _each(_set_unknown, made, unknown)
    _each(_set_private, made, repeat(None))
    return made


def _each(function: Callable[..., object], *arguments: Iterable[Any]) -> None:
    deque(map(function, *arguments), maxlen=0)


def _of_shapes(
    steps: Sequence[int], times: Sequence[int], columns: Mapping[str, Sequence[Any]]
) -> list[CheckpointOut]:
    """Build checkpoints of which some have metrics that others lack: all of one shape at once."""
    shapes: dict[tuple[bool, ...], list[int]] = {}
    presences = zip(*([value is not _ABSENT for value in column] for column in columns.values()), strict=True)
    for index, presence in enumerate(presences):
        shapes.setdefault(presence, []).append(index)
    found: dict[int, CheckpointOut] = {}
    for presence, indexes in shapes.items():
        of_shape = {
            name: [column[index] for index in indexes]
            for (name, column), there in zip(columns.items(), presence, strict=True)
            if there
        }
        made = _alike([steps[index] for index in indexes], [times[index] for index in indexes], of_shape)
        found.update(zip(indexes, made, strict=True))
    return [found[index] for index in range(len(steps))]


def _validated(
    rows: Iterable[Row], columns: Mapping[str, Sequence[Any]], only: frozenset[str] | None
) -> list[CheckpointOut]:
    """Build checkpoints by validation, as they came in: some carry fields of their own, or are damaged."""
    items: list[dict[str, Any]] = []
    for index, (step, created_at, extra) in enumerate(rows):
        values: dict[str, Any] = {}
        item: dict[str, Any] = {"metrics": values, "step_number": step, "created_at": created_at}
        if extra is not None:
            kept: Any = json_text.load(extra)
            item |= kept.get("fields", {})
            aside = kept.get("metrics", {})
            values |= aside if only is None else {name: aside[name] for name in aside if name in only}
        values.update(
            {name: column[index] for name, column in columns.items() if column[index] is not _ABSENT}
        )
        items.append(item)
    return _CHECKPOINTS.validate_python(items)
