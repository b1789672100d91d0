"""From one archive to another: whole jobs, in transactions of many rows, proved by digest at the end.

Started again after it was stopped in whatever way, it goes on: a job whose digest is already there is not
copied again. Memory is bounded by what a batch holds; a job too long for one is copied window by window.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, Unpack

from tuneledger.errors import Conflict, InvalidArgument, shortened
from tuneledger.repository import OnConflict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tuneledger.archive import Archive
    from tuneledger.repository import CheckpointRepository, JobFilters, JobToCopy

__all__ = ["CopyReport", "batches", "copy_jobs", "pages"]

_JOBS_A_PAGE: Final = 500
_ROWS_A_BATCH: Final = 100_000
"""Rows in one transaction, unless a single job has more: enough to spread a commit's cost."""


@dataclass(slots=True)
class CopyReport:
    """What a copy did so far. Counts are of jobs."""

    copied: int = 0
    rows: int = 0
    """About how many rows the copied jobs have."""
    unchanged: int = 0
    """Jobs whose digest was there already."""
    merged: int = 0
    """Jobs that were there with other content, and now hold what both had (or, replaced, what came)."""
    annotated: int = 0
    """Jobs among the unchanged that got labels or inputs, which no digest covers."""
    refused: list[Conflict] = field(default_factory=list)
    proved: int = 0
    """Jobs whose digest was computed again from what now is stored, and fits."""
    unproved: list[str] = field(default_factory=list)
    """Ids of jobs whose content does not fit their digest."""


def copy_jobs(
    source: Archive,
    target: Archive,
    *,
    on_conflict: OnConflict | str = OnConflict.MERGE,
    job_ids: Sequence[str] | None = None,
    prove: bool = True,
    progress: Callable[[CopyReport], None] = lambda _report: None,
    **filters: Unpack[JobFilters],
) -> CopyReport:
    """Copy the jobs that pass all filters, or those of ``job_ids`` among them, with all that belongs to them.

    Jobs go as rows, exactly as they are. One that is in ``target`` with other content is merged, kept,
    refused or replaced, as a save does; a refusal does not keep the others from being copied. Labels and
    inputs add up, also those of jobs with the same content; ``replace`` alone takes any away. With
    ``prove`` every job's digest is computed again at the end from what ``target`` then holds. A job that
    comes to ``source`` meanwhile may be left to the next copy.
    Raises `JobNotFound` for one of ``job_ids`` that ``source`` does not have, and `InvalidArgument` where
    both are one archive: whoever deletes from ``source`` afterwards would think it safe.
    """
    mode = OnConflict(on_conflict)
    if source.is_same(target):
        raise InvalidArgument(f"{source.location} and {target.location} are one archive; copy to another")
    report = CopyReport()
    if job_ids is not None:
        with source.read() as there:
            for job_id in job_ids:
                there.job_without_checkpoints(job_id)
    chosen = partial(pages, source, job_ids, filters)
    for page, row_counts in chosen():
        with target.read() as here:
            digests = here.digests([job.job_id for job in page])
        equal = [job.job_id for job in page if digests.get(job.job_id) == job.digest]
        report.unchanged += len(equal)
        report.annotated += _bring_beside(source, target, equal, mode)
        differing = [job for job in page if digests.get(job.job_id, job.digest) != job.digest]
        for batch in batches([job for job in page if job.job_id not in digests], row_counts):
            copied = _copy_new(source, target, batch)
            # Another writer may have brought a job since it was looked for.
            differing += [job for job in batch if job.job_id not in copied]
            report.copied += len(copied)
            report.rows += sum(row_counts[job.job_key] for job in batch if job.job_id in copied)
            progress(report)
        for job in differing:
            _copy_differing(source, target, job, mode, report)
            progress(report)
    if prove:
        for page, _ in chosen():
            _prove(target, page, report)
            progress(report)
    return report


def pages(
    source: Archive, job_ids: Sequence[str] | None, filters: JobFilters, *, unpinned: bool = False
) -> Iterator[tuple[list[JobToCopy], Mapping[int, int]]]:
    """Give the jobs asked for page by page, with about how many rows each has."""
    last = 0
    while True:
        with source.read() as there:
            page = there.jobs_after(last, _JOBS_A_PAGE, job_ids=job_ids, unpinned=unpinned, **filters)
            row_counts = there.row_counts([job.job_key for job in page])
        if page:
            yield page, row_counts
        if len(page) < _JOBS_A_PAGE:
            return
        last = page[-1].job_key


def batches(jobs: Sequence[JobToCopy], row_counts: Mapping[int, int]) -> Iterator[list[JobToCopy]]:
    """Give jobs in portions of a bounded number of rows; one that alone has more comes alone."""
    batch: list[JobToCopy] = []
    rows = 0
    for job in jobs:
        if batch and rows + row_counts[job.job_key] > _ROWS_A_BATCH:
            yield batch
            batch, rows = [], 0
        batch.append(job)
        rows += row_counts[job.job_key]
    if batch:
        yield batch


def _copy_new(source: Archive, target: Archive, jobs: Sequence[JobToCopy]) -> set[str]:
    """Copy jobs in one transaction; give the ids of those that were not there."""

    def copied(here: CheckpointRepository) -> set[str]:
        with source.read() as there:
            return here.copy_new(there, [job.job_key for job in jobs])

    return target.transact(f"copy {len(jobs)} jobs", copied)


def _copy_differing(
    source: Archive, target: Archive, job: JobToCopy, mode: OnConflict, report: CopyReport
) -> None:
    def copied(here: CheckpointRepository) -> None:
        with source.read() as there:
            if mode is OnConflict.REPLACE:
                here.copy_replacing(there, job)
            else:
                here.copy_merging(there, job, mode)

    try:
        target.transact(f"copy job {shortened(job.job_id)!r}", copied)
    except Conflict as refusal:
        report.refused.append(refusal)
    else:
        report.merged += 1


def _bring_beside(source: Archive, target: Archive, job_ids: Sequence[str], mode: OnConflict) -> int:
    """Bring labels and inputs of stored jobs up to the source's; give how many jobs lacked any."""
    if not job_ids:
        return 0
    with source.read() as there, target.read() as here:
        changes = here.changes_beside(there, job_ids, exactly=mode is OnConflict.REPLACE)
    if not changes:
        return 0
    return target.transact("copy labels and inputs", lambda here: here.change_beside(changes))


def _prove(target: Archive, jobs: Sequence[JobToCopy], report: CopyReport) -> None:
    with target.read() as here:
        there_now = here.digests([job.job_id for job in jobs])
        for job in jobs:
            if job.job_id not in there_now:
                continue  # it came to the source after that was looked through, or somebody deleted it
            if here.proof(job.job_id).holds:
                report.proved += 1
            else:
                report.unproved.append(job.job_id)
