"""Any table, by what the caller says of its columns: CSV, JSON lines, or JSON with a list of objects.

A map is text, ``step=COLUMN,created_at=COLUMN,metric.NAME=COLUMN,...``:

* ``step`` (required): the column of the step number.
* ``created_at``: the column of the time, UNIX seconds or ISO 8601 (without an offset: UTC).
* ``job_id``: the column that names the job, for tables of several.
* ``metric.NAME``: the column that is metric NAME. Columns nobody mentions keep their own names:
  numbers are metrics, anything else is kept beside them.
* ``metrics``: the column whose object holds the metrics by name.
* ``rows``: where in a JSON document the list of rows is.
* ``provider`` and ``model``: not columns, but what to store as the job's provider and model.

In JSON a column may be a path, ``metrics.train_loss``. Cells that are empty are absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuneledger.errors import InvalidArgument, InvalidPayload, shortened
from tuneledger.models import Job, validated
from tuneledger.sources.delimited import table
from tuneledger.sources.document import Document, Hints, items_of
from tuneledger.sources.source import Source, exported_as_is, local_job_id
from tuneledger.sources.steps import checkpoints_of_rows, whole_step
from tuneledger.sources.times import unix_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["CSV", "JSON_LINES", "columns_from"]

_METRIC = "metric."
_KEYS = ("step", "created_at", "job_id", "metrics", "rows", "provider", "model")
_COLUMNS = ("step", "created_at", "job_id", "metrics")
_ABSENT = object()


def columns_from(text: str) -> dict[str, str]:
    """Read what ``--map`` says. Raises `InvalidArgument`."""
    columns: dict[str, str] = {}
    taken: dict[str, str] = {}
    for part in text.split(","):
        key, equals, column = (piece.strip() for piece in part.partition("="))
        known = key in _KEYS or (key.startswith(_METRIC) and key != _METRIC)
        if not equals or not column or not known:
            raise InvalidArgument(
                f"--map does not understand {shortened(part)!r}; it is a list of KEY=COLUMN, KEY one of "
                f"{', '.join(_KEYS)} or metric.NAME"
            )
        if key in columns:
            raise InvalidArgument(f"--map says {shortened(key)!r} twice")
        if key in _COLUMNS or key.startswith(_METRIC):
            if column in taken:
                raise InvalidArgument(
                    f"--map says two things of the column {shortened(column)!r}: {taken[column]} and {key}"
                )
            taken[column] = key
        columns[key] = column
    if "step" not in columns:
        raise InvalidArgument("--map does not say which column is the step: step=COLUMN")
    return columns


@dataclass(slots=True)
class _Row:
    """A row by column, ``place`` where it stands."""

    place: str
    members: dict[str, Any]

    def take(self, column: str) -> Any:
        """Take a column, or a member inside of one, out of the row; `_ABSENT` where there is none."""
        if column in self.members:
            return self.members.pop(column)
        inside: Any = self.members
        *outer, last = column.split(".")
        way = []
        for name in outer:
            if not isinstance(inside, dict) or not isinstance(inside.get(name), dict):
                return _ABSENT
            inside[name] = dict(inside[name])  # the document's own objects stay whole
            way.append((inside, name))
            inside = inside[name]
        if last not in inside:
            return _ABSENT
        value = inside.pop(last)
        for holder, name in reversed(way):
            if not holder[name]:
                del holder[name]
        return value


def _csv_rows(document: Document, columns: Mapping[str, str]) -> Iterator[_Row]:
    cells = table(document)
    for column in _mapped_columns(columns):
        if column not in cells.columns:
            raise InvalidPayload(
                source=document.name,
                position="line 1",
                reason=f"there is no column {column!r}; there are: {', '.join(cells.columns)}",
            )
    # The step and the job's name are read as what they are, all others as numbers where they are.
    plain = {columns[key] for key in ("job_id", "step") if key in columns}
    steps = cells.steps(columns["step"])
    rows = cells.rows([name for name in cells.columns if name not in plain])
    for index, (row, step) in enumerate(zip(rows, steps, strict=True)):
        for name in plain:
            if cells.columns[name][index]:
                row[name] = cells.columns[name][index]
        row[columns["step"]] = step
        yield _Row(f"line {cells.lines[index]}", row)


def _mapped_columns(columns: Mapping[str, str]) -> list[str]:
    return [column for key, column in columns.items() if key in _COLUMNS or key.startswith(_METRIC)]


def _json_rows(document: Document, columns: Mapping[str, str]) -> Iterator[_Row]:
    value = document.json_or_none
    if "rows" in columns:
        name = columns["rows"]
        found = _Row("", dict(document.json)).take(name) if isinstance(document.json, dict) else _ABSENT
        if not isinstance(found, list):
            raise InvalidPayload(source=document.name, field=name, reason="is not there, or no list of rows")
        placed = [(f"{name}[{index}]", row) for index, row in enumerate(found)]
    elif isinstance(value, list):
        placed = items_of(value)
    else:
        placed = document.placed_json_lines
    for position, row in placed:
        if not isinstance(row, dict):
            raise InvalidPayload(source=document.name, position=position, reason="a row must be an object")
        yield _Row(position, dict(row))


def _jobs(document: Document, hints: Hints, rows: Iterator[_Row], provider: str) -> Iterator[Job]:
    columns = hints.columns
    renamed = {key.removeprefix(_METRIC): name for key, name in columns.items() if key.startswith(_METRIC)}
    runs: dict[str, tuple[list[int], list[dict[str, Any]], list[int]]] = {}
    for row in rows:
        step = whole_step(row.take(columns["step"]))
        if step is None:
            raise InvalidPayload(
                source=document.name,
                position=row.place,
                field=columns["step"],
                reason="the step must be a whole number",
            )
        time = _time(row, columns, document.name)
        steps, metrics, times = runs.setdefault(_job_id(row, document, hints), ([], [], []))
        steps.append(step)
        times.append(time)
        metrics.append(_metrics(row, columns, renamed, document.name))
    if hints.job_id is not None and len(runs) > 1:
        raise InvalidPayload(source=document.name, reason="it holds several jobs; --job-id names one")
    for name, (steps, metrics, times) in runs.items():
        given = {
            "job_id": name if hints.job_id is None else hints.job_id,
            "provider": columns.get("provider", provider),
            "model": columns.get("model"),
            "created_at": min(filter(None, times), default=0),
            "revision": max(steps),
            "checkpoints": checkpoints_of_rows(steps, metrics, times),
        }
        yield validated(Job, given, source=document.name)


def _metrics(
    row: _Row, columns: Mapping[str, str], renamed: Mapping[str, str], source: str
) -> dict[str, Any]:
    metrics: dict[str, Any] = {}
    if "metrics" in columns:
        inside = row.take(columns["metrics"])
        if not isinstance(inside, dict):
            raise InvalidPayload(
                source=source,
                position=row.place,
                field=columns["metrics"],
                reason="must be an object of metrics",
            )
        metrics |= inside
    for name, column in renamed.items():
        value = row.take(column)
        if value is not _ABSENT:
            _add(metrics, name, value, row, source)
    for name, value in row.members.items():
        _add(metrics, name, value, row, source)
    return metrics


def _add(metrics: dict[str, Any], name: str, value: Any, row: _Row, source: str) -> None:
    if name in metrics:
        raise InvalidPayload(
            source=source,
            position=row.place,
            field=name,
            reason="two columns would be this metric; say another name for one, metric.NAME=COLUMN",
        )
    metrics[name] = value


def _job_id(row: _Row, document: Document, hints: Hints) -> str:
    if "job_id" not in hints.columns:
        return local_job_id(document, hints)
    job_id = row.take(hints.columns["job_id"])
    if not isinstance(job_id, str):
        raise InvalidPayload(
            source=document.name, position=row.place, field=hints.columns["job_id"], reason="must be text"
        )
    return job_id


def _time(row: _Row, columns: Mapping[str, str], source: str) -> int:
    """Give the time of a row in UNIX seconds, 0 where it has none; a fraction of them stays in the row."""
    value: Any = row.take(columns["created_at"]) if "created_at" in columns else _ABSENT
    if value is _ABSENT:
        return 0
    try:
        seconds = unix_seconds(value) or 0
    except ValueError as error:
        raise InvalidPayload(
            source=source, position=row.place, field=columns["created_at"], reason=str(error)
        ) from None
    if isinstance(value, float) and value != seconds:
        row.members[columns["created_at"]] = value
    return seconds


def _without_map(document: Document, hints: Hints) -> None:
    if not hints.columns:
        raise InvalidPayload(
            source=document.name,
            reason="a table of no known source; --map step=COLUMN,... says what its columns are",
        )


def _read_csv(document: Document, hints: Hints) -> Iterator[Job]:
    _without_map(document, hints)
    yield from _jobs(document, hints, _csv_rows(document, hints.columns), CSV.name)


def _read_json(document: Document, hints: Hints) -> Iterator[Job]:
    _without_map(document, hints)
    yield from _jobs(document, hints, _json_rows(document, hints.columns), JSON_LINES.name)


CSV = Source(
    "csv", "any CSV, by --map", lambda document: not document.looks_like_json, _read_csv, exported_as_is
)
JSON_LINES = Source(
    "jsonl",
    "any JSON lines or list, by --map",
    lambda document: document.looks_like_json,
    _read_json,
    exported_as_is,
)
