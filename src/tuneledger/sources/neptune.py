"""Neptune's runs as its own exporter left them: a row a value, in Parquet files of one table each.

A row is of a run (``project_id``, ``run_id``) and says a value of an attribute in the column of its type.
Values of series have a step and a time: they become steps. All others become members of the document,
``attribute.PATH``. A run may lie in several files, which come together by its id, PROJECT/RUN. Steps are
decimal there; a run with one that is no whole number is refused. The exporter writes NaN as it writes
null, so a value of a series that is missing comes back as null.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tuneledger import json_text
from tuneledger.errors import InvalidPayload
from tuneledger.models import Job, validated
from tuneledger.sources.delimited import Table, header, table
from tuneledger.sources.document import Document, Hints
from tuneledger.sources.source import Source, exported_as_is
from tuneledger.sources.steps import checkpoints_of_rows
from tuneledger.sources.times import unix_milliseconds, unix_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SOURCE"]

_NAME: Final = "neptune"
_RUN: Final = ("project_id", "run_id")
_COLUMNS: Final = {*_RUN, "attribute_path", "attribute_type", "step", "timestamp", "float_value"}
_SERIES: Final = "_series"
_VALUES: Final = {
    "float": "float_value",
    "int": "int_value",
    "string": "string_value",
    "bool": "bool_value",
    "datetime": "datetime_value",
    "string_set": "string_set_value",
    "file": "file_value",
    "histogram": "histogram_value",
}
"""The column that an attribute's value is in, by its type; that of a series ends in ``_series``."""
_BOOLS: Final = {"true": True, "false": False}
_ATTRIBUTE: Final = "attribute."
_TIME: Final = "timestamp_ms."
_MILLISECONDS: Final = 1000


@dataclass(slots=True)
class _Run:
    """What a table says of one run."""

    attributes: dict[str, Any] = field(default_factory=dict)
    steps: list[int] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    stamps: dict[int, dict[str, int]] = field(default_factory=dict)
    """By step and attribute, the UNIX milliseconds of its value."""


def _recognises(document: Document) -> bool:
    return set(header(document)) >= _COLUMNS


def _read(document: Document, hints: Hints) -> Iterator[Job]:
    if not _recognises(document):
        raise InvalidPayload(
            source=document.name,
            position="line 1",
            reason=f"not Neptune's export: no columns {', '.join(sorted(_COLUMNS))}",
        )
    runs = _runs(table(document))
    if hints.job_id is not None and len(runs) > 1:
        raise InvalidPayload(source=document.name, reason="it holds several runs; --job-id names one")
    for names, run in runs.items():
        yield _job(hints.job_id or "/".join(names), names, run, document.name)


def _runs(cells: Table) -> dict[tuple[str, str], _Run]:
    runs: dict[tuple[str, str], _Run] = {}
    columns = cells.columns
    rows = zip(
        columns["project_id"],
        columns["run_id"],
        columns["attribute_path"],
        columns["attribute_type"],
        cells.steps("step"),
        columns["timestamp"],
        cells.numbers("float_value"),
        cells.lines,
        strict=True,
    )
    for index, (project, name, path, kind, step, time, number, line) in enumerate(rows):
        run = runs.setdefault((project, name), _Run())
        is_series = kind.endswith(_SERIES)
        value = number if kind.startswith("float") else _value(cells, kind.removesuffix(_SERIES), index)
        if not is_series:
            if value is not None:  # a run that lacks what others have has a row of it too
                run.attributes[path] = value
            continue
        if step is None:
            raise _refused(cells, line, "step", "is required, but absent")
        run.steps.append(step)
        run.rows.append({path: value})
        if time:
            run.stamps.setdefault(step, {})[path] = _milliseconds(cells, time, line)
    return runs


def _value(cells: Table, kind: str, index: int) -> Any:
    """Give a value that is no float; None where there is none."""
    line = cells.lines[index]
    column = _VALUES.get(kind)
    if column is None or column not in cells.columns:
        raise _refused(cells, line, "attribute_type", f"no type of Neptune's with a value here: {kind!r}")
    cell = cells.columns[column][index]
    if not cell:
        return None
    if kind in {"string", "datetime"}:
        return cell
    try:
        if kind == "int":
            return int(cell)
        if kind == "bool":
            return _BOOLS[cell.lower()]
        return json_text.parse(cell, source=cells.source)
    except (ValueError, KeyError):  # our own errors too: this names the place
        raise _refused(cells, line, column, f"must be of type {kind}") from None


def _milliseconds(cells: Table, time: str, line: int) -> int:
    try:
        return unix_milliseconds(time)
    except ValueError:
        raise _refused(cells, line, "timestamp", "must be an ISO 8601 time") from None


def _refused(cells: Table, line: int, column: str, reason: str) -> InvalidPayload:
    return InvalidPayload(source=cells.source, position=f"line {line}", field=column, reason=reason)


def _job(job_id: str, names: tuple[str, str], run: _Run, source: str) -> Job:
    checkpoints = checkpoints_of_rows(run.steps, run.rows)
    for checkpoint in checkpoints:
        # A name each: files of one run may tell of one step.
        for path, stamp in run.stamps.get(checkpoint["step_number"], {}).items():
            checkpoint[_TIME + path] = stamp
            checkpoint["created_at"] = max(checkpoint["created_at"], stamp // _MILLISECONDS)
    times = [stamp for at_step in run.stamps.values() for stamp in at_step.values()]
    created_at = run.attributes.get("sys/creation_time")
    try:
        known = unix_seconds(created_at)
    except ValueError:
        known = None
    given = {
        "job_id": job_id,
        "provider": _NAME,
        "created_at": min(times, default=0) // _MILLISECONDS if known is None else known,
        "revision": max(times, default=0),
        "document": {
            **dict(zip(_RUN, names, strict=True)),
            **{_ATTRIBUTE + path: value for path, value in run.attributes.items()},
        },
        "checkpoints": checkpoints,
    }
    return validated(Job, given, source=source, position=f"run {'/'.join(names)}")


SOURCE = Source(_NAME, "runs that Neptune's exporter saved", _recognises, _read, exported_as_is)
