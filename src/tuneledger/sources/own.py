"""Jobs as tuneledger itself writes them where their source has no shape of its own: the fields of `Job`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuneledger.errors import InvalidPayload
from tuneledger.sources.document import Document, Hints, items_of
from tuneledger.sources.source import OTHER_JOB, Source, exported_as_is, job_as_is

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuneledger.models import Job

__all__ = ["SOURCE"]

_FIELDS = {"job_id", "provider", "document", "events", "checkpoints"}


def _is_job(value: object) -> bool:
    # What names a version is a job line, see `job_lines`.
    return isinstance(value, dict) and value.keys() >= _FIELDS and "tuneledger" not in value


def _recognises(document: Document) -> bool:
    items = items_of(document.json_or_none)
    return bool(items) and all(_is_job(item) for _, item in items)


def _read(document: Document, hints: Hints) -> Iterator[Job]:
    for position, item in items_of(document.json, document.first_item):
        if not _is_job(item):
            raise InvalidPayload(
                source=document.name,
                position=position,
                reason=f"not a job as tuneledger writes it: it needs {', '.join(sorted(_FIELDS))}",
            )
        if hints.job_id is not None and item["job_id"] != hints.job_id:
            raise InvalidPayload(
                source=document.name,
                position=position,
                field="job_id",
                reason=OTHER_JOB,
            )
        yield job_as_is(item, source=document.name, position=position)


SOURCE = Source(
    "tuneledger",
    "jobs as tuneledger exports them",
    _recognises,
    _read,
    exported_as_is,
    is_job=_is_job,
)
