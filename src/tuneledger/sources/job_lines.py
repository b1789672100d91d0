"""Our own JSON lines: a job a line, in the fields of `Job`. What ``export --format jsonl`` writes."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from typing import TYPE_CHECKING, Any, Final

from tuneledger import json_text
from tuneledger.errors import InvalidPayload
from tuneledger.sources.document import Document, Hints, refuse_many_values
from tuneledger.sources.source import OTHER_JOB, Source, exported_as_is, job_as_is

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tuneledger.models import Job
    from tuneledger.sources.streamed import Stream

__all__ = ["SOURCE", "job_line"]

_VERSION: Final = 1
_MARK: Final = b'{"tuneledger":'


def job_line(job: Job) -> str:
    """Give a job as one line of JSON, from which exactly it can be made again.

    NaN and infinities are bare words.
    """
    return json.dumps({"tuneledger": _VERSION, **exported_as_is(job)})


def _is_marked(beginning: bytes) -> bool:
    return beginning.removeprefix(BOM_UTF8).startswith(_MARK)


def _recognises(document: Document) -> bool:
    return _is_marked(document.data)


def _read(document: Document, hints: Hints) -> Iterator[Job]:
    return _jobs(document.data.splitlines(), document.name, hints)


def _stream(stream: Stream, hints: Hints) -> Iterator[Job] | None:
    if not _is_marked(next(stream.chunks(), b"")):
        return None
    return _jobs(_bounded_lines(stream), stream.name, hints)


def _bounded_lines(stream: Stream) -> Iterator[bytes]:
    for number, line in enumerate(stream.lines(), 1):
        refuse_many_values(Document(stream.name, line), stream.max_values, f"line {number}")
        yield line.rstrip()


def _jobs(lines: Iterable[bytes], source: str, hints: Hints) -> Iterator[Job]:
    for number, line in enumerate(lines, 1):
        if line:
            yield _job(line, f"line {number}", source, hints)


def _job(line: bytes, position: str, source: str, hints: Hints) -> Job:
    try:
        fields: Any = json_text.parse(line, source=source)
    except InvalidPayload as error:
        raise error.at(position) from None
    version = fields.pop("tuneledger", None) if isinstance(fields, dict) else None
    if version is True or version != _VERSION:  # to Python true is 1
        raise InvalidPayload(
            source=source,
            position=position,
            reason="is no job line of this release; `pip install --upgrade tuneledger` may read it",
        )
    if hints.job_id is not None and fields.get("job_id") != hints.job_id:
        raise InvalidPayload(source=source, position=position, field="job_id", reason=OTHER_JOB)
    return job_as_is(fields, source=source, position=position)


def _export(job: Job) -> object:
    return json.loads(job_line(job))


SOURCE = Source(
    "tuneledger-jsonl", "job lines of `tuneledger export`", _recognises, _read, _export, stream=_stream
)
