"""Our own CSV: a metric value a row. What ``export --format csv`` writes.

It carries ids, providers, steps, times and every metric that is a number or null; documents, events and other
fields it does not.
"""

from __future__ import annotations

import csv
import io
import math
import sys
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from tuneledger import json_text
from tuneledger.errors import InvalidPayload, LimitExceeded
from tuneledger.models import NOT_EVALUATED, Job, Placeholder, validated
from tuneledger.sources.document import Document, Hints
from tuneledger.sources.source import OTHER_JOB, Source, exported_as_is
from tuneledger.spreadsheets import marked_as_text, unmarked

if TYPE_CHECKING:
    import _csv  # the name of the reader's type, until Python 3.12
    from collections.abc import Iterable, Iterator

    from tuneledger.models import CheckpointOut
    from tuneledger.sources.streamed import Stream

__all__ = ["HEADER", "SOURCE", "value_rows"]

HEADER: Final = ("job_id", "provider", "step_number", "created_at", "metric", "value")

_REASON: Final = f"is not a row of {','.join(HEADER)}"
_WORDS: Final = {"null": None, "not evaluated": NOT_EVALUATED}


def value_rows(job_id: str, provider: str, checkpoints: Iterable[CheckpointOut]) -> Iterator[tuple[str, ...]]:
    """Give the rows of a job; a checkpoint without a number has one, which names no metric.

    Text that a spreadsheet would run as a formula has an apostrophe before it.
    """
    for checkpoint in checkpoints:
        place = (
            marked_as_text(job_id),
            marked_as_text(provider),
            str(checkpoint.step_number),
            str(checkpoint.created_at),
        )
        metrics = checkpoint.metrics.named_values()
        numbers = {
            name: value for name, value in metrics.items() if value is None or isinstance(value, float)
        }
        for name, value in numbers.items():
            yield (*place, marked_as_text(name), _text(value))
        if not numbers:
            yield (*place, "", "")


def _text(value: float | None) -> str:
    if value is None:
        return "null"
    # Every digit: repr gives back the same double.
    return "not evaluated" if isinstance(value, Placeholder) else repr(value)


def _recognises(document: Document) -> bool:
    return document.first_line == ",".join(HEADER)


def _read(document: Document, hints: Hints) -> Iterator[Job]:
    if not _recognises(document):
        raise InvalidPayload(source=document.name, position="line 1", reason=_REASON)
    yield from _jobs(io.StringIO(document.text, newline=""), document.name, hints)


def _stream(stream: Stream, hints: Hints) -> Iterator[Job] | None:
    if not _recognises(stream.opening()):
        return None
    return _jobs(_decoded(stream), stream.name, hints, stream.max_values)


def _decoded(stream: Stream) -> Iterator[str]:
    for number, line in enumerate(stream.lines(), 1):
        try:
            yield json_text.decoded(line, source=stream.name)
        except InvalidPayload as error:
            raise error.at(f"line {number}") from None


def _jobs(lines: Iterable[str], source: str, hints: Hints, max_values: int = sys.maxsize) -> Iterator[Job]:
    rows = csv.reader(lines)
    next(rows)
    for (job_id, provider), of_job in groupby(_numbered(rows, source), lambda item: tuple(item[0][:2])):
        if hints.job_id is not None and hints.job_id != unmarked(job_id):
            raise InvalidPayload(source=source, field="job_id", reason=OTHER_JOB)
        fields = {
            "job_id": unmarked(job_id),
            "provider": unmarked(provider),
            "checkpoints": _checkpoints(_bounded(of_job, source, max_values), source),
        }
        yield validated(Job, fields, source=source)


def _numbered(rows: _csv.Reader, source: str) -> Iterator[tuple[list[str], str]]:
    try:
        for row in rows:
            position = f"line {rows.line_num}"
            if len(row) == len(HEADER):
                yield row, position
            elif row:  # a blank line is none
                raise InvalidPayload(source=source, position=position, reason=_REASON)
    except csv.Error as error:
        raise InvalidPayload(
            source=source, position=f"line {rows.line_num}", reason=f"not valid CSV: {error}"
        ) from None


def _bounded(
    rows: Iterable[tuple[list[str], str]], source: str, max_values: int
) -> Iterator[tuple[list[str], str]]:
    for count, row in enumerate(rows, 1):
        if count * len(HEADER) > max_values:
            raise LimitExceeded(
                source=source,
                position=row[1],
                reason=f"more than {max_values} values of one job; --max-values raises the limit",
            )
        yield row


def _checkpoints(rows: Iterable[tuple[list[str], str]], source: str) -> list[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for (_, _, step, created_at, metric, value), position in rows:
        try:
            number, time, read = int(step), int(created_at), _value(value) if metric else None
        except ValueError:
            raise InvalidPayload(source=source, position=position, reason=_REASON) from None
        checkpoint = found.setdefault(number, {"metrics": {}, "step_number": number, "created_at": time})
        name = unmarked(metric)
        if checkpoint["created_at"] != time or name in checkpoint["metrics"]:
            raise InvalidPayload(
                source=source,
                position=position,
                field=name,
                reason=f"the rows of step {number} give it two times, or a metric twice",
            )
        if metric:
            checkpoint["metrics"][name] = read
    return list(found.values())


def _value(text: str) -> float | None:
    if text in _WORDS:
        return _WORDS[text]
    number = float(text)
    if math.isinf(number) and any(map(str.isdigit, text)):
        raise ValueError(text)  # beyond what a double holds
    return number


SOURCE = Source(
    "tuneledger-csv",
    "value rows of `tuneledger export`",
    _recognises,
    _read,
    exported_as_is,
    stream=_stream,
)
