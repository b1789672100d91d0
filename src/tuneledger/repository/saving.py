"""The one path that writes: save a job, append to it, delete it.

A new job's row is the lock that its writer owns; of a stored job every writer locks the ``job_digests``
row first and reads afterwards, in later statements, so that what it compares with is what it then
changes. Under that lock every new row is known to be new, and goes in by the engine's fastest way.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from tuneledger.engine import has_citus, insert_into
from tuneledger.errors import DatabaseDamaged, JobNotFound, shortened
from tuneledger.mapping import (
    CheckpointColumns,
    EventValues,
    JobContent,
    checkpoint_columns,
    event_rows,
    events_digest,
    job_content,
    job_digest,
    state_digest,
)
from tuneledger.models import CheckpointOut, Job
from tuneledger.repository.appending import JobAppending, given_columns
from tuneledger.repository.changing import Merged
from tuneledger.repository.merging import Decisions, merged_content, payload_is_newer
from tuneledger.repository.records import Input, OnConflict, SaveReport
from tuneledger.tables import (
    CheckpointRow,
    JobDigestRow,
    JobRow,
    MetricRow,
)

__all__ = ["JobWriting"]

_JOB = select(JobRow.__table__).where(JobRow.job_id == bindparam("job_id"))
_DIGEST = select(JobDigestRow.digest).where(JobDigestRow.job_key == bindparam("job_key"))
_STORED = (
    select(JobRow.__table__, JobDigestRow.digest)
    .join(JobDigestRow, JobDigestRow.job_key == JobRow.job_key)
    .where(JobRow.job_id == bindparam("job_id"))
)


@cache
def _insert_new(dialect: str) -> Any:
    """Make the statement once: building it takes as long as the rows of 300 checkpoints."""
    insert = insert_into(dialect, JobRow).on_conflict_do_nothing(index_elements=["job_id"])
    return insert.returning(JobRow.job_key)


@dataclass(slots=True)
class _Parts:
    """A payload taken apart, with the digest of the whole."""

    content: JobContent
    columns: CheckpointColumns
    events: list[EventValues]
    states: set[tuple[int, str]]

    @classmethod
    def of(cls, job: Job) -> _Parts:
        content = job_content(job)
        status = content.fields.get("status")
        states = {(content.fields["revision"], status)} if status is not None else set()
        columns = checkpoint_columns(job.checkpoints, source=f"job {job.job_id}")
        return cls(content, columns, event_rows(job.events), states)

    @property
    def digest(self) -> int:
        return job_digest(
            self.content.digest,
            self.columns.digest,
            events_digest((event.digest, event.occurrence) for event in self.events),
            *(state_digest(*state) for state in self.states),
        )


_MOST_ROUNDS = 100
"""How often a job may be inserted or deleted by others between two statements of one save."""


class JobWriting(JobAppending):
    """Saving and deleting. A call that raises leaves the transaction to be rolled back."""

    def save(
        self, job: Job, *, on_conflict: OnConflict | str = OnConflict.MERGE, inputs: Iterable[Input] = ()
    ) -> SaveReport:
        """Save a job with all that it carries; saving it again changes nothing and writes no row.

        ``inputs`` says where it was read from, kept when the save writes anything. Raises `Conflict`
        when ``on_conflict`` is ``error`` and a stored value would change, or when the id belongs to a
        job of another provider.
        """
        self._require_writing()
        decisions = Decisions(OnConflict(on_conflict), job.job_id)
        parts = _Parts.of(job)
        for _ in range(_MOST_ROUNDS):
            stored = self._stored(job.job_id)
            if stored is None:
                job_key = self._insert_job(parts)
                if job_key is not None:
                    self._add_inputs(job_key, inputs)
                    return SaveReport(
                        job.job_id,
                        created=True,
                        added=len(parts.columns.steps),
                        events_added=len(parts.events),
                        states_added=len(parts.states),
                        wrote=True,
                    )
                continue  # another writer inserted it meanwhile, and has committed
            if stored["digest"] == parts.digest:
                return SaveReport(job.job_id, unchanged=len(parts.columns.steps))
            locked = self._lock(stored["job_key"])
            if locked is None:
                continue  # deleted meanwhile
            stored = self._stored(job.job_id)
            report = self._merge(locked, stored, job.checkpoints, parts, decisions)
            if report.wrote:
                self._add_inputs(stored["job_key"], inputs)
            return report
        raise DatabaseDamaged(
            f"job {shortened(job.job_id)!r} lacks its row in job_digests; `tuneledger verify` says more"
        )

    def append(
        self,
        job_id: str,
        checkpoints: Iterable[CheckpointOut],
        *,
        on_conflict: OnConflict | str = OnConflict.MERGE,
    ) -> SaveReport:
        """Add checkpoints to a stored job, which counts as its newest word on these steps.

        ``replace`` replaces the given steps and leaves the others. Raises `JobNotFound`, `Conflict`, and
        `InvalidPayload` where a step stands twice with different content.
        """
        self._require_writing()
        decisions = Decisions(OnConflict(on_conflict), job_id)
        given, columns = given_columns(job_id, checkpoints)
        if len(given) == 1 and self._append_new(job_id, columns):
            return SaveReport(job_id, added=1, wrote=True)
        merged = self._merge_steps(job_id, given, columns, decisions, newer=True)
        return merged.report(job_id, decisions)

    def delete_job(self, job_id: str) -> int:
        """Delete a job with all that belongs to it; give the number of checkpoints that were deleted."""
        self._require_writing()
        job_key = self._job_key(job_id)
        if self._lock(job_key) is None:
            raise JobNotFound(job_id)
        self._execute(delete(MetricRow).where(MetricRow.job_key == job_key))
        deleted: int = self._execute(delete(CheckpointRow).where(CheckpointRow.job_key == job_key)).rowcount
        self._execute(delete(JobRow).where(JobRow.job_key == job_key))
        return deleted

    def _stored(self, job_id: str) -> Any:
        """Give the row of a stored job, with its digest; None where there is no such job."""
        if not has_citus(self._connection):
            return self._execute(_STORED, {"job_id": job_id}).mappings().first()
        # With the key known one shard is asked, and not all of them.
        row = self._execute(_JOB, {"job_id": job_id}).mappings().first()
        if row is None:
            return None
        return {**row, "digest": self._execute(_DIGEST, {"job_key": row["job_key"]}).scalar()}

    def _merge_steps(
        self,
        job_id: str,
        checkpoints: Sequence[CheckpointOut],
        columns: CheckpointColumns,
        decisions: Decisions,
        *,
        newer: bool,
    ) -> Merged:
        """Merge checkpoints, of which ``columns`` are, into a stored job. Raises `JobNotFound`."""
        job_key = self._job_key(job_id)
        locked = self._lock(job_key)
        if locked is None:
            raise JobNotFound(job_id)
        stored = self._step_digests(job_key, columns)
        merged = self._merge_checkpoints(job_key, checkpoints, columns, stored, decisions, newer=newer)
        self._set_digest(job_key, locked, merged)
        return merged

    # -- a new job --------------------------------------------------------------------------

    def _insert_job(self, parts: _Parts) -> int | None:
        """Insert a job; None when another writer was first."""
        values = {**parts.content.values(), "archived_at": int(time.time())}
        statement = _insert_new(self._connection.dialect.name)
        job_key: int | None = self._execute(statement, values).scalar()
        if job_key is None:
            return None
        digest = parts.digest
        self._rows(JobDigestRow, ("job_key", "digest", "summary_digest"), [(job_key, digest, digest)])
        self._add_states(job_key, parts.states)
        self._add_events(job_key, parts.events)
        self._add_checkpoints(job_key, parts.columns)
        return job_key

    # -- a stored job -----------------------------------------------------------------------

    def _merge(
        self,
        locked: Any,
        row: Any,
        checkpoints: Sequence[CheckpointOut],
        parts: _Parts,
        decisions: Decisions,
    ) -> SaveReport:
        job_key = row["job_key"]
        replace = decisions.on_conflict is OnConflict.REPLACE
        stored = job_content(row)
        newer = payload_is_newer(parts.content, stored)
        content = merged_content(stored, parts.content, decisions)
        digests = self._step_digests(job_key, parts.columns, every=replace)
        merged = self._merge_checkpoints(job_key, checkpoints, parts.columns, digests, decisions, newer=newer)
        if replace:
            self._drop_steps(job_key, digests, parts.columns, merged)
        self._merge_events(job_key, parts.events, merged, replace=replace)
        self._merge_states(job_key, parts.states, merged, replace=replace)
        if content.digest != stored.digest:
            merged.digest ^= stored.digest ^ content.digest
            self._execute(update(JobRow).where(JobRow.job_key == job_key).values(content.values()))
        self._set_digest(job_key, locked, merged)
        return merged.report(row["job_id"], decisions)
