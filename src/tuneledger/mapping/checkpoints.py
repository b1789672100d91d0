"""Checkpoints taken apart into columns of rows, and the digest of each."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import reduce
from hashlib import blake2b
from itertools import islice, pairwise, repeat
from operator import attrgetter, lt, xor
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from tuneledger import json_text
from tuneledger.errors import InvalidPayload
from tuneledger.mapping.values import content_digest, metric_from, metric_values
from tuneledger.models import CheckpointOut, MetricOut, Placeholder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "CheckpointColumns",
    "CheckpointValues",
    "SeriesColumns",
    "StoredSeries",
    "checkpoint_columns",
    "stored_checkpoint_digest",
    "stored_digests",
]

T = TypeVar("T")

_DECLARED = tuple(MetricOut.model_fields)


class CheckpointValues(NamedTuple):
    """A row of ``checkpoints`` without its job."""

    step_number: int
    created_at: int
    extra: str | None
    digest: int


class StoredSeries(NamedTuple):
    """The rows of one metric as columns, in step order."""

    steps: tuple[int, ...]
    values: tuple[float | None, ...]
    kinds: tuple[int | None, ...]


@dataclass(slots=True)
class SeriesColumns:
    """The rows of one metric, in step order; ``kinds`` is None when every value is a plain number."""

    steps: list[int]
    values: list[float | None]
    kinds: list[int | None] | None = None


@dataclass(slots=True)
class CheckpointColumns:
    """Checkpoints as columns: those of ``checkpoints``, in step order, and their metrics series by series."""

    steps: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    extras: list[str | None] = field(default_factory=list)
    digests: list[int] = field(default_factory=list)
    series: dict[str, SeriesColumns] = field(default_factory=dict)

    @property
    def rows(self) -> list[CheckpointValues]:
        """The same as rows, for what goes through them one by one."""
        columns = zip(self.steps, self.times, self.extras, self.digests, strict=True)
        return [CheckpointValues(*row) for row in columns]

    @property
    def digest(self) -> int:
        """The XOR of the checkpoints' digests."""
        return reduce(xor, self.digests, 0)


@dataclass(slots=True)
class _Shape:
    """Checkpoints that carry the same metric names, taken apart into columns."""

    names: tuple[str, ...]
    steps: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    extras: list[str | None] = field(default_factory=list)
    values: Sequence[Sequence[float | None]] = ()
    """A column for each of ``names``."""


# Called once a checkpoint from C, where a loop in Python would take longer than the database.
_step_of = attrgetter("step_number")
_time_of = attrgetter("created_at")
_metrics_of = attrgetter("metrics")
_unknown_of = attrgetter("__pydantic_extra__")
_names_set_of = attrgetter("__pydantic_fields_set__")


def checkpoint_columns(
    checkpoints: Iterable[CheckpointOut], *, source: str = "checkpoints"
) -> CheckpointColumns:
    """Take checkpoints (any order, each step once) apart into rows.

    Column by column: a loop over values in Python costs more than the database does. Raises `InvalidPayload`
    naming ``source`` for a step that stands twice: `Job` lets none through, but its list can be changed, and
    `model_copy` looks at nothing.
    """
    given = list(checkpoints)
    alike = _alike(given)
    columns = CheckpointColumns()
    for shape in [alike] if alike else _shapes(given):
        _add_shape(shape, columns)
    if not all(map(lt, columns.steps, islice(columns.steps, 1, None))):
        order = sorted(range(len(columns.steps)), key=columns.steps.__getitem__)
        columns.steps = _in_order(columns.steps, order)
        columns.times = _in_order(columns.times, order)
        columns.extras = _in_order(columns.extras, order)
        columns.digests = _in_order(columns.digests, order)
        for series in columns.series.values():
            _sort_by_step(series)
        for earlier, later in pairwise(columns.steps):
            if earlier == later:
                raise InvalidPayload(source=source, position=f"step {later}", reason="stands twice")
    return columns


def _alike(checkpoints: list[CheckpointOut]) -> _Shape | None:
    """Take checkpoints apart that all have the declared metrics and nothing else; None where one differs."""
    metrics = list(map(_metrics_of, checkpoints))
    if any(map(_unknown_of, checkpoints)) or any(map(_unknown_of, metrics)):
        return None
    if set(map(len, map(_names_set_of, metrics))) != {len(_DECLARED)}:
        return None
    values = [list(map(attrgetter(name), metrics)) for name in _DECLARED]
    if any(int in set(map(type, column)) for column in values):
        return None
    return _Shape(
        _DECLARED,
        list(map(_step_of, checkpoints)),
        list(map(_time_of, checkpoints)),
        [None] * len(checkpoints),
        values,
    )


def _shapes(checkpoints: Iterable[CheckpointOut]) -> Iterable[_Shape]:
    """Group checkpoints by the metric names that each carries."""
    shapes: dict[tuple[str, ...], _Shape] = {}
    rows: dict[tuple[str, ...], list[tuple[float | None, ...]]] = {}
    for checkpoint in checkpoints:
        named: Mapping[str, Any] = checkpoint.metrics.named_values()
        extra = None
        if checkpoint.__pydantic_extra__ or not _DOUBLES.issuperset(map(type, named.values())):
            named, extra = _numbers_and_extra(checkpoint)
        names = tuple(named)
        shape = shapes.get(names)
        if shape is None:
            shape = shapes[names] = _Shape(names)
            rows[names] = []
        shape.steps.append(checkpoint.step_number)
        shape.times.append(checkpoint.created_at)
        shape.extras.append(extra)
        rows[names].append(tuple(named.values()))
    for names, shape in shapes.items():
        shape.values = list(zip(*rows[names], strict=True))
    return shapes.values()


_DOUBLES = frozenset([float, Placeholder, type(None)])


def _numbers_and_extra(checkpoint: CheckpointOut) -> tuple[dict[str, float | None], str | None]:
    """Part what a double can hold from what is kept as text."""
    numbers: dict[str, float | None] = {}
    aside: dict[str, Any] = {}
    for name, value in checkpoint.metrics.named_values().items():
        if value is None or isinstance(value, float):
            numbers[name] = value
        else:
            aside[name] = value
    kept: dict[str, Any] = {}
    if checkpoint.__pydantic_extra__:
        kept["fields"] = checkpoint.__pydantic_extra__
    if aside:
        kept["metrics"] = aside
    return numbers, json_text.canonical(kept) if kept else None


def _add_shape(shape: _Shape, columns: CheckpointColumns) -> None:
    order = sorted(range(len(shape.names)), key=shape.names.__getitem__)
    names = [shape.names[index] for index in order]
    plain: list[Sequence[float]] = []  # with NULL as 0.0, as the digest takes it
    kinds: list[list[int | None] | None] = []
    for name, index in zip(names, order, strict=True):
        values, column_kinds = _values_and_kinds(shape.values[index])
        plain.append(
            cast("list[float]", values) if column_kinds is None else [value or 0.0 for value in values]
        )
        kinds.append(column_kinds)
        _extend_series(columns.series, name, shape.steps, values, column_kinds)
    contents = _contents(names, kinds, shape.steps, shape.times, plain)
    columns.digests += _digests(_with_extras(contents, shape.extras))
    columns.steps += shape.steps
    columns.times += shape.times
    columns.extras += shape.extras


def _values_and_kinds(
    column: Sequence[float | None],
) -> tuple[list[float | None], list[int | None] | None]:
    """Give the values of one metric as rows hold them, and the kinds, or None where all are plain numbers."""
    # None is as false as 0.0. A sum is finite only if every part is; one that overflows costs no more than a
    # closer look.
    if all(column) and math.isfinite(sum(cast("Sequence[float]", column))):
        return list(column), None
    pairs = list(map(metric_values, column))
    kinds = [kind for _, kind in pairs]
    return [value for value, _ in pairs], kinds if any(kinds) else None


def _contents(
    names: Sequence[str],
    kinds: Sequence[list[int | None] | None],
    steps: Sequence[int],
    times: Sequence[int],
    values: Sequence[Sequence[float]],
) -> Iterable[bytes]:
    """Give what the digest of each checkpoint is taken of, but for its extra."""
    if not any(kinds):
        prefix = _prefix(names, (None,) * len(names))
        return map(Struct(f">{len(prefix)}sqq{len(names)}d").pack, repeat(prefix), steps, times, *values)
    packed = map(Struct(f">qq{len(names)}d").pack, steps, times, *values)
    row_kinds = zip(*(column or repeat(None, len(steps)) for column in kinds), strict=True)
    prefixes: dict[tuple[int | None, ...], bytes] = {}
    return [
        (prefixes.get(of_row) or prefixes.setdefault(of_row, _prefix(names, of_row))) + content
        for of_row, content in zip(row_kinds, packed, strict=True)
    ]


def _digests(contents: Iterable[bytes]) -> list[int]:
    """Give what `_digest` gives of each."""
    hashed = [blake2b(content, digest_size=8).digest() for content in contents]
    return [number >> 1 for number in Struct(f">{len(hashed)}Q").unpack(b"".join(hashed))]


def _with_extras(contents: Iterable[bytes], extras: Sequence[str | None]) -> Iterable[bytes]:
    if not any(extras):
        return contents
    return [
        content if extra is None else content + extra.encode()
        for content, extra in zip(contents, extras, strict=True)
    ]


def stored_digests(
    rows: Sequence[tuple[int, int, str | None]], series: Mapping[str, StoredSeries]
) -> list[int]:
    """Compute the digests of stored checkpoints from what is stored, without making models of it.

    ``rows`` are (step, created_at, extra) in step order, at least one. Values at other steps count for
    nothing.
    """
    steps, times, extras = zip(*rows, strict=True)
    names = sorted(series)
    if all(series[name].steps == steps for name in names):
        kinds = [list(series[name].kinds) if any(series[name].kinds) else None for name in names]
        plain = [
            [value or 0.0 for value in series[name].values]
            if marked
            else cast("Sequence[float]", series[name].values)
            for name, marked in zip(names, kinds, strict=True)
        ]
        return _digests(_with_extras(_contents(names, kinds, steps, times, plain), extras))
    at_step: dict[int, list[tuple[str, float | None, int | None]]] = {step: [] for step in steps}
    for name in names:
        for step, value, kind in zip(*series[name], strict=True):
            if step in at_step:
                at_step[step].append((name, value, kind))
    contents: list[bytes] = []
    for step, created_at, _ in rows:
        found = at_step[step]
        contents += _contents(
            [name for name, _, _ in found],
            [[kind] for _, _, kind in found],
            [step],
            [created_at],
            [[value or 0.0] for _, value, _ in found],
        )
    return _digests(_with_extras(contents, extras))


def stored_checkpoint_digest(
    step_number: int,
    created_at: int,
    extra: str | None,
    metrics: Iterable[tuple[str, float | None, int | None]],
) -> int:
    """Give the digest of a stored checkpoint from its rows as they are; ``metrics`` are (name, value, kind).

    Raises `ValueError`, `TypeError`, `LookupError` or `struct.error` for rows that no release ever wrote:
    those that `stored_digests` gets have passed the table's CHECK, which a damaged file need not have.
    """
    ordered = sorted(metrics)
    for _, value, kind in ordered:
        if (value, kind) != metric_values(metric_from(value, kind)) or type(value) not in (float, type(None)):
            raise ValueError(value, kind)
    prefix = _prefix((name for name, _, _ in ordered), (kind for _, _, kind in ordered))
    numbers = (value or 0.0 for _, value, _ in ordered)
    content = prefix + Struct(f">qq{len(ordered)}d").pack(step_number, created_at, *numbers)
    return content_digest(content if extra is None else content + extra.encode())


def _prefix(names: Iterable[str], kinds: Iterable[int | None]) -> bytes:
    """Name what a checkpoint's numbers are: name, NUL and kind (0 for a plain number) each, 0xFF last."""
    named = b"".join(
        name.encode() + b"\0" + bytes((kind or 0,)) for name, kind in zip(names, kinds, strict=True)
    )
    return b"checkpoint\0" + named + b"\xff"


def _extend_series(
    series: dict[str, SeriesColumns],
    name: str,
    steps: list[int],
    values: list[float | None],
    kinds: list[int | None] | None,
) -> None:
    columns = series.get(name)
    if columns is None:
        series[name] = SeriesColumns(list(steps), values, kinds)
        return
    if kinds or columns.kinds:
        columns.kinds = (columns.kinds or [None] * len(columns.steps)) + (kinds or [None] * len(steps))
    columns.steps += steps
    columns.values += values


def _sort_by_step(columns: SeriesColumns) -> None:
    order = sorted(range(len(columns.steps)), key=columns.steps.__getitem__)
    columns.steps = _in_order(columns.steps, order)
    columns.values = _in_order(columns.values, order)
    if columns.kinds:
        columns.kinds = _in_order(columns.kinds, order)


def _in_order(column: list[T], order: Iterable[int]) -> list[T]:
    return [column[index] for index in order]
