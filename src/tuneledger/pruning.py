"""Keeping an archive in bounds: old jobs deleted, or thinned to the checkpoints that matter.

Job by job in transactions of a bounded number of rows, so that others write on meanwhile and a stop loses
nothing but what it did not come to.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Unpack

from tuneledger.archive import Archive
from tuneledger.copying import batches, copy_jobs, pages
from tuneledger.errors import DatabaseDamaged, InvalidArgument, shortened

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Sequence

    from tuneledger.repository import CheckpointRepository, Goal, JobFilters, JobToCopy

__all__ = ["PruneReport", "prune"]


@dataclass(slots=True)
class PruneReport:
    """What a prune did, or would do."""

    deleted: int = 0
    """Jobs that went whole."""
    thinned: int = 0
    """Jobs of which some checkpoints stay."""
    checkpoints: int = 0
    """Checkpoints that went."""
    archived: int = 0
    """Jobs that were copied to the portable file first."""
    changed: int = 0
    """Jobs that stay as they are, for somebody wrote to them or pinned them after they were chosen."""


def prune(
    archive: Archive,
    *,
    keep_last: int | None = None,
    keep_best: Collection[tuple[str, Goal]] = (),
    to: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    **filters: Unpack[JobFilters],
) -> PruneReport:
    """Delete the jobs that pass all filters; pinned ones never.

    With ``keep_last`` or ``keep_best`` the jobs stay, and of their checkpoints the last so many and the best
    by each metric; a job without a number of these metrics stays whole. ``to`` is another archive, a file as
    a rule, that the jobs are copied to first, whole and proved. A job that somebody writes to or pins
    meanwhile stays as it is. ``dry_run`` only counts. Without any filter it is refused. A later sync of a job
    brings back what its provider still has.
    Raises `DatabaseDamaged` for a job that could not be proved in ``to``; of its page nothing is deleted.
    """
    if all(value is None for value in filters.values()):
        raise InvalidArgument("say which jobs: without any filter everything would go")
    if keep_last is not None and keep_last < 1:
        raise InvalidArgument("keep_last is at least 1")
    report = PruneReport()
    thinning = keep_last is not None or bool(keep_best)
    for page, row_counts in pages(archive, None, filters, unpinned=True):
        if to is not None and not dry_run:
            _archive_off(archive, to, page)
            report.archived += len(page)
        for batch in batches(page, row_counts):
            pruned = partial(_pruned, jobs=batch, keep_last=keep_last, keep_best=keep_best, dry_run=dry_run)
            if dry_run:
                with archive.read() as repository:
                    gone, changed = pruned(repository)
            else:
                gone, changed = archive.transact(f"prune {len(batch)} jobs", pruned)
            report.checkpoints += sum(gone)
            report.changed += changed
            if thinning:
                report.thinned += sum(map(bool, gone))
            else:
                report.deleted += len(batch) - changed
    return report


def _archive_off(archive: Archive, to: str | os.PathLike[str], page: Sequence[JobToCopy]) -> None:
    with Archive(to) as portable:
        copied = copy_jobs(archive, portable, job_ids=[job.job_id for job in page])
    if copied.unproved:
        raise DatabaseDamaged(
            f"job {shortened(copied.unproved[0])!r} does not fit its digest in {to}; nothing more was "
            f"deleted, `tuneledger verify` tells where it is damaged"
        )


def _pruned(
    repository: CheckpointRepository,
    *,
    jobs: Sequence[JobToCopy],
    keep_last: int | None,
    keep_best: Collection[tuple[str, Goal]],
    dry_run: bool,
) -> tuple[list[int], int]:
    """Delete or thin jobs that nobody changed since they were chosen.

    Give how many checkpoints that takes, by job where they are thinned, and how many jobs were changed.
    """
    unchanged, changed = (jobs, 0) if dry_run else repository.lock_unchanged(jobs)
    if keep_last is None and not keep_best:
        return [_deleted(repository, unchanged, dry_run=dry_run)], changed
    gone = []
    for job in unchanged:
        spared = repository.spared_steps(job.job_id, keep_last=keep_last, keep_best=keep_best)
        if spared:  # a metric that a job never reported, or that is misspelt, chooses nothing of it
            gone.append(_thinned(repository, job, spared, dry_run=dry_run))
    return gone, changed


def _thinned(
    repository: CheckpointRepository, job: JobToCopy, spared: Collection[int], *, dry_run: bool
) -> int:
    if dry_run:
        return repository.count_checkpoints(job.job_id) - len(spared)
    return repository.thin_job(job.job_id, spared)


def _deleted(repository: CheckpointRepository, jobs: Sequence[JobToCopy], *, dry_run: bool) -> int:
    if dry_run:
        return sum(repository.count_checkpoints(job.job_id) for job in jobs)
    return repository.delete_jobs([job.job_key for job in jobs])
