"""Following what grows: files that a trainer still writes, jobs that a service still runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneledger.errors import UnknownFormat
from tuneledger.models import is_final
from tuneledger.sync.files import archive_paths
from tuneledger.sync.inputs import STDIN, found_files
from tuneledger.sync.live import Provider, stored_status, sync_jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tuneledger.archive import Archive
    from tuneledger.sync.outcome import Outcome
    from tuneledger.sync.service import Service

__all__ = ["watch_jobs", "watch_paths"]


def watch_paths(
    archive: Archive,
    paths: Sequence[str],
    *,
    every_seconds: float,
    pause: Callable[[float], None] = time.sleep,
    **options: Any,
) -> Iterator[Outcome]:
    """Archive paths as `archive_paths` does, and again whatever changed, until the caller stops.

    After the first round an outcome comes only where something was written, or where a file is refused for
    the same reason in two rounds: in the first of them it may just have been half written.
    """
    seen: dict[str, tuple[int, int]] = {}
    refused: dict[str, str] = {}
    told: dict[str, str] = {}
    first_round = True
    while True:
        by_name = dict(found_files(paths))
        now = {name: _signature(name) for name in by_name}
        folders = {Path(name).parent for name in by_name if now[name] != seen.get(name)}
        # With its whole folder: what a changed file says may belong to a job that another one names.
        names = [name for name in by_name if Path(name).parent in folders]
        seen = {name: found for name, found in now.items() if found is not None}
        for outcome in archive_paths(archive, paths if first_round else names, **options):
            name = outcome.name
            outcome.skipped |= isinstance(outcome.error, UnknownFormat) and not by_name.get(name, False)
            reason = str(outcome.error)
            again = first_round or refused.get(name) == reason
            news = outcome.error is not None and not outcome.skipped and again and told.get(name) != reason
            if outcome.error is not None:
                refused[name] = reason
                seen.pop(name, None)
            if news:
                told[name] = reason
            if first_round or news or any(report.wrote for report in outcome.reports):
                yield outcome
        first_round = False
        pause(every_seconds)


def _signature(name: str) -> tuple[int, int] | None:
    """Give what changes when a file is written; None for what cannot be looked at."""
    if name == STDIN:
        return None
    try:
        found = Path(name).stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def watch_jobs(
    archive: Archive,
    provider: Provider,
    service: Service,
    *,
    every_seconds: float,
    pause: Callable[[float], None] = time.sleep,
    since: int = 0,
    job_ids: Sequence[str] = (),
) -> Iterator[Outcome]:
    """Archive the jobs of a service as `sync_jobs` does, again and again.

    Ends when all of ``job_ids`` are final; without them new jobs are waited for until the caller stops.
    After the first round an outcome comes only where something was written or refused.
    """
    first_round = True
    while True:
        for outcome in sync_jobs(archive, provider, service, since=since, job_ids=job_ids):
            if first_round or outcome.error is not None or any(r.wrote for r in outcome.reports):
                yield outcome
        first_round = False
        if job_ids and _all_final(archive, job_ids):
            return
        pause(every_seconds)


def _all_final(archive: Archive, job_ids: Sequence[str]) -> bool:
    return all(is_final(stored_status(archive, job_id)) for job_id in job_ids)
