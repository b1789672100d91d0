"""The public suite over every source there is."""

from collections.abc import Iterator, Sequence

import pytest

from source_records import SERIES, example_of
from tuneledger import Archive
from tuneledger.sources import MAPPED, Document, known
from tuneledger.testing import SourceConformance, SourceExample
from tuneledger.testing.archiving import ArchivingConformance

NAMES = [source.name for source in (*known(), *MAPPED)]


def test_every_source_has_records() -> None:
    """A source is only held to its promises where there are records of it."""
    assert sorted(SERIES) == sorted(NAMES)
    assert all(SERIES.values())


class OfEverySource:
    """Each source with its records."""

    @pytest.fixture(params=NAMES)
    def example(self, request: pytest.FixtureRequest) -> SourceExample:
        """One of them."""
        return example_of(request.param)


class TestInMemory(OfEverySource, SourceConformance):
    """What is told, read and refused, and archived in memory."""

    @pytest.fixture
    def impostors(self, example: SourceExample) -> Sequence[Document]:
        """The records of all the others."""
        return [
            document
            for name, documents in SERIES.items()
            if name != example.source.name
            for document in documents
        ]


class TestInBothDatabases(OfEverySource, ArchivingConformance):
    """What is archived in SQLite files and PostgreSQL."""

    @pytest.fixture
    def archive(self, database_url: str) -> Iterator[Archive]:
        """An empty archive."""
        with Archive(database_url) as archive:
            yield archive
