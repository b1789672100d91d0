"""Digests computed again from what is stored: the proof that it is what was saved."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, select

from tuneledger.mapping import (
    StoredSeries,
    event_from,
    event_rows,
    events_digest,
    job_content,
    job_digest,
    quiet_collector,
    state_digest,
    stored_digests,
)
from tuneledger.repository.jobs import JobQueries
from tuneledger.tables import CheckpointRow, EventRow, JobDigestRow, JobStateRow, MetricRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["DigestQueries", "Proof"]

_VALUES_A_WINDOW: Final = 60_000
_MOST_STEPS_NAMED: Final = 10

_DIGEST = select(JobDigestRow.digest).where(JobDigestRow.job_key == bindparam("job_key"))
_STATES = select(JobStateRow.revision, JobStateRow.status).where(JobStateRow.job_key == bindparam("job_key"))
_EVENTS = select(EventRow.name, EventRow.created_at, EventRow.data).where(
    EventRow.job_key == bindparam("job_key")
)
_CHECKPOINTS = (
    select(CheckpointRow.step_number, CheckpointRow.created_at, CheckpointRow.extra, CheckpointRow.digest)
    .where(CheckpointRow.job_key == bindparam("job_key"), CheckpointRow.step_number > bindparam("after"))
    .order_by(CheckpointRow.step_number)
    .limit(bindparam("size"))
)
_VALUES = (
    select(MetricRow.step_number, MetricRow.value, MetricRow.kind)
    .where(
        MetricRow.job_key == bindparam("job_key"),
        MetricRow.name_id == bindparam("name_id"),
        MetricRow.step_number >= bindparam("first_step"),
        MetricRow.step_number <= bindparam("last_step"),
    )
    .order_by(MetricRow.step_number)
)


@dataclass(frozen=True, slots=True)
class Proof:
    """What a job's content says its digest is, beside the digest that is stored."""

    stored: int
    computed: int
    wrong_steps: tuple[int, ...] = ()
    """The first steps, ten at most, whose own digest does not fit their content."""

    @property
    def holds(self) -> bool:
        """Whether the content is what was saved."""
        return self.stored == self.computed and not self.wrong_steps


class DigestQueries(JobQueries):
    """Questions about digests."""

    def proof(self, job_id: str) -> Proof:
        """Compute the digest of a job again from all that is stored of it, in constant memory.

        For rows that passed every CHECK. `verify_job` trusts none and names what differs, in four times the
        time.
        """
        row = self._job_row(job_id)
        job_key = row["job_key"]
        events = [event_from(*event) for event in self._execute(_EVENTS, {"job_key": job_key})]
        checkpoints, wrong = self._checkpoints_digest(job_key)
        computed = job_digest(
            job_content(row).digest,
            events_digest((event.digest, event.occurrence) for event in event_rows(events)),
            *(state_digest(*state) for state in self._execute(_STATES, {"job_key": job_key})),
            checkpoints,
        )
        stored: int = self._execute(_DIGEST, {"job_key": job_key}).scalar_one()
        return Proof(stored, computed, tuple(wrong))

    def _checkpoints_digest(self, job_key: int) -> tuple[int, list[int]]:
        names = self._names_of(job_key)
        size = max(64, _VALUES_A_WINDOW // max(1, len(names)))
        digest, after, wrong = 0, -1, list[int]()
        while True:
            with quiet_collector():
                rows = self._fetched(_CHECKPOINTS, {"job_key": job_key, "after": after, "size": size})
                computed = self._digests_of(job_key, rows, names)
            digest = reduce(xor, computed, digest)
            pairs = zip(rows, computed, strict=True)
            wrong += [row[0] for row, right in pairs if row[3] != right][: _MOST_STEPS_NAMED - len(wrong)]
            if len(rows) < size:
                return digest, wrong
            after = rows[-1][0]

    def _digests_of(
        self, job_key: int, rows: Sequence[tuple[Any, ...]], names: Mapping[int, str]
    ) -> Sequence[int]:
        """Compute the digests of rows of checkpoints, in step order, from them and their values."""
        if not rows:
            return []
        bounds = {"job_key": job_key, "first_step": rows[0][0], "last_step": rows[-1][0]}
        series = {}
        for name_id, name in names.items():
            values = self._fetched(_VALUES, {**bounds, "name_id": name_id})
            if values:
                series[name] = StoredSeries(*zip(*values, strict=True))
        return stored_digests([row[:3] for row in rows], series)
