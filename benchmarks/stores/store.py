"""What is asked of every store, in its own best way of doing it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.workload import Point, Run


class Missing(Exception):
    """The store has no such thing; the text says what it has instead."""


class Store(ABC):
    """One store on a fresh database. What is slow but not the store's work stands in `prepared`, `plain`."""

    keeps_time = True
    """Whether a point comes back with its time."""
    best_reads_whole_jobs = True
    """Whether there is no other way to the best checkpoint."""

    def __init__(self, url: str) -> None:
        """Take the database at ``url``; a store makes its tables in its own way."""
        self.url = url

    @property
    def is_sqlite(self) -> bool:
        """Whether the store is a file."""
        return self.url.startswith("sqlite")

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return Path(urlsplit(self.url).path.removeprefix("/"))

    def prepared(self, run: Run) -> Any:
        """Give a job in the form that `save` takes; not timed."""
        return run

    @abstractmethod
    def save(self, prepared: Any) -> None:
        """Archive one job, durably; what is stored already stays as it is or becomes what is given."""

    def save_again(self, prepared: Any) -> None:
        """Archive a job that is stored."""
        self.save(prepared)

    @abstractmethod
    def append(self, job_id: str, point: Point) -> None:
        """Add one checkpoint to a stored job, durably."""

    @abstractmethod
    def between(self, job_id: str, first: int, last: int) -> Any:
        """Give the checkpoints of a range of steps, both inclusive."""

    @abstractmethod
    def whole(self, job_id: str) -> Any:
        """Give every checkpoint of a job."""

    def columns(self, job_id: str) -> Any:
        """Give every checkpoint of a job as arrays."""
        raise Missing(f"gives no arrays of {job_id}")

    def stream(self, job_ids: list[str]) -> Iterator[Any]:
        """Give every checkpoint of every job, one by one."""
        for job_id in job_ids:
            yield from self.whole(job_id)

    @abstractmethod
    def plain(self, answer: Any) -> list[Point]:
        """Turn what `between` and `whole` gave into points, in step order; not timed."""

    @abstractmethod
    def series(self, job_ids: list[str], points: int) -> Any:
        """Give train_loss of jobs, thinned out to about so many points each, for a dashboard."""

    def curves(self, answer: Any) -> list[list[tuple[int, float]]]:
        """Turn what `series` gave into (step, value) of each job; not timed."""
        raise Missing(f"thinned nothing out: {answer!r}")

    @abstractmethod
    def latest(self, job_ids: list[str]) -> Any:
        """Give the last checkpoint of each job."""

    @abstractmethod
    def best(self, job_ids: list[str]) -> Any:
        """Give the checkpoint of the lowest valid_loss of each job."""

    def validate(self, _run: Run) -> None:
        """Validate a payload without storing it."""
        raise Missing("validates nothing by itself")

    def by_key(self, _job_ids: list[str], _step: int) -> Any:
        """Read one row of each job by its primary key, one statement each."""
        raise Missing("measured for the raw drivers alone")

    def size_bytes(self) -> int:
        """Give the size of all that is stored, indexes included."""
        if self.is_sqlite:
            return _sqlite_bytes(self.path)
        return _postgresql_bytes(self.url)

    def close(self) -> None:  # noqa: B027 - some keep nothing open
        """Close connections."""


def _sqlite_bytes(path: Path) -> int:
    import sqlite3

    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path.stat().st_size


def libpq(url: str) -> str:
    """Give the URL as psycopg takes it."""
    return url.replace("postgresql+psycopg://", "postgresql://")


def _postgresql_bytes(url: str) -> int:
    import psycopg

    with psycopg.connect(libpq(url), autocommit=True) as connection:
        connection.execute("VACUUM")  # counts what a running server would soon give back
        found = connection.execute(
            "SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema') "
            "AND n.nspname NOT LIKE 'pg_toast%'"
        ).fetchone()
    return int(found[0]) if found else 0
