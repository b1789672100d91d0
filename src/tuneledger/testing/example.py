"""What a source proves itself by, and what the tests do with it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import pytest

from tuneledger.errors import InvalidPayload
from tuneledger.sources import Document, Hints, recognised

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuneledger.models import Job
    from tuneledger.sources import Source

__all__ = [
    "EXACT",
    "KEPT",
    "OfSource",
    "SourceExample",
    "exact_numbers",
    "jobs_or_refusal",
    "shown",
    "spoiled_numbers",
    "told",
    "with_unknown_fields",
]

EXACT: Final = "0.30000000000000004"
KEPT: Final = "kept as it came"

_NUMBER = re.compile(r"(?<![\w.:+-])-?\d+(\.\d+)?(?![\w.:+-])")
_END_OF_OBJECT = re.compile(r"(?<=[^{\s])(?=\s*\})")


@dataclass(frozen=True, slots=True)
class SourceExample:
    """A source, and small records of one run of it."""

    source: Source
    documents: tuple[Document, ...]
    """The files of one run as they grew, the last word on each value in the one that reaches furthest."""
    hints: Hints = field(default_factory=Hints)
    """What a caller must say of them: a ``job_id`` where not all of them name their job."""

    def jobs(self, document: Document) -> list[Job]:
        """Give the jobs of a document."""
        return list(self.source.read(document, self.hints))


class OfSource:
    """What the groups of tests have in common."""

    @pytest.fixture
    def example(self) -> SourceExample:
        """Give the source that is to prove itself, with its records."""
        raise NotImplementedError("override the fixture `example`")


def told(example: SourceExample, document: Document) -> bool:
    """Tell whether a document is taken for one of the example's source."""
    return example.source.recognises(document) and recognised(document, example.hints) is example.source


def jobs_or_refusal(
    example: SourceExample, document: Document, hints: Hints | None = None
) -> list[Job] | InvalidPayload:
    """Give the jobs of a document, or the error that says why it has none."""
    try:
        return list(example.source.read(document, example.hints if hints is None else hints))
    except InvalidPayload as refused:
        return refused


def shown(example: SourceExample, jobs: list[Job]) -> str:
    """Give jobs as the source exports them, in one text to look for something in."""
    return json.dumps([example.source.export(job) for job in jobs])


def exact_numbers(document: Document) -> Iterator[Document]:
    """Give it with each of its decimal fractions, in turn, a double that needs all of its digits."""
    for found in _numbers(document):
        if found[1]:
            yield _changed(document, found, EXACT)


def spoiled_numbers(document: Document) -> Iterator[Document]:
    """Give it with each of its numbers, in turn, a text in quotes."""
    for found in _numbers(document):
        yield _changed(document, found, '"spoiled"')


def with_unknown_fields(document: Document) -> Iterator[Document]:
    """Give it with one field more in each object of its JSON in turn; not around a page's list of jobs."""
    ends = list(_END_OF_OBJECT.finditer(_text(document)))
    if isinstance(document.json_or_none, dict) and isinstance(document.json.get("data"), list):
        del ends[-1]
    for found in ends:
        yield _changed(document, found, f', "a_new_field": "{KEPT}"')


def _numbers(document: Document) -> Iterator[re.Match[str]]:
    return _NUMBER.finditer(_text(document))


def _text(document: Document) -> str:
    """Give its text; none of one that is bytes, where nothing can be changed without its checksums."""
    try:
        return document.data.decode()
    except UnicodeDecodeError:
        return ""


def _changed(document: Document, found: re.Match[str], to: str) -> Document:
    text = _text(document)
    return replace(document, data=(text[: found.start()] + to + text[found.end() :]).encode())
