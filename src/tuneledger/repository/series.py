"""Series: one metric of jobs as columns, whole or thinned out for a picture."""

from __future__ import annotations

import math
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, case, func, or_, select

from tuneledger.errors import ExtraMissing, InvalidArgument, MetricNotFound
from tuneledger.mapping import Kind, metric_from, quiet_collector
from tuneledger.repository.checkpoints import _bounds
from tuneledger.repository.records import Columns, Series, SeriesSummary
from tuneledger.repository.scope import Scope, refuse_text
from tuneledger.tables import JOB_SUMMARY, SUMMARY_COLUMNS, CheckpointRow, MetricRow

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

__all__ = ["SeriesQueries"]

_IN_RANGE = (
    MetricRow.job_key == bindparam("job_key"),
    MetricRow.name_id == bindparam("name_id"),
    MetricRow.step_number >= bindparam("first_step"),
    MetricRow.step_number <= bindparam("last_step"),
)
_SERIES = (
    select(MetricRow.step_number, MetricRow.value, MetricRow.kind)
    .where(*_IN_RANGE)
    .order_by(MetricRow.step_number)
)
# What is no number is NULL here, which an array of doubles holds as NaN.
_ARRAY = (
    select(
        MetricRow.step_number,
        case(
            (MetricRow.kind == Kind.POSITIVE_INFINITY, bindparam("infinity", math.inf)),
            (MetricRow.kind == Kind.NEGATIVE_INFINITY, -bindparam("infinity", math.inf)),
            else_=MetricRow.value,
        ),
    )
    .where(*_IN_RANGE)
    .order_by(MetricRow.step_number)
)
_STEPS = (
    select(CheckpointRow.step_number, CheckpointRow.created_at)
    .where(
        CheckpointRow.job_key == bindparam("job_key"),
        CheckpointRow.step_number >= bindparam("first_step"),
        CheckpointRow.step_number <= bindparam("last_step"),
    )
    .order_by(CheckpointRow.step_number)
)
_ENDS = select(func.min(MetricRow.step_number), func.max(MetricRow.step_number)).where(
    *_IN_RANGE, MetricRow.value.is_not(None)
)
_NUMBERS = (
    select(
        MetricRow.step_number.label("step_number"),
        MetricRow.value.label("value"),
        ((MetricRow.step_number - bindparam("first_step")) // bindparam("width")).label("bucket"),
    )
    .where(*_IN_RANGE, MetricRow.value.is_not(None))
    .cte("numbers")
)
_EXTREMES = (
    select(
        _NUMBERS.c.bucket.label("bucket"),
        func.min(_NUMBERS.c.value).label("low"),
        func.max(_NUMBERS.c.value).label("high"),
    )
    .group_by(_NUMBERS.c.bucket)
    .cte("extremes")
)
# Of equal extremes in a bucket the first stands for all.
_THINNED = (
    select(func.min(_NUMBERS.c.step_number), _NUMBERS.c.value)
    .join(_EXTREMES, _EXTREMES.c.bucket == _NUMBERS.c.bucket)
    .where(or_(_NUMBERS.c.value == _EXTREMES.c.low, _NUMBERS.c.value == _EXTREMES.c.high))
    .group_by(_NUMBERS.c.bucket, _NUMBERS.c.value)
)
_AT_ENDS = select(MetricRow.step_number, MetricRow.value).where(
    MetricRow.job_key == bindparam("job_key"),
    MetricRow.name_id == bindparam("name_id"),
    MetricRow.step_number.in_(bindparam("ends", expanding=True)),
)
_SUMMARIES = (
    select(JOB_SUMMARY.c.metric, *(JOB_SUMMARY.c[name] for name in SUMMARY_COLUMNS))
    .where(JOB_SUMMARY.c.job_id == bindparam("job_id"))
    .order_by(JOB_SUMMARY.c.metric)
)

_FEWEST_POINTS = 2


def _transposed(rows: Sequence[tuple[Any, ...]]) -> tuple[Sequence[Any], Sequence[Any]]:
    """Give the two columns of rows."""
    first, second = zip(*rows, strict=True) if rows else ((), ())
    return first, second


class SeriesQueries(Scope):
    """Queries that answer with columns."""

    def metric_names(self, job_id: str) -> list[str]:
        """Give the names of the metrics that any checkpoint of a job carries, in alphabetical order."""
        return sorted(self._names_of(self._job_key(job_id)).values())

    def metric_name(self, job_id: str, metric: str) -> str:
        """Give the name under which a job reports a metric: its own, or one that stands for it.

        Raises `MetricNotFound` when no checkpoint of the job carries it.
        """
        job_key = self._job_key(job_id)
        series = self._series_of([job_key], metric)
        if not series:
            raise MetricNotFound(job_id, metric, tuple(sorted(self._names_of(job_key).values())))
        return series[job_key][1]

    def series(
        self,
        job_ids: Iterable[str],
        metric: str,
        *,
        first_step: int | None = None,
        last_step: int | None = None,
        points: int | None = None,
    ) -> dict[str, Series]:
        """Give a metric of jobs as columns in step order, by job id; jobs without the metric are left out.

        The steps are inclusive. A job may report the metric under a name that stands for it. With
        ``points`` (2 or more) a longer series is thinned out to at most so many: its first and last
        number and the lowest and highest number of each of equally wide ranges of steps, so that no spike is
        lost; what is no number is left out then.
        """
        if points is not None and points < _FEWEST_POINTS:
            raise InvalidArgument(f"points is at least {_FEWEST_POINTS}, not {points}")
        keys = self._job_keys(job_ids)
        series = self._series_of(keys.values(), metric)
        first, last = _bounds(first_step, last_step)
        found: dict[str, Series] = {}
        for job_id, job_key in keys.items():
            if job_key in series:
                name_id, name = series[job_key]
                range_of = {"job_key": job_key, "name_id": name_id, "first_step": first, "last_step": last}
                steps, values = self._columns(range_of, points)
                found[job_id] = Series(job_id, name, steps, values)
        return found

    def columns(
        self,
        job_id: str,
        *,
        metrics: Collection[str] | None = None,
        first_step: int | None = None,
        last_step: int | None = None,
    ) -> Columns:
        """Give checkpoints of a job as NumPy arrays, for computing: faster than models, but less exact.

        The steps are inclusive. Metrics (None: all) are taken as they are or by what they stand for; one that
        the job does not report is left out. Absent, null, NaN and placeholders all are NaN. The whole job is
        held in memory. Raises `ExtraMissing` without the extra ``numpy``, and `JobNotFound`.
        """
        try:
            import numpy as np
        except ModuleNotFoundError:
            raise ExtraMissing("numpy") from None

        job_key, names = self._job_and_names(job_id)
        if metrics is not None:
            refuse_text(metrics, "metrics")
            found = [self._series_of([job_key], metric) for metric in dict.fromkeys(metrics)]
            names = dict(series[job_key] for series in found if series)
        first, last = _bounds(first_step, last_step)
        bounds = {"job_key": job_key, "first_step": first, "last_step": last}
        with quiet_collector():
            rows = self._fetched(_STEPS, bounds)
            steps, times = (np.array(column, np.int64) for column in _transposed(rows))
            values = {}
            for name_id, name in sorted(names.items(), key=itemgetter(1)):
                at, numbers = _transposed(self._fetched(_ARRAY, {**bounds, "name_id": name_id}))
                array = np.array(numbers, np.float64)
                present = np.array(at, np.int64)
                if not np.array_equal(present, steps):
                    whole = np.full(len(steps), np.nan)
                    # Under READ COMMITTED another writer's steps can show up between two queries.
                    known = np.isin(present, steps)
                    whole[np.searchsorted(steps, present[known])] = array[known]
                    array = whole
                values[name] = array
        return Columns(job_id, steps, times, values)

    def summaries(self, job_id: str) -> dict[str, SeriesSummary]:
        """Give the summary of every metric that a job reports, by name, in alphabetical order."""
        rows = self._execute(_SUMMARIES, {"job_id": job_id}).all()
        if not rows:
            self._job_key(job_id)
        return {row[0]: SeriesSummary(*row) for row in rows}

    def _columns(self, range_of: dict[str, int], points: int | None) -> tuple[list[int], list[float | None]]:
        if points is None:
            rows = self._fetched(_SERIES, range_of)
        else:
            rows = self._fetched(_SERIES.limit(points + 1), range_of)
            if len(rows) > points:
                return self._thinned(range_of, points)
        return [row[0] for row in rows], [metric_from(row[1], row[2]) for row in rows]

    def _thinned(self, range_of: dict[str, int], points: int) -> tuple[list[int], list[float | None]]:
        first, last = self._execute(_ENDS, range_of).one()
        if first is None:
            return [], []
        found = self._pairs(
            _AT_ENDS,
            {"job_key": range_of["job_key"], "name_id": range_of["name_id"], "ends": [first, last]},
        )
        buckets = (points - 2) // 2
        if buckets:
            # 2**63, for all steps there can be in one bucket, is no 63-bit number; the last step is an end.
            width = min(-(-(last - first + 1) // buckets), 2**63 - 1)
            inner = {**range_of, "first_step": first, "last_step": last, "width": width}
            found.update(self._pairs(_THINNED, inner))
        steps = sorted(found)
        return steps, [found[step] for step in steps]
