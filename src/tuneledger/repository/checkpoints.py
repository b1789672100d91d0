"""Checkpoints by job and step."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from sqlalchemy import (
    ARRAY,
    BigInteger,
    and_,
    bindparam,
    column,
    func,
    literal_column,
    select,
    text,
    true,
)
from sqlalchemy.orm import aliased

from tuneledger.engine import has_citus
from tuneledger.errors import CheckpointNotFound, DatabaseDamaged, InvalidArgument, shortened
from tuneledger.mapping import checkpoints_from, checkpoints_of_series, quiet_collector
from tuneledger.repository.scope import portions, refuse_text, within_bigint
from tuneledger.repository.values import ValueQueries
from tuneledger.tables import JOB_SUMMARY, CheckpointRow, JobDigestRow, JobMetricRow, MetricNameRow, MetricRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Executable, Select

    from tuneledger.models import CheckpointOut

__all__ = ["CheckpointQueries", "Goal", "Selection", "step_bounds"]

Goal = Literal["min", "max"]

_VALUES_A_WINDOW = 24_000
"""Metric values fetched at once: enough to spread a statement's cost, few enough to stay in cache."""

_VALUES_A_ROW = 4
"""Metric values that take the room of a checkpoint without any."""

_FEWEST_ROWS = 64
"""Checkpoints fetched at once where each has very many metrics."""

_PAIRS_AT_ONCE = 128
"""Checkpoints of as many jobs found by one statement on SQLite, of which each number has its own text."""

_CHECKPOINT = select(CheckpointRow.step_number, CheckpointRow.created_at, CheckpointRow.extra)
_CHECKPOINTS_AT = _CHECKPOINT.where(
    CheckpointRow.job_key == bindparam("job_key"),
    CheckpointRow.step_number.in_(bindparam("steps", expanding=True)),
)
_WINDOW = _CHECKPOINT.where(
    CheckpointRow.job_key == bindparam("job_key"),
    CheckpointRow.step_number >= bindparam("first_step"),
    CheckpointRow.step_number <= bindparam("last_step"),
).limit(bindparam("size"))
# Made once: to add an order takes SQLAlchemy as long as to run the statement.
_WINDOWS = {
    newest_first: _WINDOW.order_by(
        CheckpointRow.step_number.desc() if newest_first else CheckpointRow.step_number
    )
    for newest_first in (False, True)
}
# Checkpoints of many jobs, a row for each of their metrics, or one with NULL where there is none.
_ONE_A_JOB = (
    select(
        CheckpointRow.job_key,
        CheckpointRow.step_number,
        CheckpointRow.created_at,
        CheckpointRow.extra,
        JobMetricRow.name_id,
        MetricNameRow.name,
        MetricRow.value,
        MetricRow.kind,
        MetricRow.step_number.label("valued"),
    )
    .outerjoin(JobMetricRow, JobMetricRow.job_key == CheckpointRow.job_key)
    .outerjoin(MetricNameRow, MetricNameRow.name_id == JobMetricRow.name_id)
    .outerjoin(
        MetricRow,
        and_(
            MetricRow.job_key == CheckpointRow.job_key,
            MetricRow.name_id == JobMetricRow.name_id,
            MetricRow.step_number == CheckpointRow.step_number,
        ),
    )
)
# By a condition on the checkpoint itself SQLite would look at every checkpoint of the job. Citus
# refuses one within a query of `jobs`, of which every node has a copy.
_LAST_STEPS = select(
    JobDigestRow.job_key,
    select(func.max(CheckpointRow.step_number))
    .where(CheckpointRow.job_key == JobDigestRow.job_key)
    .correlate(JobDigestRow)
    .scalar_subquery(),
).where(JobDigestRow.job_key.in_(bindparam("job_keys", expanding=True)))


@lru_cache(maxsize=_PAIRS_AT_ONCE)
def _at_pairs_sqlite(count: int) -> Select[*tuple[Any, ...]]:
    """Find the checkpoints of (job, step) pairs: as a list to look in, SQLite would read every checkpoint."""
    rows = ", ".join(f"(:job_key_{number}, :step_{number})" for number in range(count))
    asked = (
        text(f"SELECT column1 AS job_key, column2 AS step_number FROM (VALUES {rows})")  # noqa: S608 - no input
        .columns(column("job_key", BigInteger), column("step_number", BigInteger))
        .cte("asked")
    )
    return _ONE_A_JOB.join(
        asked,
        and_(asked.c.job_key == CheckpointRow.job_key, asked.c.step_number == CheckpointRow.step_number),
    )


# PostgreSQL, which would plan each pair of a list by itself, takes arrays instead.
_asked = (
    func.unnest(bindparam("job_keys", type_=ARRAY(BigInteger)), bindparam("steps", type_=ARRAY(BigInteger)))
    .table_valued(column("job_key", BigInteger), column("step_number", BigInteger), name="asked")
    .render_derived()
)
_AT_PAIRS_CITUS = _ONE_A_JOB.join(
    _asked,
    and_(_asked.c.job_key == CheckpointRow.job_key, _asked.c.step_number == CheckpointRow.step_number),
)
# It would join these to a large table by reading it whole. Queries that it does not take apart (``OFFSET 0``)
# seek each; Citus takes none of several jobs.
_checkpoint = (
    select(CheckpointRow)
    .where(CheckpointRow.job_key == _asked.c.job_key, CheckpointRow.step_number == _asked.c.step_number)
    .offset(literal_column("0"))
    .lateral("checkpoint")
)
_value = (
    select(MetricRow.value, MetricRow.kind, MetricRow.step_number)
    .where(
        MetricRow.job_key == _asked.c.job_key,
        MetricRow.name_id == JobMetricRow.name_id,
        MetricRow.step_number == _asked.c.step_number,
    )
    .offset(literal_column("0"))
    .lateral("value")
)
_AT_PAIRS_POSTGRESQL = (
    select(
        _checkpoint.c.job_key,
        _checkpoint.c.step_number,
        _checkpoint.c.created_at,
        _checkpoint.c.extra,
        JobMetricRow.name_id,
        MetricNameRow.name,
        _value.c.value,
        _value.c.kind,
        _value.c.step_number.label("valued"),
    )
    .select_from(_asked)
    .join(_checkpoint, true())
    .outerjoin(JobMetricRow, JobMetricRow.job_key == _asked.c.job_key)
    .outerjoin(MetricNameRow, MetricNameRow.name_id == JobMetricRow.name_id)
    .outerjoin(_value, true())
)
_BEST = {
    goal: select(
        JOB_SUMMARY.c.job_id,
        JOB_SUMMARY.c.metric,
        JOB_SUMMARY.c[f"{goal}_value"],
        JOB_SUMMARY.c[f"{goal}_step"],
    ).where(
        JOB_SUMMARY.c.job_id.in_(bindparam("job_ids", expanding=True)),
        JOB_SUMMARY.c.metric.in_(bindparam("metrics", expanding=True)),
    )
    for goal in ("min", "max")
}


class Selection(TypedDict, total=False):
    """Which checkpoints of a job, and how; metric names are taken as they are or by what they stand for."""

    first_step: int | None
    """The lowest step wanted, inclusive."""
    last_step: int | None
    """The highest step wanted, inclusive."""
    metrics: Collection[str] | None
    """Each checkpoint carries these metrics alone; checkpoints that have none of them come too."""
    created_from: int | None
    """UNIX seconds, inclusive."""
    created_to: int | None
    """UNIX seconds, inclusive."""
    within: Mapping[str, tuple[float | None, float | None]] | None
    """Metric names with the least and greatest value, inclusive, None for no bound: each must be a number
    inside. NaN, null, infinities and placeholders never are."""
    newest_first: bool
    """From the highest step down."""


class CheckpointQueries(ValueQueries):
    """Queries that answer with checkpoints."""

    def checkpoint(self, job_id: str, step_number: int) -> CheckpointOut:
        """Give the checkpoint of a job at a step. Raises `JobNotFound` or `CheckpointNotFound`."""
        found = self.checkpoints(job_id, first_step=step_number, last_step=step_number)
        if not found:
            raise CheckpointNotFound(job_id, step_number)
        return found[0]

    def checkpoints(self, job_id: str, **selection: Unpack[Selection]) -> list[CheckpointOut]:
        """Give the checkpoints of a job as a list, in step order. See `stream_checkpoints`."""
        with quiet_collector():  # after each window it would go through all windows before
            return list(chain.from_iterable(self._windows(job_id, **selection)))

    def stream_checkpoints(self, job_id: str, **selection: Unpack[Selection]) -> Iterator[CheckpointOut]:
        """Give the checkpoints of a job one by one, in step order, in constant memory.

        `Selection` says which. The transaction must stay open while the stream is read.
        """
        yield from chain.from_iterable(self._windows(job_id, **selection))

    def _windows(
        self,
        job_id: str,
        *,
        first_step: int | None = None,
        last_step: int | None = None,
        metrics: Collection[str] | None = None,
        created_from: int | None = None,
        created_to: int | None = None,
        within: Mapping[str, tuple[float | None, float | None]] | None = None,
        newest_first: bool = False,
    ) -> Iterator[list[CheckpointOut]]:
        job_key, names = self._job_and_names(job_id)
        wanted = self._wanted(job_key, names, metrics)
        statement = self._filtered(_WINDOWS[newest_first], job_key, created_from, created_to, within)
        if statement is None:
            return
        filtered = bool(within) or created_from is not None or created_to is not None
        only = (
            None if metrics is None else frozenset(names[name_id] for name_id in wanted) | frozenset(metrics)
        )
        size = max(_FEWEST_ROWS, _VALUES_A_WINDOW // max(_VALUES_A_ROW, len(names)))
        first, last = step_bounds(first_step, last_step)
        while first <= last:
            bounds = {"job_key": job_key, "first_step": first, "last_step": last, "size": size}
            with quiet_collector():
                rows = self._fetched(statement, bounds)
                window = self._filled(job_key, rows, wanted, names, only=only, with_gaps=filtered)
            if not rows:
                return
            yield window
            if len(rows) < size:
                return
            if newest_first:
                last = rows[-1][0] - 1
            else:
                first = rows[-1][0] + 1

    def _wanted(self, job_key: int, names: Mapping[int, str], metrics: Collection[str] | None) -> list[int]:
        if metrics is None:
            return sorted(names)
        refuse_text(metrics, "metrics")
        found = [self._series_of([job_key], metric) for metric in dict.fromkeys(metrics)]
        return sorted({series[job_key][0] for series in found if series})

    def _filtered(
        self,
        statement: Select[*tuple[Any, ...]],
        job_key: int,
        created_from: int | None,
        created_to: int | None,
        within: Mapping[str, tuple[float | None, float | None]] | None,
    ) -> Select[*tuple[Any, ...]] | None:
        """Narrow a statement down to the checkpoints wanted; None when there can be none."""
        if created_from is not None:
            statement = statement.where(CheckpointRow.created_at >= within_bigint(created_from))
        if created_to is not None:
            statement = statement.where(CheckpointRow.created_at <= within_bigint(created_to))
        for metric, (least, greatest) in (within or {}).items():
            series = self._series_of([job_key], metric)
            if not series:
                return None
            # A value looked up for each step: as a join, PostgreSQL may pair every step with every value.
            row = aliased(MetricRow)
            value = (
                select(row.value)
                .where(
                    row.job_key == job_key,
                    row.name_id == series[job_key][0],
                    row.step_number == CheckpointRow.step_number,
                )
                .correlate(CheckpointRow)
                .scalar_subquery()
            )
            lowest = -math.inf if least is None else _number(least)
            highest = math.inf if greatest is None else _number(greatest)
            statement = statement.where(value.between(lowest, highest))
        return statement

    def _filled(
        self,
        job_key: int,
        rows: Sequence[Any],
        name_ids: Sequence[int],
        names: Mapping[int, str],
        *,
        only: frozenset[str] | None = None,
        with_gaps: bool = False,
    ) -> list[CheckpointOut]:
        """Give rows of checkpoints, in step order either way, their metrics.

        ``with_gaps`` says that between the first and the last there are stored steps that are not wanted,
        maybe very many: what lies between is not read then.
        """
        if not rows:
            return []
        if with_gaps:
            values = self._values_at(job_key, name_ids, [row[0] for row in rows])
            return checkpoints_from(rows, values, names, only)
        ends = (rows[0][0], rows[-1][0])
        series = self._series_between(job_key, name_ids, min(ends), max(ends), len(rows))
        return checkpoints_of_series(rows, series, names, only)

    # -- the one that matters ---------------------------------------------------------------

    def latest_checkpoint(self, job_id: str) -> CheckpointOut | None:
        """Give the checkpoint of the highest step, or None while the job has none."""
        return self.latest_checkpoints([job_id]).get(job_id)

    def latest_checkpoints(self, job_ids: Iterable[str] | None = None) -> dict[str, CheckpointOut]:
        """Give the checkpoint of the highest step of each job (of all jobs: None), in the order asked for.

        Jobs without checkpoints are left out.
        """
        keys = self._job_keys(job_ids)
        steps = self._last_steps(list(keys.values()))
        found = self._at(steps)
        return {job_id: found[job_key] for job_id, job_key in keys.items() if job_key in found}

    def _last_steps(self, job_keys: Sequence[int]) -> dict[int, int]:
        """Give the highest step of each job that has a checkpoint."""
        found: dict[int, int] = {}
        for some in portions(job_keys):
            rows = self._fetched(_LAST_STEPS, {"job_keys": some})
            found.update((job_key, step) for job_key, step in rows if step is not None)
        return found

    def _one_a_job(self, statement: Executable, parameters: Any) -> dict[int, CheckpointOut]:
        """Give the checkpoint of each job, by its key, that a form of ``_ONE_A_JOB`` finds."""
        rows: dict[int, tuple[int, int, str | None]] = {}
        names: dict[int, str] = {}
        values = []
        for job_key, step, created_at, extra, name_id, name, value, kind, valued in self._fetched(
            statement, parameters
        ):
            rows[job_key] = (step, created_at, extra)
            if valued is not None:
                names[name_id] = name
                values.append((name_id, job_key, value, kind))
        values.sort(key=itemgetter(0))
        built = checkpoints_from(list(rows.values()), values, names, keys=list(rows))
        return dict(zip(rows, built, strict=True))

    def _at(self, steps: Mapping[int, int]) -> dict[int, CheckpointOut]:
        """Give one checkpoint of each job, by its key; ``steps`` says which."""
        found: dict[int, CheckpointOut] = {}
        if self._connection.dialect.name == "sqlite":
            pairs = list(steps.items())
            for first in range(0, len(pairs), _PAIRS_AT_ONCE):
                at_once = pairs[first : first + _PAIRS_AT_ONCE]
                keys = {f"job_key_{number}": job_key for number, (job_key, _) in enumerate(at_once)}
                asked = {f"step_{number}": step for number, (_, step) in enumerate(at_once)}
                found.update(self._one_a_job(_at_pairs_sqlite(len(at_once)), keys | asked))
            return found
        statement = _AT_PAIRS_CITUS if has_citus(self._connection) else _AT_PAIRS_POSTGRESQL
        for some in portions(list(steps.items())):
            job_keys, at = (list(part) for part in zip(*some, strict=True))
            found.update(self._one_a_job(statement, {"job_keys": job_keys, "steps": at}))
        return found

    def best_checkpoint(self, job_id: str, metric: str, goal: Goal = "min") -> CheckpointOut | None:
        """Give the checkpoint with the lowest (``goal="max"``: highest) value of a metric.

        NaN, null, infinities and placeholders never win; of equal values the lowest step does. None when no
        step has a number, also when the job never reported the metric.
        """
        return self.best_checkpoints(metric, goal, job_ids=[job_id]).get(job_id)

    def best_checkpoints(
        self, metric: str, goal: Goal = "min", *, job_ids: Iterable[str] | None = None
    ) -> dict[str, CheckpointOut]:
        """Give the best checkpoint of each job (of all jobs: None), the best job first: a leaderboard.

        Jobs that are equally good come in order of their ids; jobs without a number are left out.
        """
        if goal not in ("min", "max"):
            raise InvalidArgument(f"goal is min or max, not {goal!r}")
        keys = self._job_keys(job_ids)
        series = self._series_of(keys.values(), metric)
        names = {job_id: series[job_key][1] for job_id, job_key in keys.items() if job_key in series}
        ranked = [
            (value if goal == "min" else -value, job_id, step)
            for job_id, value, step in self._best_steps(names, goal)
        ]
        found = self._at({keys[job_id]: step for _, job_id, step in ranked})
        for _, job_id, step in ranked:
            if keys[job_id] not in found:
                raise DatabaseDamaged(
                    f"job {shortened(job_id)!r}: the summary of {shortened(names[job_id])!r} names step "
                    f"{step}, which is not stored; `tuneledger verify --repair` makes it anew"
                )
        return {job_id: found[keys[job_id]] for _, job_id, _ in sorted(ranked)}

    def _best_steps(self, names: Mapping[str, str], goal: Goal) -> Iterator[tuple[str, float, int]]:
        """Find (job_id, value, step) of the best number of each job; ``names`` gives the metric by job id."""
        metrics = sorted(set(names.values()))
        for some in portions(list(names)):
            wanted = {"job_ids": some, "metrics": metrics}
            for job_id, metric, value, step in self._execute(_BEST[goal], wanted):
                if metric == names[job_id] and step is not None:
                    yield job_id, value, step

    def _of_steps(self, job_key: int, steps: Sequence[int]) -> dict[int, CheckpointOut]:
        """Give the stored checkpoints of some steps; steps that are not stored are left out."""
        names = self._names_of(job_key)
        found: dict[int, CheckpointOut] = {}
        for some in portions(steps):
            rows = self._fetched(_CHECKPOINTS_AT, {"job_key": job_key, "steps": some})
            filled = checkpoints_from(rows, self._values_at(job_key, list(names), some), names)
            found.update((checkpoint.step_number, checkpoint) for checkpoint in filled)
        return found

    def count_checkpoints(
        self, job_id: str | None = None, *, first_step: int | None = None, last_step: int | None = None
    ) -> int:
        """Count the checkpoints of a job between two steps (inclusive), or of all jobs."""
        first, last = step_bounds(first_step, last_step)
        statement = select(func.count()).select_from(CheckpointRow)
        if job_id is not None:
            statement = statement.where(CheckpointRow.job_key == self._job_key(job_id))
        if first_step is not None or last_step is not None:
            statement = statement.where(CheckpointRow.step_number.between(first, last))
        count: int = self._execute(statement).scalar_one()
        return count


def _number(bound: float) -> float:
    """Give a bound as a double. Raises `InvalidArgument` for NaN, which each engine sorts elsewhere."""
    try:
        number = float(bound)
    except OverflowError:  # an integer beyond all doubles
        return math.inf if bound > 0 else -math.inf
    if math.isnan(number):
        raise InvalidArgument("a bound is a number, not NaN")
    return number


def step_bounds(first_step: int | None, last_step: int | None) -> tuple[int, int]:
    """Give both bounds; one outside of what a step can be is as good as none."""
    largest = 2**63 - 1
    first = 0 if first_step is None else max(0, first_step)
    last = largest if last_step is None else min(largest, last_step)
    return (first, last) if first <= largest and last >= 0 else (1, 0)
