"""What every source is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tuneledger import json_text
from tuneledger.errors import InvalidPayload

if TYPE_CHECKING:
    from tuneledger.models import CheckpointOut, Event, Job

__all__ = ["Document", "Hints", "Source", "checkpoint_object", "event_object", "exported_as_is"]


@dataclass(frozen=True)
class Document:
    """One input, read whole."""

    name: str
    """What messages call it: a path, ``<stdin>``, a member of an archive."""
    data: bytes = field(repr=False)

    @cached_property
    def json(self) -> Any:
        """The JSON value it holds. Raises `InvalidPayload` where it holds none."""
        return json_text.parse(self.data, source=self.name)

    @cached_property
    def json_or_none(self) -> Any:
        """The JSON value it holds, or None where it holds none."""
        try:
            return self.json
        except InvalidPayload:
            return None


@dataclass(frozen=True, slots=True)
class Hints:
    """What the caller knows and the input may not say."""

    job_id: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A source: how to tell its documents, read them, and write a job back in their shape."""

    name: str
    """What ``--format`` calls it, and the ``provider`` of its jobs."""
    title: str
    """What it is, in a few words, for people."""
    recognises: Callable[[Document], bool]
    """Tells by the content whether a document is of this source; never raises."""
    read: Callable[[Document, Hints], Iterator[Job]]
    """Gives the jobs of a document; raises `InvalidPayload` where it cannot."""
    export: Callable[[Job], object]
    """Gives a job as JSON values in the source's own shape, equal to what was read."""


def checkpoint_object(checkpoint: CheckpointOut) -> dict[str, Any]:
    """Give a checkpoint as it came: metrics, step_number, created_at and every other field."""
    return {
        "metrics": checkpoint.metrics.named_values(),
        "step_number": checkpoint.step_number,
        "created_at": checkpoint.created_at,
        **(checkpoint.__pydantic_extra__ or {}),
    }


def event_object(event: Event) -> dict[str, Any]:
    """Give an event as it came: name, created_at and every other field."""
    return {"name": event.name, "created_at": event.created_at, **event.details()}


def exported_as_is(job: Job) -> dict[str, Any]:
    """Give a job of no known source as the fields of `Job`, from which `Job` can be made again."""
    exported = {"job_id": job.job_id, **job.fields()}
    exported["document"] = job.document
    exported["events"] = [event_object(event) for event in job.events]
    exported["checkpoints"] = [checkpoint_object(checkpoint) for checkpoint in job.checkpoints]
    return exported
