"""Between models and rows: the one place that knows both, and the digests that prove them equal.

A digest is 63 bits of BLAKE2b over one canonical form, the same on every engine and in every
release (``docs/schema.md`` gives it byte by byte). The digest of a job is the XOR of the digests
of its parts, so that an append changes it without reading the rest.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from functools import reduce, wraps
from hashlib import blake2b
from itertools import repeat
from operator import attrgetter, xor
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar, cast

from pydantic import TypeAdapter

from tuneledger import json_text
from tuneledger.errors import DatabaseDamaged
from tuneledger.models import (
    JOB_FIELDS,
    NOT_EVALUATED,
    CheckpointOut,
    Event,
    Job,
    MetricOut,
    Placeholder,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = [
    "CheckpointColumns",
    "CheckpointValues",
    "JobContent",
    "Kind",
    "SeriesColumns",
    "StoredSeries",
    "checkpoint_columns",
    "checkpoints_from",
    "event_from",
    "event_rows",
    "events_digest",
    "job_content",
    "job_digest",
    "job_from",
    "metric_from",
    "metric_values",
    "state_digest",
    "stored_digests",
]

P = ParamSpec("P")
T = TypeVar("T")


class Kind(enum.IntEnum):
    """What stands behind a row of ``metrics`` that is no plain number (``kind`` is NULL for one)."""

    NULL = 1
    NAN = 2
    POSITIVE_INFINITY = 3
    NEGATIVE_INFINITY = 4
    NEGATIVE_ZERO = 5
    """``value`` is 0.0 on both engines: SQLite would drop the sign."""
    NOT_EVALUATED = 6
    """A provider's 0.0 that means "no value", see `tuneledger.models.Placeholder`."""


_VALUES: dict[int | None, float | None] = {
    Kind.NULL: None,
    Kind.NAN: math.nan,
    Kind.POSITIVE_INFINITY: math.inf,
    Kind.NEGATIVE_INFINITY: -math.inf,
    Kind.NEGATIVE_ZERO: -0.0,
    Kind.NOT_EVALUATED: NOT_EVALUATED,
}


def metric_values(value: float | None) -> tuple[float | None, int | None]:
    """Give (value, kind) as the row holds them."""
    if value is None:
        return None, Kind.NULL
    if math.isfinite(value):
        if value != 0.0:
            return value, None
        if isinstance(value, Placeholder):
            return None, Kind.NOT_EVALUATED
        return (0.0, Kind.NEGATIVE_ZERO) if math.copysign(1.0, value) < 0 else (0.0, None)
    if math.isnan(value):
        return None, Kind.NAN
    return None, Kind.POSITIVE_INFINITY if value > 0 else Kind.NEGATIVE_INFINITY


def metric_from(value: float | None, kind: int | None) -> float | None:
    """Give back what `metric_values` took."""
    return value if kind is None else _VALUES[kind]


def _of_rows(read: Callable[P, T]) -> Callable[P, T]:
    """Tell damage as such, in a function that reads what somebody may have changed behind our back."""

    @wraps(read)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return read(*args, **kwargs)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            raise DatabaseDamaged(
                "a stored row holds what tuneledger never writes; `tuneledger verify` names the job and step"
            ) from None

    return checked


# -- digests ------------------------------------------------------------------------------------


def _digest(content: bytes) -> int:
    return int.from_bytes(blake2b(content, digest_size=8).digest()) >> 1


def job_digest(*digests: int) -> int:
    """XOR digests into one; of none it is 0."""
    return reduce(xor, digests, 0)


def state_digest(revision: int, status: str) -> int:
    """Give the digest of one row of ``job_states``."""
    return _digest(b"state\0%d\0%s" % (revision, status.encode()))


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


def checkpoint_columns(checkpoints: Iterable[CheckpointOut]) -> CheckpointColumns:
    """Take checkpoints (any order, each step once) apart into rows.

    Column by column: a loop over values in Python costs more than the database does.
    """
    given = list(checkpoints)
    alike = _alike(given)
    columns = CheckpointColumns()
    for shape in [alike] if alike else _shapes(given):
        _add_shape(shape, columns)
    if columns.steps != sorted(columns.steps):
        order = sorted(range(len(columns.steps)), key=columns.steps.__getitem__)
        columns.steps = _in_order(columns.steps, order)
        columns.times = _in_order(columns.times, order)
        columns.extras = _in_order(columns.extras, order)
        columns.digests = _in_order(columns.digests, order)
        for series in columns.series.values():
            _sort_by_step(series)
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
    # A sum is finite only if every part is; one that overflows costs no more than a closer look.
    if None not in column and all(column) and math.isfinite(sum(cast("Sequence[float]", column))):
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

    ``rows`` are (step, created_at, extra) in step order. Values at other steps count for nothing.
    """
    if not rows:
        return []
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


_CHECKPOINTS = TypeAdapter(list[CheckpointOut])


@_of_rows
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
            of_step[names[name_id]] = value if kind is None else _VALUES[kind]
    return _CHECKPOINTS.validate_python(items)


# -- jobs ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class JobContent:
    """What a job is beside its checkpoints, events and states: what a save compares and merges."""

    job_id: str
    fields: dict[str, Any]
    document: dict[str, Any]
    older_fields: dict[str, int] = field(default_factory=dict)
    """The fields that the newest payload lacked, each with the revision it is of."""

    def values(self) -> dict[str, Any]:
        """Give the columns of ``jobs``."""
        return {
            "job_id": self.job_id,
            **dict.fromkeys(JOB_FIELDS),
            **self.fields,
            "document": json_text.canonical(self.document),
            "older_fields": json_text.canonical(self.older_fields) if self.older_fields else None,
        }

    @property
    def digest(self) -> int:
        """The digest of these fields."""
        content = [self.job_id, self.fields, self.document, self.older_fields]
        return _digest(b"job\0" + json_text.canonical(content).encode())


@_of_rows
def job_content(source: Job | Mapping[str, Any]) -> JobContent:
    """Take the content out of a job, or out of a row of ``jobs`` as a mapping."""
    if isinstance(source, Job):
        return JobContent(source.job_id, source.fields(), source.document)
    document: Any = json_text.load(source["document"])
    older: Any = json_text.load(source["older_fields"]) if source["older_fields"] else {}
    fields = {name: source[name] for name in JOB_FIELDS if source[name] is not None}
    return JobContent(source["job_id"], fields, document, older)


@_of_rows
def job_from(
    row: Mapping[str, Any], events: Iterable[Event] = (), checkpoints: Iterable[CheckpointOut] = ()
) -> Job:
    """Make a job of its row and its parts."""
    content = job_content(row)
    return Job(
        job_id=content.job_id,
        **content.fields,
        document=content.document,
        events=list(events),
        checkpoints=list(checkpoints),
    )


class EventValues(NamedTuple):
    """A row of ``events`` without its job."""

    digest: int
    occurrence: int
    name: str
    created_at: int
    data: str | None


def event_rows(events: Iterable[Event]) -> list[EventValues]:
    """Give the rows of events, equal ones numbered from 0, in key order."""
    seen: dict[int, int] = {}
    rows = []
    for event in events:
        details = event.details()
        data = json_text.canonical(details) if details else None
        digest = _digest(
            b"event\0%s\0%d\0%s" % (event.name.encode(), event.created_at, (data or "").encode())
        )
        occurrence = seen.get(digest, 0)
        seen[digest] = occurrence + 1
        rows.append(EventValues(digest, occurrence, event.name, event.created_at, data))
    rows.sort()
    return rows


def events_digest(keys: Iterable[tuple[int, int]]) -> int:
    """XOR events given as (digest, occurrence): equal events do not cancel each other out."""
    return reduce(xor, [_digest(b"occurrence\0%d\0%d" % key) for key in keys], 0)


@_of_rows
def event_from(name: str, created_at: int, data: str | None) -> Event:
    """Make an event of its row."""
    details: Any = json_text.load(data) if data is not None else {}
    return Event(name=name, created_at=created_at, **details)
