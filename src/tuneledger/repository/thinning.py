"""Curves thinned out in SQL: the ends of each series, and the lowest and highest number of each bucket.

Buckets are equally wide ranges of steps, and each is looked through by a seek of its own: to group a series
by bucket, both engines sort all of it first, which takes twice as long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, case, literal_column, select, union_all
from sqlalchemy.orm import aliased

from tuneledger.tables import JobMetricRow, MetricRow

if TYPE_CHECKING:
    from sqlalchemy import ScalarSelect, Select

__all__ = ["LONGER", "THINNED", "bucket_parameters"]

_ASKED = (
    JobMetricRow.name_id == bindparam("name_id"),
    JobMetricRow.job_key.in_(bindparam("job_keys", expanding=True)),
)


def bucket_parameters(points: int) -> dict[str, int]:
    """Give what `THINNED` takes so that no series has more than ``points`` (2 or more)."""
    buckets = (points - 2) // 2
    return {"buckets": buckets, "divisor": max(buckets, 1)}  # one without buckets still has a width


def _step(
    series: Any, first: Any, last: Any, order: str, *, numbers: bool = True, offset: Any = None
) -> ScalarSelect[int]:
    """Seek one step between two, inclusive, in the series that a row of ``series`` names; NULL for none."""
    row = aliased(MetricRow)
    orders: dict[str, list[Any]] = {
        "first": [row.step_number],
        "last": [row.step_number.desc()],
        # Of equal numbers the lowest step stands for all.
        "lowest": [row.value, row.step_number],
        "highest": [row.value.desc(), row.step_number],
    }
    key: Any = JobMetricRow if series is JobMetricRow else series.c
    wanted = [row.job_key == key.job_key, row.name_id == key.name_id]
    wanted += [row.step_number >= first, row.step_number <= last]
    if numbers:
        wanted.append(row.value.is_not(None))
    return (
        select(row.step_number)
        .where(*wanted)
        .order_by(*orders[order])
        .limit(1)
        .offset(offset)
        .correlate(series)
        .scalar_subquery()
    )


def _thinned() -> Select[int, int, float | None]:
    ends = (
        select(
            JobMetricRow.job_key,
            JobMetricRow.name_id,
            _step(JobMetricRow, bindparam("first_step"), bindparam("last_step"), "first").label("first_step"),
            _step(JobMetricRow, bindparam("first_step"), bindparam("last_step"), "last").label("last_step"),
        )
        .where(*_ASKED)
        .cte("ends")
    )
    numbered = select(literal_column("0").label("number")).cte("numbered", recursive=True)
    numbered = numbered.union_all(
        select(numbered.c.number + 1).where(numbered.c.number + 1 < bindparam("buckets"))
    )
    first, last = ends.c.first_step, ends.c.last_step
    # The last step need not be in a bucket, for it is shown as an end; one step more could be beyond 63 bits.
    width = case((last > first, (last - first - 1) // bindparam("divisor") + 1), else_=1)
    begin = first + numbered.c.number * width
    buckets = (
        select(
            ends.c.job_key,
            ends.c.name_id,
            begin.label("first_step"),
            # Up to the highest step there can be, which no sum may pass.
            case((last - begin < width, last), else_=begin + width - 1).label("last_step"),
        )
        .where(numbered.c.number < bindparam("buckets"), numbered.c.number <= (last - first) // width)
        .cte("buckets")
    )
    shown = union_all(
        select(ends.c.job_key, ends.c.name_id, ends.c.first_step.label("step_number")),
        select(ends.c.job_key, ends.c.name_id, ends.c.last_step),
        *(
            select(
                buckets.c.job_key,
                buckets.c.name_id,
                _step(buckets, buckets.c.first_step, buckets.c.last_step, extreme),
            )
            for extreme in ("lowest", "highest")
        ),
    ).cte("shown")
    return select(MetricRow.job_key, MetricRow.step_number, MetricRow.value).where(
        MetricRow.job_key == shown.c.job_key,
        MetricRow.name_id == shown.c.name_id,
        MetricRow.step_number == shown.c.step_number,
    )


LONGER = select(JobMetricRow.job_key).where(
    *_ASKED,
    _step(
        JobMetricRow,
        bindparam("first_step"),
        bindparam("last_step"),
        "first",
        numbers=False,
        offset=bindparam("points"),
    ).is_not(None),
)
"""The job_keys of series that have more than ``points`` steps, numbers or not."""

THINNED = _thinned()
"""Rows of (job_key, step, number) in no order, some more than once; a series without a number gives none."""
