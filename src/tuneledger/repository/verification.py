"""Whether what is stored is what was written: every digest computed anew from rows, every catalog compared.

Nothing here trusts a model, a CHECK or a foreign key: a damaged file has passed none of them. What cannot
even be read is narrowed down to the step that it is about. Memory holds a window of one job.
"""

from __future__ import annotations

import enum
import struct
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import bindparam, exists, select

from tuneledger.engine import translated
from tuneledger.errors import DatabaseDamaged, shortened
from tuneledger.mapping import (
    event_from,
    event_rows,
    events_digest,
    job_content,
    job_digest,
    state_digest,
    stored_checkpoint_digest,
)
from tuneledger.models import CANONICAL_METRIC_NAMES
from tuneledger.repository.changing import EMPTY_SERIES, SET_DIGEST, JobChanging
from tuneledger.repository.copying import TABLES_OF_A_JOB
from tuneledger.repository.scope import portions
from tuneledger.tables import (
    SUMMARY_COLUMNS,
    CheckpointRow,
    EventRow,
    JobDigestRow,
    JobMetricRow,
    JobRow,
    JobStateRow,
    MetricNameRow,
    MetricRow,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Table

    from tuneledger.mapping import EventValues

__all__ = ["Finding", "Problem", "Verification"]

T = TypeVar("T")

_ROWS_A_WINDOW: Final = 5_000
_MOST_FAILURES: Final = 2_000
"""Statements about one job that may fail before the rest of it is given up as unreadable."""

_LAST_STEP: Final = 2**63 - 1

# What reading a damaged row raises, in the database, in its driver and in taking the row apart.
_SIGNS_OF_DAMAGE: Final = (
    DatabaseDamaged,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    RecursionError,
    struct.error,
)


class Problem(enum.StrEnum):
    """What is wrong with a row."""

    CHANGED = "changed"
    """It does not fit its digest, or the job's digest does not fit it."""
    MISSING = "missing"
    ORPHANED = "orphaned"
    """It belongs to something that is not there."""
    UNREADABLE = "unreadable"
    SUMMARY = "summary"
    """The summary or the list of the job's series is wrong; the content itself may hold (`repair_job`)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was written."""

    problem: Problem
    detail: str
    job_id: str | None = None
    """None where the whole archive is meant, or the job's own row is gone."""
    step_number: int | None = None

    def __str__(self) -> str:
        job = "" if self.job_id is None else f"job {shortened(self.job_id)!r}"
        step = "" if self.step_number is None else f" step {self.step_number}"
        return f"{job}{step}{': ' if job else ''}{self.problem}: {self.detail}"


_JOB_KEYS = (
    select(JobRow.job_key).where(JobRow.job_key > bindparam("after")).order_by(JobRow.job_key).limit(1_000)
)
_JOB = (
    select(JobRow.__table__, JobDigestRow.digest.label("digest"), JobDigestRow.summary_digest)
    .join(JobDigestRow, JobDigestRow.job_key == JobRow.job_key, isouter=True)
    .where(JobRow.job_key == bindparam("job_key"))
)
_STATES = select(JobStateRow.revision, JobStateRow.status).where(JobStateRow.job_key == bindparam("job_key"))
_EVENTS = (
    select(EventRow.digest, EventRow.occurrence, EventRow.name, EventRow.created_at, EventRow.data)
    .where(EventRow.job_key == bindparam("job_key"))
    .order_by(EventRow.digest, EventRow.occurrence)
)
_NAMES = select(MetricNameRow.name_id, MetricNameRow.name)
_STORED_NAMES = select(MetricRow.name_id).where(MetricRow.job_key == bindparam("job_key")).distinct()
_CHECKPOINTS = (
    select(CheckpointRow.step_number, CheckpointRow.created_at, CheckpointRow.extra, CheckpointRow.digest)
    .where(
        CheckpointRow.job_key == bindparam("job_key"),
        CheckpointRow.step_number >= bindparam("first_step"),
        CheckpointRow.step_number <= bindparam("last_step"),
    )
    .order_by(CheckpointRow.step_number)
    .limit(_ROWS_A_WINDOW)
)
_SUMMARIES = select(
    JobMetricRow.name_id, *(JobMetricRow.__table__.c[name] for name in SUMMARY_COLUMNS)
).where(JobMetricRow.job_key == bindparam("job_key"))


@dataclass(slots=True)
class _Summary:
    """What `tuneledger.repository.summaries` keeps of one series, gathered in step order."""

    number_count: int = 0
    first_step: int | None = None
    first_value: float | None = None
    last_step: int | None = None
    last_value: float | None = None
    min_step: int | None = None
    min_value: float | None = None
    max_step: int | None = None
    max_value: float | None = None

    def take(self, step: int, value: float) -> None:
        if not self.number_count:
            self.first_step, self.first_value = step, value
        self.number_count += 1
        self.last_step, self.last_value = step, value
        if self.min_value is None or value < self.min_value:
            self.min_step, self.min_value = step, value
        if self.max_value is None or value > self.max_value:
            self.max_step, self.max_value = step, value

    def values(self) -> tuple[float | None, ...]:
        return tuple(getattr(self, name) for name in SUMMARY_COLUMNS)


@dataclass(slots=True)
class _Check:
    """One job under examination."""

    job_key: int
    job_id: str
    name_ids: list[int] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    summaries: dict[int, _Summary] = field(default_factory=lambda: defaultdict(_Summary))
    stored: int = 0
    """The XOR of the digests that the checkpoints' rows carry."""
    computed: int = 0
    """The XOR of those that their content has."""
    whole: bool = True
    """Every row could be read."""
    failures: int = 0

    def summarise(self, metrics: Mapping[int, Iterable[tuple[int, float | None, int | None]]]) -> None:
        for step in sorted(metrics):
            for name_id, value, _ in metrics[step]:
                if isinstance(value, float):
                    self.summaries[name_id].take(step, value)

    def found(self, problem: Problem, detail: str, step: int | None = None) -> Finding:
        return Finding(problem, detail, self.job_id, step)


class Verification(JobChanging):
    """Finds what is not as it was written. Only `repair_job` changes anything."""

    def job_keys_after(self, job_key: int) -> Sequence[int]:
        """Give the keys of up to 1,000 jobs, in order, that follow one (-1: from the first)."""
        return self._execute(_JOB_KEYS, {"after": job_key}).scalars().all()

    def verify_structure(self) -> Iterator[Finding]:
        """Look at what belongs to no single job: SQLite's own structure, metric names, rows without a job."""
        if self._connection.dialect.name == "sqlite":
            lines, _ = self._tried(
                lambda: self._connection.exec_driver_sql("PRAGMA integrity_check(100)").scalars().all()
            )
            for line in lines or ["the file's structure cannot be read"]:
                if line != "ok":
                    yield Finding(Problem.UNREADABLE, shortened(f"SQLite says: {line}", 400))
        statement = select(MetricNameRow.name, MetricNameRow.canonical)
        names, error = self._tried(lambda: self._execute(statement).all())
        if error:
            yield Finding(Problem.UNREADABLE, f"metric_names: {error}")
        for name, canonical in names or ():
            if canonical != CANONICAL_METRIC_NAMES.get(name, name):
                told = f"metric_names says that {shortened(name)!r} stands for {shortened(canonical)!r}"
                yield Finding(Problem.CHANGED, told)
        for table in TABLES_OF_A_JOB.values():
            yield from self._without_job(table)

    def _without_job(self, table: Table) -> Iterator[Finding]:
        statement = select(table.c.job_key).where(~exists().where(JobRow.job_key == table.c.job_key))
        keys, error = self._tried(lambda: self._execute(statement.distinct()).scalars().all())
        if error:
            yield Finding(Problem.UNREADABLE, f"{table.name}: {error}")
        for job_key in keys or ():
            yield Finding(Problem.ORPHANED, f"{table.name} has rows of job_key {job_key}, which is no job")

    def verify_job(self, job_key: int) -> Iterator[Finding]:
        """Compute a job's digests, list of series and summaries anew; tell what differs."""
        row, error = self._tried(lambda: self._execute(_JOB, {"job_key": job_key}).mappings().first())
        if error:
            yield Finding(Problem.UNREADABLE, f"the row of job_key {job_key}: {error}")
        if row is None:
            return
        check = _Check(job_key, row["job_id"])
        rest = yield from self._job_parts(check, row)
        names, error = self._tried(lambda: self._names_in_use(check))
        if error or names is None:
            yield check.found(Problem.UNREADABLE, f"its metrics: {error}")
            return
        check.names = names
        for name_id in check.name_ids:
            if name_id not in names:
                yield check.found(Problem.MISSING, f"metric_names has no name_id {name_id}, which it uses")
                check.whole = False
        yield from self._steps(check)
        yield from self._totals(check, row, rest)

    def _names_in_use(self, check: _Check) -> dict[int, str]:
        check.name_ids = sorted(self._execute(_STORED_NAMES, {"job_key": check.job_key}).scalars())
        names: dict[int, str] = {}
        for some in portions(check.name_ids):
            names |= self._pairs(_NAMES.where(MetricNameRow.name_id.in_(some)))
        return names

    # -- parts ------------------------------------------------------------------------------

    def _job_parts(self, check: _Check, row: Any) -> Generator[Finding, None, int]:
        """Look at the job's row, its states and its events; return the XOR of their digests."""
        digests = []
        content, error = self._tried(lambda: job_content(row))
        if content is None:
            yield check.found(Problem.UNREADABLE, f"its row in jobs: {error}")
        else:
            digests.append(content.digest)
            if any(row[name] != value for name, value in content.values().items()):
                yield check.found(Problem.CHANGED, "its row in jobs is not in the form it was written in")
        of_job = {"job_key": check.job_key}
        states, error = self._tried(
            lambda: [state_digest(*state) for state in self._execute(_STATES, of_job)]
        )
        if error:
            yield check.found(Problem.UNREADABLE, f"its states: {error}")
        digests += states or ()
        events, error = self._tried(lambda: self._execute(_EVENTS, of_job).all())
        if error:
            yield check.found(Problem.UNREADABLE, f"its events: {error}")
        occurrences: dict[int, int] = {}
        for digest, occurrence, *values in events or ():
            event, _ = self._tried(partial(_event_written_again, values))
            if event is None or (event.digest, *event[2:]) != (digest, *values):
                yield check.found(
                    Problem.CHANGED, f"an event, stored as {shortened(values[0])!r} of {values[1]}"
                )
            if occurrence != occurrences.get(digest, 0):
                yield check.found(Problem.MISSING, f"one of the equal events {shortened(values[0])!r}")
            occurrences[digest] = occurrence + 1
        digests.append(events_digest((digest, occurrence) for digest, occurrence, *_ in events or ()))
        if content is None or states is None or events is None:
            check.whole = False
        return job_digest(*digests)

    def _steps(self, check: _Check) -> Iterator[Finding]:
        """Look at the checkpoints window by window; halve what cannot be read until it is one step."""
        waiting = [(0, _LAST_STEP)]
        while waiting:
            first, last = waiting.pop()
            window, error = self._tried(partial(self._window, check, first, last))
            if window is not None:
                findings, end = window
                yield from findings
                if end < last:
                    waiting.append((end + 1, last))
                continue
            check.whole = False
            check.failures += 1
            if first == last:
                yield check.found(Problem.UNREADABLE, f"its rows: {error}", first)
            elif check.failures > _MOST_FAILURES:
                yield check.found(Problem.UNREADABLE, f"more of its steps, from {first} on")
                return
            else:
                middle = (first + last) // 2
                waiting += [(middle + 1, last), (first, middle)]

    def _window(self, check: _Check, first: int, last: int) -> tuple[list[Finding], int]:
        """Look at the checkpoints of a window; give what is wrong, and the last step that was looked at."""
        bounds: dict[str, Any] = {"job_key": check.job_key, "first_step": first, "last_step": last}
        rows = self._execute(_CHECKPOINTS, bounds).all()
        end = rows[-1][0] if len(rows) == _ROWS_A_WINDOW else last
        metrics: dict[int, list[tuple[int, float | None, int | None]]] = defaultdict(list)
        for name_id, step, value, kind in self._values_between(check.job_key, check.name_ids, first, end):
            metrics[step].append((name_id, value, kind))
        # Nothing of the check changes before all is read: a window that fails is read again in halves.
        findings = []
        for step, created_at, extra, digest in rows:
            named = metrics.get(step, [])
            if any(name_id not in check.names for name_id, _, _ in named):
                continue  # the missing name is told once
            try:
                actual = stored_checkpoint_digest(
                    step,
                    created_at,
                    extra,
                    [(check.names[name_id], value, kind) for name_id, value, kind in named],
                )
            except _SIGNS_OF_DAMAGE:
                actual = -1
            if actual != digest:
                findings.append(check.found(Problem.CHANGED, "it does not fit its digest", step))
            check.computed ^= actual
            check.stored ^= digest
        findings += [
            check.found(Problem.ORPHANED, "it has metrics, but no row in checkpoints", step)
            for step in sorted(metrics.keys() - {row[0] for row in rows})
        ]
        check.summarise(metrics)
        return findings, end

    def _totals(self, check: _Check, row: Any, rest: int) -> Iterator[Finding]:
        """Compare what was added up over the whole job."""
        digest = row["digest"]
        if digest is None:
            yield check.found(Problem.MISSING, "its row in job_digests")
        elif check.whole and digest not in {rest ^ check.stored, rest ^ check.computed}:
            # With the digests that the rows carry, so that a changed step is not told twice.
            told = "its digest does not fit what is stored: a row of it is missing, was added or changed"
            yield check.found(Problem.CHANGED, told)
        rows, error = self._tried(
            lambda: {
                name_id: tuple(summary)
                for name_id, *summary in self._execute(_SUMMARIES, {"job_key": check.job_key})
            }
        )
        if rows is None:
            yield check.found(Problem.UNREADABLE, f"its rows in job_metrics: {error}")
            return
        for name_id in sorted(rows.keys() ^ set(check.name_ids)):
            what = "lists" if name_id in rows else "lacks"
            yield check.found(
                Problem.SUMMARY, f"job_metrics {what} the series {self._series_name(check, name_id)}"
            )
        if digest is None or digest != row["summary_digest"] or not check.whole:
            return  # the summaries do not count, or were gathered in part
        for name_id in check.name_ids:
            stored = rows.get(name_id)
            if stored is not None and stored[0] is not None:
                actual = check.summaries[name_id].values()
                if stored != actual:
                    yield check.found(
                        Problem.SUMMARY, f"the summary of {self._series_name(check, name_id)} is wrong"
                    )

    @staticmethod
    def _series_name(check: _Check, name_id: int) -> str:
        return repr(shortened(check.names.get(name_id, f"name_id {name_id}")))

    def _tried(self, read: Callable[[], T]) -> tuple[T | None, str]:
        """Read in a savepoint: give the answer, or None and what stands in the way of it."""
        savepoint = self._session.begin_nested()
        try:
            with translated():
                answer = read()
        except _SIGNS_OF_DAMAGE as error:
            savepoint.rollback()
            return None, str(error) if isinstance(error, DatabaseDamaged) else "holds what was never written"
        savepoint.commit()
        return answer, ""

    # -- repairing --------------------------------------------------------------------------

    def repair_job(self, job_key: int) -> list[Finding]:
        """Rebuild a job's summaries and list of series, if these alone are wrong; give what is still wrong.

        Content is never touched, and no digest is made to fit any.
        """
        locked = self._lock(job_key)
        findings = list(self.verify_job(job_key))
        if locked is None or not findings or any(found.problem is not Problem.SUMMARY for found in findings):
            return findings
        in_use = self._execute(_STORED_NAMES, {"job_key": job_key}).scalars().all()
        self._execute(EMPTY_SERIES, {"of_job": job_key})
        self._note_series(job_key, in_use)
        self._recompute_summaries(job_key, in_use)
        self._execute(SET_DIGEST, {"of_job": job_key, "new_digest": locked.digest})
        return list(self.verify_job(job_key))


def _event_written_again(values: Sequence[Any]) -> EventValues:
    (row,) = event_rows([event_from(*values)])
    return row
