"""Following what grows: files that a trainer still writes, jobs that a service still runs."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneledger.engine import locate
from tuneledger.errors import DatabaseError, InvalidArgument, SourceRefused, UnknownFormat
from tuneledger.models import is_final
from tuneledger.parquet import is_parquet
from tuneledger.sync.files import Way, archived
from tuneledger.sync.inputs import STDIN, expanded, found_files, is_url
from tuneledger.sync.live import Provider, stored_status, sync_jobs
from tuneledger.sync.mlruns import run_folders
from tuneledger.sync.service import may_answer_later

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tuneledger.archive import Archive
    from tuneledger.errors import TuneledgerError
    from tuneledger.sync.outcome import Outcome
    from tuneledger.sync.service import Service

__all__ = ["watch_jobs", "watch_paths"]

_log = logging.getLogger("tuneledger")


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
    the same reason in two rounds: in the first of them it may just have been half written. A database that
    cannot be reached for a while, the archive's too, is waited for, unless it is the archive's in the first.
    """
    way = Way.of(archive, **options)
    urls = {str(locate(path)) for path in filter(is_url, paths)}
    seen: dict[str, _Signature] = {}
    refused: dict[str, str] = {}
    told: dict[str, str] = {}
    waiting = _Waiting()
    first_round = True
    while True:
        there = list(_there(paths, first_round=first_round))
        by_name = dict(found_files(there))
        now = {name: _signature(name) for name in by_name}
        changed = [name for name in by_name if now[name] != seen.get(name)]
        given = there if first_round else _to_archive(there, by_name, changed)
        seen = {name: found for name, found in now.items() if found is not None}
        try:
            for outcome in archived(way, given):
                name = outcome.name
                was_named = name in urls or by_name.get(name, False)
                outcome.skipped |= isinstance(outcome.error, UnknownFormat) and not was_named
                reason = str(outcome.error)
                again = first_round or refused.get(name) == reason
                news = (
                    outcome.error is not None and not outcome.skipped and again and told.get(name) != reason
                )
                if outcome.error is None:
                    refused.pop(name, None)
                    told.pop(name, None)
                else:
                    refused[name] = reason
                    seen.pop(name, None)
                if news:
                    told[name] = reason
                if first_round or news or any(report.wrote for report in outcome.reports):
                    yield outcome
            waiting.end()
        except DatabaseError as error:
            waiting.begin(error, first_round=first_round)
            seen = {}  # nobody knows which of them the archive has
        first_round = False
        pause(every_seconds)


_Signature = tuple[tuple[int, int], ...]


def _there(paths: Iterable[str], *, first_round: bool) -> Iterator[str]:
    for path in paths:
        try:
            yield from expanded([path])
        except InvalidArgument:  # a pattern may match nothing for a while, but not from the beginning
            if first_round:
                raise


def _to_archive(paths: Sequence[str], names: Iterable[str], changed: Sequence[str]) -> list[str]:
    """Give what to archive again: each changed file with its folder, or the whole that it is a part of.

    With its folder, for what it says may belong to a job that another file names. A database behind a URL
    does not show whether it has changed.
    """
    wholes = {*run_folders(names), *(Path(path) for path in paths if is_parquet(path))}
    folders = {Path(name).parent for name in changed}
    again = dict.fromkeys(filter(is_url, paths))
    for name in names:
        place = Path(name)
        whole = next((folder for folder in place.parents if folder in wholes), None)
        if whole is None and place.parent in folders:
            again[name] = None
        elif whole is not None and name in changed:
            again[str(whole)] = None
    return list(again)


def _signature(name: str) -> _Signature | None:
    """Give what changes when a file is written; None for what cannot be looked at."""
    if name == STDIN:
        return None
    try:
        found = [Path(name).stat()]
    except OSError:
        return None
    with suppress(OSError):  # what SQLite has not written into its database yet
        found.append(Path(f"{name}-wal").stat())
    return tuple((stat.st_size, stat.st_mtime_ns) for stat in found)


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

    Ends when all of ``job_ids`` that the service has are final; without them new jobs are waited for until
    the caller stops. After the first round an outcome comes only where something was written, or where a job
    is refused for another reason than before. A service that cannot answer for a while, or a database that
    cannot be reached, is waited for, unless it is in the first round.
    """
    told: dict[str, str] = {}
    waiting = _Waiting()
    first_round = True
    while True:
        missing: set[str] = set()
        try:
            for outcome in sync_jobs(archive, provider, service, since=since, job_ids=job_ids):
                if isinstance(outcome.error, SourceRefused):
                    missing.add(outcome.name)
                news = outcome.error is not None and told.get(outcome.name) != str(outcome.error)
                if news:
                    told[outcome.name] = str(outcome.error)
                if first_round or news or any(report.wrote for report in outcome.reports):
                    yield outcome
            waiting.end()
            there = [name for name in job_ids if service.url(*provider.steps(), name) not in missing]
            if job_ids and _all_final(archive, there):
                return
        except (SourceRefused, DatabaseError) as error:
            waiting.begin(error, first_round=first_round)
        first_round = False
        pause(every_seconds)


@dataclass(slots=True)
class _Waiting:
    """Whether something is away that is waited for, which is said once."""

    is_said: bool = False

    def begin(self, error: TuneledgerError, *, first_round: bool) -> None:
        """Wait for what an error is about; raise it where that can't help, or where it never was there."""
        may_pass = may_answer_later(error) if isinstance(error, SourceRefused) else error.retryable
        if first_round or not may_pass:
            raise error
        if not self.is_said:
            _log.warning("%s; it is waited for", error)
        self.is_said = True

    def end(self) -> None:
        """Go on: all is there again."""
        self.is_said = False


def _all_final(archive: Archive, job_ids: Sequence[str]) -> bool:
    return all(is_final(stored_status(archive, job_id)) for job_id in job_ids)
