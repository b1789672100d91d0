"""The summary of each series, kept beside every write, under the job's lock.

An append adds to it what the new values tell, whatever the length of the series; where values change
or go, the series is read again. What a job's summaries are of stands in its ``summary_digest``.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import aliased

from tuneledger.engine import insert_columns, insert_rows, translated
from tuneledger.repository.checkpoints import CheckpointQueries
from tuneledger.repository.scope import portions
from tuneledger.tables import SUMMARY_COLUMNS, JobMetricRow, MetricRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import ScalarSelect, Update
    from sqlalchemy.orm import DeclarativeBase

    from tuneledger.mapping import SeriesColumns

__all__ = ["MERGING", "SummaryWriting"]


def _merging() -> str:
    """Write the clause by which the summary of new steps goes into the stored one of the same series."""
    better = {
        "first": "excluded.first_step < job_metrics.first_step",
        "last": "excluded.last_step > job_metrics.last_step",
        "min": "excluded.min_value < job_metrics.min_value"
        " OR (excluded.min_value = job_metrics.min_value AND excluded.min_step < job_metrics.min_step)",
        "max": "excluded.max_value > job_metrics.max_value"
        " OR (excluded.max_value = job_metrics.max_value AND excluded.max_step < job_metrics.max_step)",
    }
    # Without a number_count nothing of the row counts, and a sum with NULL leaves it so.
    sets = ["number_count = job_metrics.number_count + excluded.number_count"]
    sets += [
        f"{name}_{what} = CASE WHEN job_metrics.{name}_step IS NULL OR {condition} "
        f"THEN excluded.{name}_{what} ELSE job_metrics.{name}_{what} END"
        for name, condition in better.items()
        for what in ("step", "value")
    ]
    # Steps without a number change nothing, so their row is not written either.
    return f"ON CONFLICT (job_key, name_id) DO UPDATE SET {', '.join(sets)} WHERE excluded.number_count > 0"


MERGING = _merging()
_COLUMNS = ("job_key", "name_id", *SUMMARY_COLUMNS)


@cache
def _recomputing() -> Update:
    """Make the statement that reads series of a job again."""
    number = MetricRow.value.is_not(None)
    read = (
        select(
            MetricRow.job_key,
            MetricRow.name_id,
            func.count(MetricRow.value).label("number_count"),
            func.min(MetricRow.step_number).filter(number).label("first_step"),
            func.max(MetricRow.step_number).filter(number).label("last_step"),
            func.min(MetricRow.value).label("min_value"),
            func.max(MetricRow.value).label("max_value"),
        )
        .where(
            MetricRow.job_key == bindparam("of_job"),
            MetricRow.name_id.in_(bindparam("of_names", expanding=True)),
        )
        .group_by(MetricRow.job_key, MetricRow.name_id)
        .subquery("read")
    )
    row = aliased(MetricRow)

    def found(wanted: Any, condition: Any) -> ScalarSelect[Any]:
        of_series = (row.job_key == read.c.job_key, row.name_id == read.c.name_id)
        return select(wanted).where(*of_series, condition).correlate(read).scalar_subquery()

    return (
        update(JobMetricRow)
        .where(JobMetricRow.job_key == read.c.job_key, JobMetricRow.name_id == read.c.name_id)
        .values(
            number_count=read.c.number_count,
            first_step=read.c.first_step,
            first_value=found(row.value, row.step_number == read.c.first_step),
            last_step=read.c.last_step,
            last_value=found(row.value, row.step_number == read.c.last_step),
            min_step=found(func.min(row.step_number), row.value == read.c.min_value),
            min_value=read.c.min_value,
            max_step=found(func.min(row.step_number), row.value == read.c.max_value),
            max_value=read.c.max_value,
        )
    )


class SummaryWriting(CheckpointQueries):
    """Keeps the rows of ``job_metrics``: that a series is there, and its summary."""

    def _rows(
        self,
        row_class: type[DeclarativeBase],
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        on_conflict: str = "",
    ) -> None:
        with translated():
            insert_rows(
                self._connection, row_class, columns, rows, schema=self._schema, on_conflict=on_conflict
            )

    def _columns_of_rows(
        self,
        row_class: type[DeclarativeBase],
        shared: Mapping[str, Any],
        blocks: Iterable[tuple[Mapping[str, Any], Mapping[str, Sequence[Any]]]],
    ) -> None:
        with translated():
            insert_columns(self._connection, row_class, shared, blocks, schema=self._schema)

    def _add_to_summaries(self, job_key: int, series: Mapping[int, SeriesColumns]) -> None:
        """Take in new steps, given by name_id."""
        rows = [(job_key, name_id, *_summary(series[name_id])) for name_id in sorted(series)]
        self._rows(JobMetricRow, _COLUMNS, rows, on_conflict=MERGING)

    def _note_series(self, job_key: int, name_ids: Iterable[int]) -> None:
        """Note that series are there; they have no summary until they are recomputed."""
        rows = [(job_key, name_id) for name_id in sorted(name_ids)]
        self._rows(JobMetricRow, ("job_key", "name_id"), rows, on_conflict="ON CONFLICT DO NOTHING")

    def _recompute_summaries(self, job_key: int, name_ids: Iterable[int]) -> None:
        """Read series of a job again, from their first value to their last."""
        for some in portions(sorted(name_ids)):
            self._execute(_recomputing(), {"of_job": job_key, "of_names": some})


def _summary(columns: SeriesColumns) -> tuple[float | None, ...]:
    """Summarise the steps of one series, in the order of `SUMMARY_COLUMNS`."""
    steps, values = columns.steps, cast("list[float]", columns.values)
    if columns.kinds is not None:
        steps = [step for step, value in zip(steps, columns.values, strict=True) if value is not None]
        values = [value for value in columns.values if value is not None]
        if not steps:
            return (0, *(None,) * (len(SUMMARY_COLUMNS) - 1))
    least, greatest = min(values), max(values)
    # index() finds the first, which is the lowest step of equal values.
    return (
        len(values),
        steps[0],
        values[0],
        steps[-1],
        values[-1],
        steps[values.index(least)],
        least,
        steps[values.index(greatest)],
        greatest,
    )
