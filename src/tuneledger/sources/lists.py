"""JSON lists of jobs, item by item: each is told, read and refused by itself.

So a list may hold jobs of several sources, as ``tuneledger export --all`` writes it, and a long list gets the
verdict of a short one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuneledger.errors import InvalidPayload
from tuneledger.sources.document import Document

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuneledger.models import Job
    from tuneledger.sources.document import Hints
    from tuneledger.sources.source import Source
    from tuneledger.sources.streamed import Item, Stream

__all__ = ["jobs_of_list"]


def jobs_of_list(
    given: Stream, hints: Hints, sources: Sequence[Source]
) -> Iterator[tuple[Source, Job]] | None:
    """Give the jobs of a list, each with its source; None for what is no list, or begins with no job.

    So does a list whose items are parts of a job, like a page of checkpoints: one source knows the whole.
    Raises `InvalidPayload` with the place of an item that is no job of any of ``sources``, or is refused,
    after the jobs before it.
    """
    first = next(given.items(), None)
    told = None if first is None else _told(first, sources)
    if first is None or told is None:
        return None
    if told[1] is not first.document and any(source.recognises(first.document) for source in sources):
        return None
    return _jobs(given, hints, sources)


def _jobs(given: Stream, hints: Hints, sources: Sequence[Source]) -> Iterator[tuple[Source, Job]]:
    for item in given.items():
        told = _told(item, sources)
        if told is None:
            raise InvalidPayload(
                source=given.name,
                position=item.place,
                reason="is no job of a format that is known here; those before it are",
            )
        source, document = told
        if document is item.document:
            for job in source.read(document, hints):
                yield source, job
            continue
        try:
            for job in source.read(document, hints):
                yield source, job
        except InvalidPayload as error:
            raise error.at(f"{item.place} {error.position}".rstrip()) from None


def _told(item: Item, sources: Sequence[Source]) -> tuple[Source, Document] | None:
    """Give the source that an item is of, and what it reads the item from."""
    for source in sources:
        if source.is_job is not None and source.is_job(item.value):
            return source, item.document
    # Without a path: a record that does not name its job would otherwise be taken for a run of the list's.
    alone = Document(item.document.name, item.text.encode(), parsed=item.value)
    return next(((source, alone) for source in sources if source.recognises(alone)), None)
