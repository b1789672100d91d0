"""What every source is made of."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from tuneledger import json_text
from tuneledger.errors import InvalidPayload, LimitExceeded
from tuneledger.models import NOT_EVALUATED, Job, Placeholder, validated

if TYPE_CHECKING:
    from tuneledger.models import CheckpointOut, Event
    from tuneledger.sources.streamed import Stream

__all__ = [
    "OTHER_JOB",
    "Document",
    "Hints",
    "Source",
    "checkpoint_object",
    "event_object",
    "exported_as_is",
    "job_as_is",
    "local_job_id",
    "refuse_many_values",
]

OTHER_JOB = "is not the job id that was asked for; without --job-id the input goes by its own"
"""Why an input that names its job is refused where another was asked for."""

_CHECKPOINT_FOLDER = re.compile(r"checkpoint-\d+")
_LONGEST_FIRST_LINE = 2**16


@dataclass(frozen=True)
class Document:
    """One input, read whole."""

    name: str
    """What messages call it: a path, ``<stdin>``, a member of an archive."""
    data: bytes = field(repr=False)
    path: str | None = None
    """Its absolute path, after which a run is named whose record does not name it; None without one."""
    first_item: int = 0
    """Which item of a longer list the first of its own list is; see `tuneledger.sources.streamed`."""

    parsed: Any = field(default=None, repr=False, compare=False)
    """The JSON value it holds, where that is known already."""

    @cached_property
    def sha256(self) -> str:
        """The hash of its bytes."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def text(self) -> str:
        """The text it holds, without a byte-order mark. Raises `InvalidPayload` where it is not UTF-8."""
        return json_text.decoded(self.data, source=self.name)

    @cached_property
    def json(self) -> Any:
        """The JSON value it holds. Raises `InvalidPayload` where it holds none."""
        return json_text.parse(self.data, source=self.name) if self.parsed is None else self.parsed

    @cached_property
    def json_or_none(self) -> Any:
        """The JSON value it holds, or None where it holds none."""
        try:
            return self.json
        except InvalidPayload:
            return None

    @cached_property
    def first_line(self) -> str:
        """Its first line, by which tables and JSON lines are told; empty where it is no text."""
        line = self.data[:_LONGEST_FIRST_LINE].partition(b"\n")[0]
        return line.decode("utf-8-sig", errors="ignore").strip()

    @cached_property
    def json_lines(self) -> list[Any]:
        """The JSON value of each line that is not blank.

        A last line that was cut while it was being written is left out: it has no end of line and is no
        JSON. Raises `InvalidPayload` with the line for any other.
        """
        values = []
        *lines, last = self.text.split("\n")
        for number, line in enumerate(lines, 1):
            if line and not line.isspace():
                values.append(self._line(number, line))
        if last and not last.isspace():
            try:
                values.append(self._line(len(lines) + 1, last))
            except InvalidPayload:
                if not values:
                    raise
        return values

    def _line(self, number: int, line: str) -> Any:
        try:
            return json_text.parse(line, source=self.name)
        except InvalidPayload as error:
            raise type(error)(
                source=self.name, position=f"line {number}", field=error.field, reason=error.reason
            ) from None


@dataclass(frozen=True, slots=True)
class Hints:
    """What the caller knows and the input may not say."""

    job_id: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    """What ``--map`` says of a table's columns; see `tuneledger.sources.mapped`."""


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
    joined: Callable[[Sequence[Document], Hints], Iterator[tuple[Job, list[Document]]]] | None = None
    """Where one run may lie in several files of a folder: gives the jobs of all of them, each with the
    documents it was read from. None where every file stands for itself."""
    stream: Callable[[Stream, Hints], Iterator[Job] | None] | None = None
    """Where an input may hold many jobs: gives them as they come, without reading the whole; None for an
    input that can only be read whole. See `tuneledger.sources.streamed`."""
    kept: Callable[[CheckpointOut], bool] = lambda _: True
    """Tells whether the provider had kept a checkpoint itself, or only its metrics are known."""
    also: tuple[str, ...] = ()
    """Further providers whose jobs it reads; ``--format`` takes their names too."""


def local_job_id(document: Document, hints: Hints, *, of_folder: Sequence[str] = ()) -> str:
    """Give the id of a run whose record names none: what the caller says, else its place.

    The place is the document's absolute path without any ``checkpoint-N`` folder, so that a later, longer
    file of the run finds the same job; for files named one of ``of_folder``, which lie beside each
    other and tell of one run, it is their folder. Raises `InvalidPayload` where there is neither.
    """
    if hints.job_id is not None:
        return hints.job_id
    if document.path is None:
        raise InvalidPayload(
            source=document.name, reason="it names no job and has no path; say which job with --job-id"
        )
    path = PurePath(document.path)
    parts = [part for part in path.parts[:-1] if not _CHECKPOINT_FOLDER.fullmatch(part)]
    if path.name not in of_folder:
        parts.append(path.name)
    return os.path.join(*parts)  # noqa: PTH118 - a text in, a text out


def refuse_many_values(document: Document, max_values: int, position: str = "") -> None:
    """Raise `LimitExceeded` where parsing could take more memory than the limits mean to allow.

    Every value but the first stands behind a comma, a bracket or a brace. Those inside of text are
    counted too: to leave them out would be to parse it.
    """
    if sum(map(document.data.count, (b",", b"[", b"{"))) > max_values:
        raise LimitExceeded(
            source=document.name,
            position=position,
            reason=f"more than {max_values} values; --max-values raises the limit",
        )


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
    """Give a job of no known source as the fields of `Job`, from which `job_as_is` makes it again.

    Where it has placeholders, ``not_evaluated`` lists the steps of each by metric.
    """
    exported = {"job_id": job.job_id, **job.fields()}
    exported["document"] = job.document
    exported["events"] = [event_object(event) for event in job.events]
    exported["checkpoints"] = [checkpoint_object(checkpoint) for checkpoint in job.checkpoints]
    placeholders: dict[str, list[int]] = {}
    for checkpoint in exported["checkpoints"]:
        for name, value in checkpoint["metrics"].items():
            if isinstance(value, Placeholder):
                placeholders.setdefault(name, []).append(checkpoint["step_number"])
    return exported | ({"not_evaluated": placeholders} if placeholders else {})


def job_as_is(fields: dict[str, Any], *, source: str, position: str) -> Job:
    """Make the job of which `exported_as_is` gave the fields; the placeholders are put into them."""
    given = dict(fields)
    placeholders = given.pop("not_evaluated", {})
    try:
        marked = {(step, name) for name, steps in placeholders.items() for step in steps}
        for checkpoint in given.get("checkpoints", ()) if marked else ():
            metrics = checkpoint["metrics"]
            for name in metrics:
                if (checkpoint["step_number"], name) in marked:
                    metrics[name] = NOT_EVALUATED
    except (AttributeError, KeyError, TypeError):
        raise InvalidPayload(
            source=source, position=position, field="not_evaluated", reason="is not as `export` writes it"
        ) from None
    return validated(Job, given, source=source, position=position)
