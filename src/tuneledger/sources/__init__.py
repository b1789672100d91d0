"""From what a provider hands out to models: pure functions, a module a source. No SQL, no files.

A source is described by a `Source`; `known` lists them in the order they are asked. An input is
recognised by its content, never by its name. Another package adds a source by an entry point of the
group ``tuneledger.sources`` that names a `Source`; it is asked after ours.
"""

from __future__ import annotations

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
from tuneledger.sources.entry_points import added_to
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


def known() -> tuple[Source, ...]:
    """Give the sources that tell their documents by themselves: ours, then those that other packages add.

    One that cannot be loaded is left out, and a warning logged once says why.
    """
    return (*OURS, *_added()[0])


def _added() -> tuple[tuple[Source, ...], tuple[InvalidArgument, ...]]:
    """Give what other packages add; called as late as can be, so that nobody waits for what is not used."""
    return added_to((*OURS, *MAPPED))


def named(name: str) -> Source:
    """Give the source of that name.

    Raises `InvalidArgument` naming those there are, and which of other packages' cannot be loaded.
    """
    found = _of_name(name, (*OURS, *MAPPED)) or _of_name(name, _added()[0])
    if found is not None:
        return found
    listed = ", ".join(f"{source.name} ({source.title})" for source in (*known(), *MAPPED))
    broken = "".join(f"; {error}" for error in _added()[1])
    raise InvalidArgument(f"no format {shortened(name)!r}; there are: {listed}{broken}")


def recognised(
    document: Document, hints: Hints | None = None, *, among: Sequence[Source] | None = None
) -> Source:
    """Give the source that a document is of, told by its content. Raises `UnknownFormat`.

    With ``columns`` in the hints it is a table that the caller describes; ``among`` asks these alone.
    """
    if not among and hints is not None and hints.columns:
        among = MAPPED
    source = _taker(document, among or OURS)
    if source is None and not among:
        source = _taker(document, _added()[0])
    if source is not None:
        return source
    if document.looks_like_json and document.first_json_line is None:  # JSON lines are no broken JSON
        _refuse_flawed_json(document)
    raise UnknownFormat(
        source=document.name,
        reason="not a format that is known here; --format says which it is meant to be "
        f"({', '.join(source.name for source in among or known())}), --map what the columns of a table are",
    )


def _taker(document: Document, asked: Sequence[Source]) -> Source | None:
    return next((source for source in asked if source.recognises(document)), None)


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
    return _of_name(provider, OURS) or _of_name(provider, _added()[0])


def _of_name(name: str, sources: Sequence[Source]) -> Source | None:
    return next((source for source in sources if name in (source.name, *source.also)), None)
