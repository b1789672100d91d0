"""From what a provider hands out to models: pure functions, a module a source. No SQL, no files.

A source is described by a `Source`; `known` lists them in the order they are asked. An input is
recognised by its content, never by its name. Another package adds a source by an entry point of the
group ``tuneledger.sources`` that names a `Source`; it is asked after ours.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from tuneledger import json_text
from tuneledger.errors import InvalidArgument, InvalidPayload, UnknownFormat, shortened
from tuneledger.sources import (
    huggingface,
    job_lines,
    lightning,
    mapped,
    mistral,
    neptune,
    openai,
    own,
    tensorboard,
    together,
    wandb,
)
from tuneledger.sources import value_rows as rows_of_values
from tuneledger.sources.delimited import Table, header, table
from tuneledger.sources.document import Document, Hints, items_of, refuse_many_values
from tuneledger.sources.job_lines import job_line
from tuneledger.sources.lists import jobs_of_list
from tuneledger.sources.mapped import columns_from
from tuneledger.sources.notes import Note, quality_notes
from tuneledger.sources.source import OTHER_JOB, Source, exported_as_is, local_job_id
from tuneledger.sources.steps import checkpoints_of_rows
from tuneledger.sources.streamed import Item, Stream
from tuneledger.sources.times import unix_seconds
from tuneledger.sources.value_rows import HEADER as VALUE_HEADER
from tuneledger.sources.value_rows import value_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tuneledger.models import CheckpointOut, Job

__all__ = [
    "MAPPED",
    "OTHER_JOB",
    "OURS",
    "VALUE_HEADER",
    "Document",
    "Hints",
    "Item",
    "Note",
    "Source",
    "Stream",
    "Table",
    "checkpoints_of_rows",
    "columns_from",
    "exported",
    "exported_as_is",
    "exported_in_list",
    "header",
    "items_of",
    "job_line",
    "jobs_of_list",
    "kept",
    "known",
    "local_job_id",
    "named",
    "notes",
    "recognised",
    "refuse_many_values",
    "table",
    "unix_seconds",
    "value_rows",
]

OURS: tuple[Source, ...] = (
    mistral.SOURCE,
    openai.SOURCE,
    together.SOURCE,
    huggingface.SOURCE,
    lightning.SOURCE,
    wandb.SOURCE,
    neptune.SOURCE,
    tensorboard.SOURCE,
    own.SOURCE,
    job_lines.SOURCE,
    rows_of_values.SOURCE,
)
"""Those that tell their documents by themselves; each document is of one of them at most."""

MAPPED: tuple[Source, ...] = (mapped.CSV, mapped.JSON_LINES)
"""Those that read what the caller describes, and are asked only then."""


@cache
def known() -> tuple[Source, ...]:
    """Give the sources that tell their documents by themselves: ours, then those that other packages add.

    Raises `InvalidArgument` for an entry point that is no `Source`, or has the name of another.
    """
    from importlib.metadata import entry_points

    found = list(OURS)
    for entry in sorted(entry_points(group="tuneledger.sources"), key=lambda entry: entry.name):
        source = entry.load()
        if not isinstance(source, Source):
            raise InvalidArgument(f"the entry point {entry.name!r} ({entry.value}) is no tuneledger Source")
        taken = {name for other in (*found, *MAPPED) for name in (other.name, *other.also)}
        if not taken.isdisjoint((source.name, *source.also)):
            raise InvalidArgument(
                f"the entry point {entry.name!r} ({entry.value}) takes the name of another source"
            )
        found.append(source)
    return tuple(found)


def named(name: str) -> Source:
    """Give the source of that name. Raises `InvalidArgument` naming those there are."""
    sources = (*known(), *MAPPED)
    for source in sources:
        if name == source.name or name in source.also:
            return source
    listed = ", ".join(f"{source.name} ({source.title})" for source in sources)
    raise InvalidArgument(f"no format {shortened(name)!r}; there are: {listed}")


def recognised(
    document: Document, hints: Hints | None = None, *, among: Sequence[Source] | None = None
) -> Source:
    """Give the source that a document is of, told by its content. Raises `UnknownFormat`.

    With ``columns`` in the hints it is a table that the caller describes; ``among`` asks these alone.
    """
    asked = among or (MAPPED if hints is not None and hints.columns else known())
    for source in asked:
        if source.recognises(document):
            return source
    if document.looks_like_json:
        try:
            json_text.parse(document.first_line, source=document.name)  # JSON lines are no broken JSON
        except InvalidPayload:
            _refuse_flawed_json(document)
    raise UnknownFormat(
        source=document.name,
        reason="not a format that is known here; --format says which it is meant to be "
        f"({', '.join(source.name for source in asked)}), --map what the columns of a table are",
    )


def _refuse_flawed_json(document: Document) -> None:
    """Raise `UnknownFormat` where what begins like JSON is none, saying where and why."""
    try:
        _ = document.json
    except InvalidPayload as error:
        raise UnknownFormat(
            source=document.name,
            position=error.position,
            reason=f"{error.reason}; so it is of no format that is known here, and may have been cut short",
        ) from None


def exported(job: Job) -> object:
    """Give a job as its provider would: JSON values, equal to what was archived."""
    source = _of_provider(job.provider)
    return exported_as_is(job) if source is None else source.export(job)


def exported_in_list(job: Job) -> object:
    """Give a job as one item of a list of many, from which the same job can be read again.

    That is as its provider would where such a record names its job, else as tuneledger does: nobody could
    tell of two trainer states in one list which runs they are of.
    """
    bare = job.model_copy(update={"checkpoints": [], "events": []})
    record = Document("", json_text.canonical(exported(bare)).encode())
    try:
        found = [(read.job_id, read.provider) for read in recognised(record).read(record, Hints())]
    except InvalidPayload:
        found = []
    return exported(job) if found == [(job.job_id, job.provider)] else exported_as_is(job)


def kept(provider: str, checkpoint: CheckpointOut) -> bool:
    """Tell whether a provider had kept a checkpoint itself, or only its metrics are known."""
    source = _of_provider(provider)
    return source is None or source.kept(checkpoint)


def notes(provider: str, checkpoints: Iterable[CheckpointOut]) -> list[Note]:
    """Give what is odd about a job's data, see `tuneledger.sources.notes`."""
    source = _of_provider(provider)
    return quality_notes(checkpoints) if source is None else quality_notes(checkpoints, kept=source.kept)


def _of_provider(provider: str) -> Source | None:
    return next((source for source in known() if provider in (source.name, *source.also)), None)
