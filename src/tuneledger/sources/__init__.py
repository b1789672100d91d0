"""From what a provider hands out to models: pure functions, a module a source. No SQL, no files.

A source is described by a `Source`; `KNOWN` lists them in the order they are asked. An input is
recognised by its content, never by its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuneledger.errors import InvalidArgument, UnknownFormat
from tuneledger.sources import mistral
from tuneledger.sources.source import Document, Hints, Source, exported_as_is

if TYPE_CHECKING:
    from tuneledger.models import Job

__all__ = ["KNOWN", "Document", "Hints", "Source", "exported", "named", "recognised"]

KNOWN: tuple[Source, ...] = (mistral.SOURCE,)


def named(name: str) -> Source:
    """Give the source of that name. Raises `InvalidArgument` naming those there are."""
    for source in KNOWN:
        if source.name == name:
            return source
    raise InvalidArgument(f"no format {name!r}; there are: {', '.join(source.name for source in KNOWN)}")


def recognised(document: Document) -> Source:
    """Give the source that a document is of, told by its content. Raises `UnknownFormat`."""
    for source in KNOWN:
        if source.recognises(document):
            return source
    raise UnknownFormat(
        source=document.name,
        reason="not a format that is known here (asked: "
        + ", ".join(source.title for source in KNOWN)
        + "); --format says which it is meant to be",
    )


def exported(job: Job) -> object:
    """Give a job as its provider would: JSON values, equal to what was archived."""
    for source in KNOWN:
        if source.name == job.provider:
            return source.export(job)
    return exported_as_is(job)
