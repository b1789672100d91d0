"""The public suite over every database and door there is."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

import citus_cluster
from async_archives import blocking
from tuneledger import Archive
from tuneledger.testing import ArchiveConformance, Door

UNFINISHED = """
from tuneledger.testing import ArchiveConformance, SourceConformance

class TestMyArchive(ArchiveConformance):
    pass

class TestMySource(SourceConformance):
    pass
"""

_DATABASES = {"memory": None, "file": "sqlite_url", "postgresql": "postgres_url", "pgbouncer": "pooled_url"}
if citus_cluster.given():
    _DATABASES["citus"] = "citus_url"


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


@pytest.mark.usefixtures("seen_through_greenlets")
class TestAsynchronousDoor(ArchiveConformance):
    """`tuneledger.aio.AsyncArchive`, streams included."""

    @pytest.fixture
    def archive(self, location: str | URL) -> Iterator[Door]:
        """An empty archive."""
        with blocking(location) as archive:
            yield archive


def test_a_suite_without_its_fixture_says_what_to_do(tmp_path: Path) -> None:
    """Whoever forgets the one fixture is told which."""
    (tmp_path / "test_mine.py").write_text(UNFINISHED)
    pytest_run = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        "test_append or test_no_id_is_made_up",
    ]
    ended = subprocess.run(pytest_run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED
    assert "override the fixture `archive`" in ended.stdout
    assert "override the fixture `example`" in ended.stdout
