"""Bringing a stored job up to a payload, under the lock of its ``job_digests`` row.

Read is after locking, in later statements, so that what is compared with is what is then changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from tuneledger.mapping import (
    CheckpointColumns,
    EventValues,
    checkpoint_columns,
    events_digest,
    job_digest,
    metric_values,
    state_digest,
)
from tuneledger.models import CheckpointOut
from tuneledger.repository.adding import RowAdding
from tuneledger.repository.merging import Decisions, merged_checkpoint
from tuneledger.repository.records import SaveReport
from tuneledger.repository.scope import portions
from tuneledger.tables import CheckpointRow, EventRow, JobDigestRow, JobMetricRow, JobStateRow, MetricRow

__all__ = ["JobChanging", "Merged"]

_LOCK = (
    select(JobDigestRow.digest, JobDigestRow.summary_digest)
    .where(JobDigestRow.job_key == bindparam("job_key"))
    .with_for_update()
)
_STEP_DIGESTS = select(CheckpointRow.step_number, CheckpointRow.digest).where(
    CheckpointRow.job_key == bindparam("job_key"),
    CheckpointRow.step_number >= bindparam("first_step"),
    CheckpointRow.step_number <= bindparam("last_step"),
)
_EVENT_KEYS = select(EventRow.digest, EventRow.occurrence).where(EventRow.job_key == bindparam("job_key"))
_STATE_KEYS = select(JobStateRow.revision, JobStateRow.status).where(
    JobStateRow.job_key == bindparam("job_key")
)
SET_DIGEST = (
    update(JobDigestRow)
    .where(JobDigestRow.job_key == bindparam("of_job"))
    .values(digest=bindparam("new_digest"), summary_digest=bindparam("new_digest"))
)
_SET_CHECKPOINT = (
    update(CheckpointRow)
    .where(CheckpointRow.job_key == bindparam("of_job"), CheckpointRow.step_number == bindparam("of_step"))
    .values(created_at=bindparam("new_time"), extra=bindparam("new_extra"), digest=bindparam("new_digest"))
)
_DROP_VALUE = delete(MetricRow).where(
    MetricRow.job_key == bindparam("of_job"),
    MetricRow.name_id == bindparam("of_name"),
    MetricRow.step_number == bindparam("of_step"),
)
# Names are in the key before steps: without them each step would read the whole job.
_DROP_VALUES_AT = delete(MetricRow).where(
    MetricRow.job_key == bindparam("of_job"),
    MetricRow.name_id.in_(bindparam("of_names", expanding=True)),
    MetricRow.step_number.in_(bindparam("of_steps", expanding=True)),
)
_DROP_CHECKPOINTS = delete(CheckpointRow).where(
    CheckpointRow.job_key == bindparam("of_job"),
    CheckpointRow.step_number.in_(bindparam("of_steps", expanding=True)),
)
_DROP_EVENT = delete(EventRow).where(
    EventRow.job_key == bindparam("of_job"),
    EventRow.digest == bindparam("of_digest"),
    EventRow.occurrence == bindparam("of_occurrence"),
)
_DROP_STATE = delete(JobStateRow).where(
    JobStateRow.job_key == bindparam("of_job"),
    JobStateRow.revision == bindparam("of_revision"),
    JobStateRow.status == bindparam("of_status"),
)
EMPTY_SERIES = delete(JobMetricRow).where(
    JobMetricRow.job_key == bindparam("of_job"),
    ~select(MetricRow.job_key)
    .where(MetricRow.job_key == JobMetricRow.job_key, MetricRow.name_id == JobMetricRow.name_id)
    .correlate(JobMetricRow)
    .exists(),
)


@dataclass(slots=True)
class Merged:
    """What a merge did so far; ``digest`` is what the job's digest changes by."""

    added: int = 0
    unchanged: int = 0
    removed: int = 0
    events_added: int = 0
    events_removed: int = 0
    states_added: int = 0
    digest: int = 0
    reread: set[int] = field(default_factory=set)
    """The name_ids of series whose summary no longer follows from the stored one."""
    reread_all: bool = False

    def report(self, job_id: str, decisions: Decisions) -> SaveReport:
        return SaveReport(
            job_id,
            added=self.added,
            changed=tuple(decisions.changed),
            unchanged=self.unchanged,
            kept=tuple(decisions.kept),
            removed=self.removed,
            events_added=self.events_added,
            events_removed=self.events_removed,
            states_added=self.states_added,
            wrote=self.digest != 0,
        )


class JobChanging(RowAdding):
    """Changes what is stored of a job, and says what its digest changes by."""

    def _lock(self, job_key: int) -> Any:
        """Wait for the job's lock and give its row of digests; None when the job is gone."""
        return self._execute(_LOCK, {"job_key": job_key}).first()

    def _set_digest(self, job_key: int, before: Any, merged: Merged) -> None:
        """Bring the job's digest and summaries up to what was written; ``before`` is what `_lock` gave."""
        if not merged.digest:
            return
        if merged.reread_all or before.summary_digest != before.digest:
            self._recompute_summaries(job_key, self._names_of(job_key))
        else:
            self._recompute_summaries(job_key, merged.reread)
        self._execute(SET_DIGEST, {"of_job": job_key, "new_digest": before.digest ^ merged.digest})

    def _step_digests(
        self, job_key: int, columns: CheckpointColumns, *, every: bool = False
    ) -> dict[int, int]:
        """Give the stored digests of the steps that ``columns`` span, or of ``every`` step."""
        if every:
            first, last = 0, 2**63 - 1
        elif columns.steps:
            first, last = columns.steps[0], columns.steps[-1]
        else:
            return {}
        bounds = {"job_key": job_key, "first_step": first, "last_step": last}
        return self._pairs(_STEP_DIGESTS, bounds)

    def _merge_checkpoints(
        self,
        job_key: int,
        checkpoints: Iterable[CheckpointOut],
        columns: CheckpointColumns,
        stored: Mapping[int, int],
        decisions: Decisions,
        *,
        newer: bool,
    ) -> Merged:
        merged = Merged()
        added: set[int] = set()
        differing: dict[int, int] = {}
        for step, digest in zip(columns.steps, columns.digests, strict=True):
            if step not in stored:
                added.add(step)
            elif stored[step] != digest:
                differing[step] = digest
            else:
                merged.unchanged += 1
        if not added and not differing:
            return merged
        if differing:
            given = [checkpoint for checkpoint in checkpoints if checkpoint.step_number in differing]
            self._change_checkpoints(job_key, given, stored, decisions, merged, newer=newer)
        if added:
            fresh = columns
            if len(added) < len(columns.steps):
                fresh = checkpoint_columns(c for c in checkpoints if c.step_number in added)
            self._add_checkpoints(job_key, fresh)
            merged.added = len(added)
            merged.digest ^= fresh.digest
        return merged

    def _change_checkpoints(
        self,
        job_key: int,
        payload: Sequence[CheckpointOut],
        digests: Mapping[int, int],
        decisions: Decisions,
        merged: Merged,
        *,
        newer: bool,
    ) -> None:
        stored = self._of_steps(job_key, [checkpoint.step_number for checkpoint in payload])
        targets = []
        for checkpoint in payload:
            before = stored[checkpoint.step_number]
            target = merged_checkpoint(before, checkpoint, decisions, newer=newer)
            if target == before:
                merged.unchanged += 1
            else:
                targets.append(target)
        if not targets:
            return
        columns = checkpoint_columns(targets)
        self._execute(
            _SET_CHECKPOINT,
            [
                {
                    "of_job": job_key,
                    "of_step": row.step_number,
                    "new_time": row.created_at,
                    "new_extra": row.extra,
                    "new_digest": row.digest,
                }
                for row in columns.rows
            ],
        )
        merged.digest ^= job_digest(columns.digest, *(digests[step] for step in columns.steps))
        self._change_values(job_key, stored, targets, merged)

    def _change_values(
        self,
        job_key: int,
        stored: Mapping[int, CheckpointOut],
        targets: Iterable[CheckpointOut],
        merged: Merged,
    ) -> None:
        written: list[tuple[str, int, float | None, int | None]] = []
        dropped: list[tuple[str, int]] = []
        for target in targets:
            before = _doubles(stored[target.step_number])
            after = _doubles(target)
            written += [
                (name, target.step_number, *after[name]) for name in after if before.get(name) != after[name]
            ]
            dropped += [(name, target.step_number) for name in before.keys() - after.keys()]
        name_ids = self._name_ids({row[0] for row in written} | {name for name, _ in dropped})
        merged.reread |= set(name_ids.values())
        if written:
            self._note_series(job_key, {name_ids[row[0]] for row in written})
            statement = self._insert(MetricRow)
            statement = statement.on_conflict_do_update(
                index_elements=["job_key", "name_id", "step_number"],
                set_={"value": statement.excluded.value, "kind": statement.excluded.kind},
            )
            rows = sorted((name_ids[name], step, value, kind) for name, step, value, kind in written)
            self._execute(
                statement,
                [
                    {
                        "job_key": job_key,
                        "name_id": name_id,
                        "step_number": step,
                        "value": value,
                        "kind": kind,
                    }
                    for name_id, step, value, kind in rows
                ],
            )
        if dropped:
            self._execute(
                _DROP_VALUE,
                [{"of_job": job_key, "of_name": name_ids[name], "of_step": step} for name, step in dropped],
            )
            self._execute(EMPTY_SERIES, {"of_job": job_key})

    def _drop_steps(
        self, job_key: int, digests: Mapping[int, int], columns: CheckpointColumns, merged: Merged
    ) -> None:
        gone = sorted(digests.keys() - set(columns.steps))
        if not gone:
            return
        names = sorted(self._names_of(job_key))
        for steps in portions(gone):
            for name_ids in portions(names):
                self._execute(_DROP_VALUES_AT, {"of_job": job_key, "of_names": name_ids, "of_steps": steps})
            self._execute(_DROP_CHECKPOINTS, {"of_job": job_key, "of_steps": steps})
        self._execute(EMPTY_SERIES, {"of_job": job_key})
        merged.reread_all = True
        merged.removed = len(gone)
        merged.digest ^= job_digest(*(digests[step] for step in gone))

    def _merge_events(
        self, job_key: int, events: Sequence[EventValues], merged: Merged, *, replace: bool
    ) -> None:
        # Equal events are numbered from 0: what is missing of the greater count is what is added.
        stored = {
            (digest, occurrence) for digest, occurrence in self._execute(_EVENT_KEYS, {"job_key": job_key})
        }
        fresh = [event for event in events if (event.digest, event.occurrence) not in stored]
        self._add_events(job_key, fresh)
        merged.events_added = len(fresh)
        merged.digest ^= events_digest((event.digest, event.occurrence) for event in fresh)
        gone = stored - {(event.digest, event.occurrence) for event in events} if replace else set()
        if gone:
            keys = [
                {"of_job": job_key, "of_digest": digest, "of_occurrence": occurrence}
                for digest, occurrence in sorted(gone)
            ]
            self._execute(_DROP_EVENT, keys)
            merged.events_removed = len(gone)
            merged.digest ^= events_digest(gone)

    def _merge_states(
        self, job_key: int, states: set[tuple[int, str]], merged: Merged, *, replace: bool
    ) -> None:
        stored = {(revision, status) for revision, status in self._execute(_STATE_KEYS, {"job_key": job_key})}
        fresh = states - stored
        self._add_states(job_key, fresh)
        merged.states_added = len(fresh)
        gone = stored - states if replace else set()
        if gone:
            keys = [
                {"of_job": job_key, "of_revision": revision, "of_status": status}
                for revision, status in sorted(gone)
            ]
            self._execute(_DROP_STATE, keys)
        merged.digest ^= job_digest(*(state_digest(*state) for state in fresh | gone))


def _doubles(checkpoint: CheckpointOut) -> dict[str, tuple[float | None, int | None]]:
    """Give the metrics of a checkpoint that are rows: name to (value, kind)."""
    return {
        name: metric_values(value)
        for name, value in checkpoint.metrics.named_values().items()
        if value is None or isinstance(value, float)
    }
