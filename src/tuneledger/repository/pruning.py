"""Deleting many jobs, and all but a few checkpoints of jobs, by statements over sets of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, delete, func, select

from tuneledger.repository.changing import EMPTY_SERIES, JobChanging, Merged
from tuneledger.repository.labels import PINNED
from tuneledger.repository.scope import portions
from tuneledger.tables import CheckpointRow, EventRow, JobLabelRow, JobRow, MetricRow

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tuneledger.repository.checkpoints import Goal
    from tuneledger.repository.copying import JobToCopy

__all__ = ["Pruning"]

_DIGESTS_A_WINDOW: Final = 50_000

_LAST_STEPS = (
    select(CheckpointRow.step_number)
    .where(CheckpointRow.job_key == bindparam("job_key"))
    .order_by(CheckpointRow.step_number.desc())
    .limit(bindparam("count"))
)


_DIGESTS = (
    select(CheckpointRow.step_number, CheckpointRow.digest)
    .where(CheckpointRow.job_key == bindparam("job_key"), CheckpointRow.step_number > bindparam("after"))
    .order_by(CheckpointRow.step_number)
    .limit(_DIGESTS_A_WINDOW)
)
# Names are in the key before steps: without them the whole job would be read once more.
_DROP_VALUES = delete(MetricRow).where(
    MetricRow.job_key == bindparam("of_job"),
    MetricRow.name_id.in_(bindparam("of_names", expanding=True)),
    MetricRow.step_number.between(bindparam("first_step"), bindparam("last_step")),
)
_DROP_CHECKPOINTS = delete(CheckpointRow).where(
    CheckpointRow.job_key == bindparam("of_job"),
    CheckpointRow.step_number.between(bindparam("first_step"), bindparam("last_step")),
)

_PINNED = select(JobLabelRow.job_key).where(
    JobLabelRow.job_key.in_(bindparam("job_keys", expanding=True)), JobLabelRow.label == PINNED
)


class Pruning(JobChanging):
    """What `tuneledger.pruning` asks for. Each call holds the locks of the jobs it is given."""

    def spared_steps(
        self, job_id: str, *, keep_last: int | None, keep_best: Collection[tuple[str, Goal]]
    ) -> set[int]:
        """Give the steps that pruning leaves: the last ones, and the best by each metric."""
        found: set[int] = set()
        if keep_last:
            job_key = self._job_key(job_id)
            found.update(self._execute(_LAST_STEPS, {"job_key": job_key, "count": keep_last}).scalars())
        for metric, goal in keep_best:
            best = self.best_checkpoint(job_id, metric, goal)
            if best is not None:
                found.add(best.step_number)
        return found

    def lock_unchanged(self, jobs: Sequence[JobToCopy]) -> tuple[list[JobToCopy], int]:
        """Lock jobs; give those that are as they were found, and how many are there but changed or pinned."""
        # One by one: where jobs lie on several nodes no statement can lock rows of more than one. In one
        # order: two that delete the same jobs wait for each other.
        locked = [(job, self._lock(job.job_key)) for job in sorted(jobs)]
        there = [(job, row.digest) for job, row in locked if row is not None]
        pinned = set(self._execute(_PINNED, {"job_keys": [job.job_key for job, _ in there]}).scalars())
        unchanged = [job for job, digest in there if digest == job.digest and job.job_key not in pinned]
        return unchanged, len(there) - len(unchanged)

    def thin_job(self, job_id: str, spared: Collection[int]) -> int:
        """Delete a job's checkpoints but those at some steps; give how many were deleted."""
        job_key = self._job_key(job_id)
        locked, merged, kept = self._lock(job_key), Merged(), frozenset(spared)
        # By the ranges between the kept steps, which are few: as a list, these could be more than a statement
        # takes parameters.
        ranges: list[list[int]] = []
        goes_on = False
        after = -1
        while True:
            window = self._fetched(_DIGESTS, {"job_key": job_key, "after": after})
            for step, digest in window:
                if step in kept:
                    goes_on = False
                    continue
                if goes_on:
                    ranges[-1][1] = step
                else:
                    ranges.append([step, step])
                    goes_on = True
                merged.removed += 1
                merged.digest ^= digest
            if len(window) < _DIGESTS_A_WINDOW:
                break
            after = window[-1][0]
        if merged.removed:
            names = list(self._names_of(job_key))
            for first, last in ranges:
                bounds = {"of_job": job_key, "first_step": first, "last_step": last}
                for some in portions(names):
                    self._execute(_DROP_VALUES, {**bounds, "of_names": some})
                self._execute(_DROP_CHECKPOINTS, bounds)
            self._execute(EMPTY_SERIES, {"of_job": job_key})
            merged.reread_all = True
            self._set_digest(job_key, locked, merged)
        return merged.removed

    def delete_jobs(self, job_keys: Sequence[int]) -> int:
        """Delete jobs with all that belongs to them; give how many checkpoints that were."""
        for job_key in sorted(job_keys):  # as `lock_unchanged` does
            self._lock(job_key)
        count: int = self._execute(
            select(func.count()).select_from(CheckpointRow).where(CheckpointRow.job_key.in_(job_keys))
        ).scalar_one()
        # The large tables by one statement each: a cascade goes job by job.
        for row_class in (MetricRow, CheckpointRow, EventRow):
            self._execute(delete(row_class).where(row_class.job_key.in_(job_keys)))
        self._execute(delete(JobRow).where(JobRow.job_key.in_(job_keys)))
        return count
