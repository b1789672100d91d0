"""Jobs, their events and states: as rows, and of rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from operator import xor
from typing import TYPE_CHECKING, Any, NamedTuple

from tuneledger import json_text
from tuneledger.mapping.values import content_digest, of_rows
from tuneledger.models import JOB_FIELDS, CheckpointOut, Event, Job

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "EventValues",
    "JobContent",
    "event_from",
    "event_rows",
    "events_digest",
    "job_content",
    "job_from",
    "state_digest",
]


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
        return content_digest(b"job\0" + json_text.canonical(content).encode())


@of_rows
def job_content(source: Job | Mapping[str, Any]) -> JobContent:
    """Take the content out of a job, or out of a row of ``jobs`` as a mapping."""
    if isinstance(source, Job):
        return JobContent(source.job_id, source.fields(), source.document)
    document: Any = json_text.load(source["document"])
    older: Any = json_text.load(source["older_fields"]) if source["older_fields"] else {}
    fields = {name: source[name] for name in JOB_FIELDS if source[name] is not None}
    return JobContent(source["job_id"], fields, document, older)


@of_rows
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
        digest = content_digest(
            b"event\0%s\0%d\0%s" % (event.name.encode(), event.created_at, (data or "").encode())
        )
        occurrence = seen.get(digest, 0)
        seen[digest] = occurrence + 1
        rows.append(EventValues(digest, occurrence, event.name, event.created_at, data))
    rows.sort()
    return rows


def events_digest(keys: Iterable[tuple[int, int]]) -> int:
    """XOR events given as (digest, occurrence): equal events do not cancel each other out."""
    return reduce(xor, [content_digest(b"occurrence\0%d\0%d" % key) for key in keys], 0)


@of_rows
def event_from(name: str, created_at: int, data: str | None) -> Event:
    """Make an event of its row."""
    details: Any = json_text.load(data) if data is not None else {}
    return Event(name=name, created_at=created_at, **details)


def state_digest(revision: int, status: str) -> int:
    """Give the digest of one row of ``job_states``."""
    return content_digest(b"state\0%d\0%s" % (revision, status.encode()))
