"""What a source proves itself by, and what the tests do with it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING

import pytest

from tuneledger.errors import InvalidPayload
from tuneledger.models import Job
from tuneledger.sources import Document, Hints, known, named, recognised

if TYPE_CHECKING:
    from tuneledger.sources import Source

__all__ = [
    "OfSource",
    "SourceExample",
    "impostors_of",
    "jobs_or_refusal",
    "named_place",
    "shown",
    "takers",
    "told",
]


@dataclass(frozen=True, slots=True)
class SourceExample:
    """A source, and small records of one run of it."""

    source: Source
    documents: tuple[Document, ...]
    """The files of one run as they grew, the last word on each value in the one that reaches furthest."""
    hints: Hints = field(default_factory=Hints)
    """What a caller must say of them: a ``job_id`` where not all of them name their job."""
    impostors: tuple[Document, ...] = ()
    """Documents that resemble them and are none of this source, beside what every source must refuse."""

    def jobs(self, document: Document) -> list[Job]:
        """Give the jobs of a document."""
        return list(self.source.read(document, self.hints))


class OfSource:
    """What the groups of tests have in common."""

    @pytest.fixture
    def example(self) -> SourceExample:
        """Give the source that is to prove itself, with its records."""
        # There is no source to prove but the one that overrides this.
        raise NotImplementedError("override the fixture `example`")


def impostors_of(example: SourceExample) -> list[Document]:
    """Give documents of the other sources that are known, and the example's own."""
    job = Job.model_validate(
        {
            "job_id": "another",
            "provider": "another",
            "checkpoints": [{"metrics": {"loss": 0.5}, "step_number": 1, "created_at": 0}],
        }
    )
    bundled = resources.files("tuneledger.examples").joinpath("completion-job.json").read_bytes()
    others = [bundled, *(json.dumps(source.export(job)).encode() for source in known())]
    documents = [Document("another", data, "/another") for data in others]
    name = example.source.name
    return [*(one for one in documents if set(takers(one)) - {name}), *example.impostors]


def takers(document: Document) -> list[str]:
    """Name the sources that take a document for theirs by itself."""
    return [source.name for source in known() if source.recognises(document)]


def named_place(refused: InvalidPayload, document: Document) -> str:
    """Give the place or the field that a refusal names; nothing where it lacks the document or a reason."""
    whole = refused.source == document.name and refused.reason
    return refused.position or refused.field if whole else ""


def told(example: SourceExample, document: Document) -> bool:
    """Tell whether a document is taken for one of the example's source, which must be installed."""
    assert named(example.source.name) is example.source, "another source has this name"
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
