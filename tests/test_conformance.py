"""The public suite over every database and door there is."""

from collections.abc import Iterator

import pytest
from sqlalchemy.engine import URL

from async_archives import blocking
from tuneledger import Archive
from tuneledger.testing import ArchiveConformance, Door

_DATABASES = {"memory": None, "file": "sqlite_url", "postgresql": "postgres_url", "pgbouncer": "pooled_url"}


@pytest.fixture(params=_DATABASES)
def location(request: pytest.FixtureRequest) -> str | URL:
    """A database of every kind: in memory, a file, PostgreSQL, the same behind PgBouncer."""
    fixture = _DATABASES[request.param]
    return "sqlite://" if fixture is None else request.getfixturevalue(fixture)


class TestSynchronousDoor(ArchiveConformance):
    """`tuneledger.Archive`."""

    @pytest.fixture
    def archive(self, location: str | URL) -> Iterator[Door]:
        """An empty archive."""
        with Archive(location) as archive:
            yield archive


class TestAsynchronousDoor(ArchiveConformance):
    """`tuneledger.aio.AsyncArchive`, streams included."""

    @pytest.fixture
    def archive(self, location: str | URL) -> Iterator[Door]:
        """An empty archive."""
        with blocking(location) as archive:
            yield archive
