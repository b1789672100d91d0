"""Copies, exports and prunes an archive of a million checkpoints, and says how long and in how much memory.

``python -m benchmarks.growth FOLDER postgresql://...`` with an empty database; docs/scale.md has the figures.
Every step is a command of its own, so that its memory is its own.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from pathlib import Path

from tuneledger import Archive, CheckpointOut, Job, MetricOut
from tuneledger.tables import Base

_MEBIBYTE = 2**20


def made_job(number: int, checkpoints: int) -> Job:
    """Make a job of random values; nine in ten are of the provider ``old``."""
    draw = random.Random(number)  # noqa: S311 - no secret
    return Job(
        job_id=f"job-{number:06}",
        provider="old" if number % 10 else "new",
        created_at=1_700_000_000 + number,
        checkpoints=[
            CheckpointOut(
                metrics=MetricOut(
                    train_loss=draw.random(),
                    valid_loss=draw.random(),
                    valid_mean_token_accuracy=draw.random(),
                ),
                step_number=step * 10,
                created_at=1_700_000_000 + step,
            )
            for step in range(checkpoints)
        ],
    )


def command(*arguments: str) -> None:
    """Run a command of tuneledger, and print its time and its greatest memory."""
    start = time.perf_counter()
    child = os.posix_spawn(
        sys.executable, [sys.executable, "-m", "tuneledger", "-q", *arguments], dict(os.environ)
    )
    _, status, usage = os.wait4(child, 0)
    shown = " ".join("URL" if "://" in word else word for word in arguments)
    seconds = time.perf_counter() - start
    print(f"{shown}: {seconds:.1f} s, {usage.ru_maxrss // 1024} MB, exit {os.waitstatus_to_exitcode(status)}")


def archive_from_memory(place: str, jobs: int, checkpoints: int) -> None:
    """Save made jobs one by one; making them is not counted."""
    seconds = 0.0
    with Archive(place) as archive:
        for number in range(jobs):
            job = made_job(number, checkpoints)
            start = time.perf_counter()
            archive.save(job)
            seconds += time.perf_counter() - start
    shown = "PostgreSQL" if "://" in place else "SQLite"
    print(f"archived from memory, {shown}: {jobs * checkpoints / seconds:,.0f} checkpoints/s")


def digests_of(place: str) -> dict[str, int]:
    """Give the digest of every job."""
    with Archive(place, read_only=True) as archive, archive.read() as repository:
        return repository.digests(repository.job_ids())


def print_size(place: str, when: str) -> None:
    """Print how much disk an archive takes, indexes included."""
    if "://" not in place:
        print(f"{place} {when}: {Path(place).stat().st_size / _MEBIBYTE:.1f} MiB")
        return
    with Archive(place, read_only=True) as archive, archive.engine.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT sum(pg_total_relation_size(oid)) FROM pg_class "
            "WHERE relkind = 'r' AND relnamespace = 'tuneledger'::regnamespace"
        ).scalar_one()
    print(f"PostgreSQL {when}: {int(found) / _MEBIBYTE:.1f} MiB")


def vacuum(place: str, how: str) -> None:
    """Give pruned space back."""
    with Archive(place) as archive, archive.engine.connect() as connection:
        if "://" in place:
            driver = connection.execution_options(isolation_level="AUTOCOMMIT")
            for table in Base.metadata.tables:
                driver.exec_driver_sql(f"{how} tuneledger.{table}")
        else:
            connection.connection.dbapi_connection.execute(how)  # type: ignore[union-attr] # it is connected


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("postgresql")
    parser.add_argument("--jobs", type=int, default=1_000)
    parser.add_argument("--checkpoints", type=int, default=1_000, help="a job")
    given = parser.parse_args()
    given.folder.mkdir()
    one, back, again = (str(given.folder / name) for name in ("one.db", "back.db", "again.db"))
    folder, url = str(given.folder / "parquet"), given.postgresql
    archive_from_memory(one, given.jobs, given.checkpoints)
    command("db", "upgrade", "--db", url)
    archive_from_memory(url, given.jobs, given.checkpoints)
    command("db", "drop", "--yes", "--db", url)
    command("db", "upgrade", "--db", url)
    command("copy", one, url, "--no-prove")
    command("copy", one, url)
    command("copy", url, back, "--no-prove")
    command("export", "--all", "--format", "parquet", "--output", folder, "--db", url)
    size = sum(file.stat().st_size for file in Path(folder).iterdir()) / _MEBIBYTE
    print(f"Parquet: {size:.1f} MiB")
    command("archive", folder, "--db", again)
    print(f"digests equal: {digests_of(one) == digests_of(url) == digests_of(back) == digests_of(again)}")
    for place in (url, back):
        print_size(place, "before")
        command("prune", "--provider", "old", "--yes", "--db", place)
        command("verify", "--db", place)
        print_size(place, "after prune")
        for how in ("VACUUM", "VACUUM FULL") if place == url else ("VACUUM",):
            vacuum(place, how)
            print_size(place, f"after {how}")
    command("prune", "--older-than", "1d", "--keep-last", "100", "--yes", "--db", again)
    command("verify", "--db", again)


if __name__ == "__main__":
    main()
