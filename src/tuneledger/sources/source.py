"""What every source is made of."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from tuneledger.errors import InvalidPayload
from tuneledger.models import NOT_EVALUATED, Job, Placeholder, validated

if TYPE_CHECKING:
    from tuneledger.models import CheckpointOut, Event
    from tuneledger.sources.document import Document, Hints
    from tuneledger.sources.streamed import Stream

__all__ = [
    "OTHER_JOB",
    "Source",
    "checkpoint_object",
    "event_object",
    "exported_as_is",
    "job_as_is",
    "local_job_id",
]

OTHER_JOB = "is not the job id that was asked for; without --job-id the input goes by its own"
"""Why an input that names its job is refused where another was asked for."""

_CHECKPOINT_FOLDER = re.compile(r"checkpoint-\d+")


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
    """Gives the jobs of a document; raises `InvalidPayload` where it cannot, also for what is not recognised:
    ``--format`` gives it whatever people say."""
    export: Callable[[Job], object]
    """Gives a job as one JSON value in the source's own shape, from which the same job is read. For a shape
    that is no JSON value (CSV, JSON lines) that is `exported_as_is`."""
    joined: Callable[[Sequence[Document], Hints], Iterator[tuple[Job, list[Document]]]] | None = None
    """Where one run may lie in several files of a folder: gives the jobs of all of them, each with the
    documents it was read from. Called with all documents of this source in one folder, in place of ``read``;
    where it raises `InvalidPayload`, once more without the document that this names. None where every file
    stands for itself."""
    is_job: Callable[[object], bool] | None = None
    """Where a JSON list may hold many jobs: tells whether an item of it is a job by itself. Such a list, bare
    or as the member ``data`` of an object, is read item by item, and may hold other sources' jobs too; then
    ``read`` takes a list of one."""
    stream: Callable[[Stream, Hints], Iterator[Job] | None] | None = None
    """Where an input of another shape may hold many jobs: gives them as they come, without reading the whole;
    gives None for an input that can only be read whole. Asked for files of more than 4 MiB."""
    kept: Callable[[CheckpointOut], bool] = lambda _: True
    """Tells whether the provider had kept a checkpoint itself, or only its metrics are known: ``best`` and
    ``show`` say where the best step has none."""
    also: tuple[str, ...] = ()
    """Further providers whose jobs it reads, as OpenAI's reads ``azure``: a job's ``provider`` is the
    source's name or one of these. ``--format`` takes these names too."""
    files_of_a_run: tuple[str, ...] = ()
    """Names of files that name no run, and of which every run has its own: two in two folders are of two."""

    def run_folder(self, document: Document) -> str | None:
        """Give the folder of the run that a document is of, where its file's name tells that; else None."""
        if document.path is None or PurePath(document.path).name not in self.files_of_a_run:
            return None
        return _run_folder(PurePath(document.path))


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
    folder = _run_folder(path)
    return folder if path.name in of_folder else os.path.join(folder, path.name)  # noqa: PTH118 - text in and out


def _run_folder(path: PurePath) -> str:
    parts = [part for part in path.parts[:-1] if not _CHECKPOINT_FOLDER.fullmatch(part)]
    return os.path.join("", *parts)  # noqa: PTH118 - the same


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
