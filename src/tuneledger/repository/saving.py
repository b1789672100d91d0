"""The one path that writes: save a job, append to it, delete it.

A new job's row is the lock that its writer owns; of a stored job every writer locks the ``job_digests``
row first and reads afterwards, in later statements, so that what it compares with is what it then
changes. Under that lock every new row is known to be new, and goes in by the engine's fastest way.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import repeat
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tuneledger.errors import InvalidArgument, JobNotFound
from tuneledger.mapping import (
    CheckpointColumns,
    EventValues,
    JobContent,
    SeriesColumns,
    checkpoint_columns,
    event_rows,
    events_digest,
    job_content,
    job_digest,
    metric_values,
    state_digest,
)
from tuneledger.models import CANONICAL_METRIC_NAMES, CheckpointOut, Job
from tuneledger.repository.merging import Decisions, merged_checkpoint, merged_content, payload_is_newer
from tuneledger.repository.records import Input, OnConflict, SaveReport
from tuneledger.repository.summaries import SummaryWriting
from tuneledger.tables import (
    CheckpointRow,
    EventRow,
    InputRow,
    JobDigestRow,
    JobMetricRow,
    JobRow,
    JobStateRow,
    MetricNameRow,
    MetricRow,
)

if TYPE_CHECKING:
    from sqlalchemy.orm import DeclarativeBase

__all__ = ["JobWriting"]

_STORED = (
    select(JobRow.__table__, JobDigestRow.digest)
    .join(JobDigestRow, JobDigestRow.job_key == JobRow.job_key)
    .where(JobRow.job_id == bindparam("job_id"))
)
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
_SET_DIGEST = (
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
_DROP_VALUES_AT = delete(MetricRow).where(
    MetricRow.job_key == bindparam("of_job"), MetricRow.step_number == bindparam("of_step")
)
_DROP_CHECKPOINT = delete(CheckpointRow).where(
    CheckpointRow.job_key == bindparam("of_job"), CheckpointRow.step_number == bindparam("of_step")
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
_EMPTY_SERIES = delete(JobMetricRow).where(
    JobMetricRow.job_key == bindparam("of_job"),
    ~select(MetricRow.job_key)
    .where(MetricRow.job_key == JobMetricRow.job_key, MetricRow.name_id == JobMetricRow.name_id)
    .correlate(JobMetricRow)
    .exists(),
)
_NAME_IDS = select(MetricNameRow.name, MetricNameRow.name_id).where(
    MetricNameRow.name.in_(bindparam("names", expanding=True))
)


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
        return cls(content, checkpoint_columns(job.checkpoints), event_rows(job.events), states)

    @property
    def digest(self) -> int:
        return job_digest(
            self.content.digest,
            self.columns.digest,
            events_digest((event.digest, event.occurrence) for event in self.events),
            *(state_digest(*state) for state in self.states),
        )


class JobWriting(SummaryWriting):
    """Saving and deleting. A call that raises leaves the transaction to be rolled back."""

    def save(
        self, job: Job, *, on_conflict: OnConflict | str = OnConflict.MERGE, inputs: Iterable[Input] = ()
    ) -> SaveReport:
        """Save a job with all that it carries; saving it again changes nothing and writes no row.

        ``inputs`` says where it was read from, kept when the save writes anything. Raises `Conflict`
        when ``on_conflict`` is ``error`` and a stored value would change, or when the id belongs to a
        job of another provider.
        """
        decisions = Decisions(_mode(on_conflict), job.job_id)
        parts = _Parts.of(job)
        while True:
            stored = self._execute(_STORED, {"job_id": job.job_id}).mappings().first()
            if stored is None:
                job_key = self._insert_job(parts)
                if job_key is not None:
                    self._add_inputs(job_key, inputs)
                    return SaveReport(
                        job.job_id,
                        created=True,
                        added=len(parts.columns.rows),
                        events_added=len(parts.events),
                        states_added=len(parts.states),
                    )
                continue  # another writer inserted it meanwhile, and has committed
            if stored["digest"] == parts.digest:
                return SaveReport(job.job_id, unchanged=len(parts.columns.rows))
            locked = self._lock(stored["job_key"])
            if locked is None:
                continue  # deleted meanwhile
            stored = self._execute(_STORED, {"job_id": job.job_id}).mappings().one()
            report = self._merge(locked, stored, job.checkpoints, parts, decisions)
            if report.wrote:
                self._add_inputs(stored["job_key"], inputs)
            return report

    def append(
        self,
        job_id: str,
        checkpoints: Iterable[CheckpointOut],
        *,
        on_conflict: OnConflict | str = OnConflict.MERGE,
    ) -> SaveReport:
        """Add checkpoints to a stored job, which counts as its newest word on these steps.

        ``replace`` replaces the given steps and leaves the others. Raises `JobNotFound` and `Conflict`.
        """
        decisions = Decisions(_mode(on_conflict), job_id)
        given = Job(job_id=job_id, provider="-", checkpoints=list(checkpoints)).checkpoints
        columns = checkpoint_columns(given)
        job_key = self._job_key(job_id)
        locked = self._lock(job_key)
        if locked is None:
            raise JobNotFound(job_id)
        stored = self._step_digests(job_key, columns)
        merged = self._merge_checkpoints(job_key, given, columns, stored, decisions, newer=True)
        self._set_digest(job_key, locked, merged)
        return merged.report(job_id, decisions)

    def delete_job(self, job_id: str) -> int:
        """Delete a job with all that belongs to it; give the number of checkpoints that were deleted."""
        job_key = self._job_key(job_id)
        if self._lock(job_key) is None:
            raise JobNotFound(job_id)
        self._execute(delete(MetricRow).where(MetricRow.job_key == job_key))
        deleted: int = self._execute(delete(CheckpointRow).where(CheckpointRow.job_key == job_key)).rowcount
        self._execute(delete(JobRow).where(JobRow.job_key == job_key))
        return deleted

    # -- a new job --------------------------------------------------------------------------

    def _insert_job(self, parts: _Parts) -> int | None:
        """Insert a job; None when another writer was first."""
        values = {**parts.content.values(), "archived_at": int(time.time())}
        statement = (
            self._insert(JobRow).values(values).on_conflict_do_nothing(index_elements=["job_id"])
        ).returning(JobRow.job_key)
        job_key: int | None = self._execute(statement).scalar()
        if job_key is None:
            return None
        digests = [(job_key, parts.digest, parts.digest)]
        self._rows(JobDigestRow, ("job_key", "digest", "summary_digest"), digests)
        self._add_states(job_key, parts.states)
        self._add_events(job_key, parts.events)
        self._add_checkpoints(job_key, parts.columns)
        return job_key

    def _insert(self, row_class: type[DeclarativeBase]) -> Any:
        dialect = sqlite if self._connection.dialect.name == "sqlite" else postgresql
        return dialect.insert(row_class)

    def _add_states(self, job_key: int, states: Iterable[tuple[int, str]]) -> None:
        rows = [(job_key, *state) for state in sorted(states)]
        self._rows(JobStateRow, ("job_key", "revision", "status"), rows)

    def _add_events(self, job_key: int, events: Iterable[EventValues]) -> None:
        rows = [(job_key, *event) for event in events]
        self._rows(EventRow, ("job_key", *EventValues._fields), rows)

    def _add_inputs(self, job_key: int, inputs: Iterable[Input]) -> None:
        for given in inputs:
            values = {
                "job_key": job_key,
                "sha256": given.sha256,
                "name": given.name,
                "format": given.format,
                "size_bytes": given.size_bytes,
                "tuneledger_version": version("tuneledger"),
                "archived_at": int(time.time()),
            }
            self._execute(self._insert(InputRow).values(values).on_conflict_do_nothing())

    def _add_checkpoints(self, job_key: int, columns: CheckpointColumns) -> None:
        rows = [(job_key, *row) for row in columns.rows]
        self._rows(CheckpointRow, ("job_key", "step_number", "created_at", "extra", "digest"), rows)
        self._add_series(job_key, columns.series)

    def _add_series(self, job_key: int, series: Mapping[str, SeriesColumns]) -> None:
        name_ids = self._name_ids(series)
        self._add_to_summaries(job_key, {name_ids[name]: columns for name, columns in series.items()})
        for name, name_id in sorted(name_ids.items(), key=lambda item: item[1]):
            columns = series[name]
            keys = (repeat(job_key), repeat(name_id), columns.steps, columns.values)
            if columns.kinds is None:
                self._rows(MetricRow, _PLAIN, list(zip(*keys, strict=False)))
            else:
                self._rows(MetricRow, _MARKED, list(zip(*keys, columns.kinds, strict=False)))

    def _name_ids(self, names: Iterable[str]) -> dict[str, int]:
        """Give the ids of metric names, adding those that no job had yet."""
        wanted = sorted(names)
        if not wanted:
            return {}
        found = self._pairs(_NAME_IDS, {"names": wanted})
        missing = [name for name in wanted if name not in found]
        if missing:
            # In one order, for two writers that add the same names wait for each other.
            rows = [{"name": name, "canonical": CANONICAL_METRIC_NAMES.get(name, name)} for name in missing]
            statement = self._insert(MetricNameRow).on_conflict_do_nothing(index_elements=["name"])
            self._execute(statement, rows)
            found = self._pairs(_NAME_IDS, {"names": wanted})
        return found

    # -- a stored job -----------------------------------------------------------------------

    def _lock(self, job_key: int) -> Any:
        """Wait for the job's lock and give its row of digests; None when the job is gone."""
        return self._execute(_LOCK, {"job_key": job_key}).first()

    def _set_digest(self, job_key: int, before: Any, merged: _Merged) -> None:
        """Bring the job's digest and summaries up to what was written; ``before`` is what `_lock` gave."""
        if not merged.digest:
            return
        if merged.reread_all or before.summary_digest != before.digest:
            self._recompute_summaries(job_key, self._names_of(job_key))
        else:
            self._recompute_summaries(job_key, merged.reread)
        self._execute(_SET_DIGEST, {"of_job": job_key, "new_digest": before.digest ^ merged.digest})

    def _step_digests(
        self, job_key: int, columns: CheckpointColumns, *, every: bool = False
    ) -> dict[int, int]:
        """Give the stored digests of the steps that ``columns`` span, or of ``every`` step."""
        if every:
            first, last = 0, 2**63 - 1
        elif columns.rows:
            first, last = columns.rows[0].step_number, columns.rows[-1].step_number
        else:
            return {}
        bounds = {"job_key": job_key, "first_step": first, "last_step": last}
        return self._pairs(_STEP_DIGESTS, bounds)

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

    def _merge_checkpoints(
        self,
        job_key: int,
        checkpoints: Iterable[CheckpointOut],
        columns: CheckpointColumns,
        stored: Mapping[int, int],
        decisions: Decisions,
        *,
        newer: bool,
    ) -> _Merged:
        merged = _Merged()
        added: set[int] = set()
        differing: dict[int, int] = {}
        for row in columns.rows:
            if row.step_number not in stored:
                added.add(row.step_number)
            elif stored[row.step_number] != row.digest:
                differing[row.step_number] = row.digest
            else:
                merged.unchanged += 1
        if not added and not differing:
            return merged
        if differing:
            given = [checkpoint for checkpoint in checkpoints if checkpoint.step_number in differing]
            self._change_checkpoints(job_key, given, stored, decisions, merged, newer=newer)
        if added:
            fresh = columns
            if len(added) < len(columns.rows):
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
        merged: _Merged,
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
        for row in columns.rows:
            merged.digest ^= digests[row.step_number] ^ row.digest
        self._change_values(job_key, stored, targets, merged)

    def _change_values(
        self,
        job_key: int,
        stored: Mapping[int, CheckpointOut],
        targets: Iterable[CheckpointOut],
        merged: _Merged,
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
            self._execute(_EMPTY_SERIES, {"of_job": job_key})

    def _drop_steps(
        self, job_key: int, digests: Mapping[int, int], columns: CheckpointColumns, merged: _Merged
    ) -> None:
        gone = sorted(digests.keys() - {row.step_number for row in columns.rows})
        if not gone:
            return
        keys = [{"of_job": job_key, "of_step": step} for step in gone]
        self._execute(_DROP_VALUES_AT, keys)
        self._execute(_DROP_CHECKPOINT, keys)
        self._execute(_EMPTY_SERIES, {"of_job": job_key})
        merged.reread_all = True
        merged.removed = len(gone)
        merged.digest ^= job_digest(*(digests[step] for step in gone))

    def _merge_events(
        self, job_key: int, events: Sequence[EventValues], merged: _Merged, *, replace: bool
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
        self, job_key: int, states: set[tuple[int, str]], merged: _Merged, *, replace: bool
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


_PLAIN = ("job_key", "name_id", "step_number", "value")
_MARKED = (*_PLAIN, "kind")


@dataclass(slots=True)
class _Merged:
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
        )


def _doubles(checkpoint: CheckpointOut) -> dict[str, tuple[float | None, int | None]]:
    """Give the metrics of a checkpoint that are rows: name to (value, kind)."""
    return {
        name: metric_values(value)
        for name, value in checkpoint.metrics.named_values().items()
        if value is None or isinstance(value, float)
    }


def _mode(on_conflict: OnConflict | str) -> OnConflict:
    try:
        return OnConflict(on_conflict)
    except ValueError:
        raise InvalidArgument(f"on_conflict is one of {', '.join(OnConflict)}, not {on_conflict!r}") from None
