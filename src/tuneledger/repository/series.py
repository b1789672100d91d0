"""Series: one metric of jobs as columns, whole or thinned out for a picture."""

from __future__ import annotations

import math
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, case, select

from tuneledger.errors import ExtraMissing, InvalidArgument, MetricNotFound
from tuneledger.mapping import Kind, metric_from, quiet_collector
from tuneledger.repository.checkpoints import step_bounds
from tuneledger.repository.records import Columns, Series, SeriesSummary
from tuneledger.repository.scope import Scope, portions, refuse_flawed, refuse_text
from tuneledger.repository.thinning import bucket_parameters, longer, thinned
from tuneledger.tables import JOB_SUMMARY, SUMMARY_COLUMNS, CheckpointRow, MetricRow

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

__all__ = ["SeriesQueries"]

_OF_NAME = (
    MetricRow.name_id == bindparam("name_id"),
    MetricRow.step_number >= bindparam("first_step"),
    MetricRow.step_number <= bindparam("last_step"),
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
    .where(MetricRow.job_key == bindparam("job_key"), *_OF_NAME)
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
_SERIES = (
    select(MetricRow.job_key, MetricRow.step_number, MetricRow.value, MetricRow.kind)
    .where(*_OF_NAME, MetricRow.job_key.in_(bindparam("job_keys", expanding=True)))
    .order_by(MetricRow.job_key, MetricRow.step_number)
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
        first, last = step_bounds(first_step, last_step)
        columns: dict[int, tuple[list[int], list[float | None]]] = {}
        for name_id in sorted({name_id for name_id, _ in series.values()}):
            range_of = {"name_id": name_id, "first_step": first, "last_step": last}
            of_name = [job_key for job_key, (found, _) in series.items() if found == name_id]
            for some in portions(of_name):
                columns.update(self._columns(range_of, some, points))
        return {
            job_id: Series(job_id, series[job_key][1], *columns.get(job_key, ([], [])))
            for job_id, job_key in keys.items()
            if job_key in series
        }

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
        first, last = step_bounds(first_step, last_step)
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
        refuse_flawed(job_id)
        rows = self._execute(_SUMMARIES, {"job_id": job_id}).all()
        if not rows:
            self._job_key(job_id)
        return {row[0]: SeriesSummary(*row) for row in rows}

    def _columns(
        self, range_of: dict[str, int], job_keys: Sequence[int], points: int | None
    ) -> dict[int, tuple[list[int], list[float | None]]]:
        """Give the steps and values of one metric's series by job; a job without any in range is left out."""
        too_long: list[int] = []
        found: dict[int, tuple[list[int], list[float | None]]] = {}
        if points is not None:
            asked = {**range_of, "job_keys": job_keys, "points": points}
            too_long = [row[0] for row in self._fetched(longer(), asked)]
            for job_key in too_long:
                of_job = {**range_of, **bucket_parameters(points), "job_key": job_key}
                steps, values = _transposed(sorted(set(self._fetched(thinned(), of_job))))
                found[job_key] = (list(steps), list(values))
        whole = list(set(job_keys).difference(too_long))
        if whole:
            rows = self._fetched(_SERIES, {**range_of, "job_keys": whole})
            for job_key, rows_of_job in groupby(rows, itemgetter(0)):
                _, steps, values, kinds = zip(*rows_of_job, strict=True)
                found[job_key] = (list(steps), list(map(metric_from, values, kinds)))
        return found
