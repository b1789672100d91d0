"""A curve thinned out in SQL: the ends of a series, and the lowest and highest number of each bucket.

Buckets are equally wide ranges of steps, and each is looked through by a seek of its own: to group a series
by bucket, both engines sort all of it first, which takes twice as long.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, case, literal_column, select, union_all
from sqlalchemy.orm import aliased

from tuneledger.tables import JobMetricRow, MetricRow

if TYPE_CHECKING:
    from sqlalchemy import BindParameter, ScalarSelect, Select

__all__ = ["bucket_parameters", "longer", "thinned"]

_NAME_ID: BindParameter[int] = bindparam("name_id")
_BOUNDS: tuple[BindParameter[int], BindParameter[int]] = bindparam("first_step"), bindparam("last_step")


def bucket_parameters(points: int) -> dict[str, int]:
    """Give what `thinned` takes so that a series has no more than ``points`` (2 or more)."""
    buckets = (points - 2) // 2
    return {"buckets": buckets, "divisor": max(buckets, 1)}  # one without buckets still has a width


def _step(
    job_key: Any, bounds: tuple[Any, Any], order: str, *, numbers: bool = True, offset: Any = None
) -> ScalarSelect[int]:
    """Seek one step of a job's series between two, inclusive; NULL for none."""
    row = aliased(MetricRow)
    orders: dict[str, list[Any]] = {
        "first": [row.step_number],
        "last": [row.step_number.desc()],
        # Of equal numbers the lowest step stands for all.
        "lowest": [row.value, row.step_number],
        "highest": [row.value.desc(), row.step_number],
    }
    first, last = bounds
    wanted = [row.job_key == job_key, row.name_id == _NAME_ID]
    wanted += [row.step_number >= first, row.step_number <= last]
    if numbers:
        wanted.append(row.value.is_not(None))
    found = select(row.step_number).where(*wanted).order_by(*orders[order])
    return found.limit(1).offset(offset).scalar_subquery()


# Made when first asked for: these two take as long to make as all other statements together.
@cache
def longer() -> Select[int]:
    """Find the job_keys of series that have more than ``points`` steps, numbers or not."""
    return select(JobMetricRow.job_key).where(
        JobMetricRow.name_id == _NAME_ID,
        JobMetricRow.job_key.in_(bindparam("job_keys", expanding=True)),
        _step(JobMetricRow.job_key, _BOUNDS, "first", numbers=False, offset=bindparam("points")).is_not(None),
    )


@cache
def thinned() -> Select[int, float | None]:
    """Find rows of (step, number) of one series, in no order, some more than once; none without a number."""
    # The key is said wherever a table is read: Citus finds the one node to ask by it.
    job_key: BindParameter[int] = bindparam("job_key")
    ends = select(
        _step(job_key, _BOUNDS, "first").label("first_step"),
        _step(job_key, _BOUNDS, "last").label("last_step"),
    ).cte("ends")
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
            begin.label("first_step"),
            # Up to the highest step there can be, which no sum may pass.
            case((last - begin < width, last), else_=begin + width - 1).label("last_step"),
        )
        .where(numbered.c.number < bindparam("buckets"), numbered.c.number <= (last - first) // width)
        .cte("buckets")
    )
    of_bucket = (buckets.c.first_step, buckets.c.last_step)
    shown = (
        union_all(
            select(first.label("step_number")),
            select(last),
            select(_step(job_key, of_bucket, "lowest")).select_from(buckets),
            select(_step(job_key, of_bucket, "highest")).select_from(buckets),
        )
        .cte("shown")
        .prefix_with("MATERIALIZED")
    )
    # No join, whose order is the planner's choice: before a table's first statistics PostgreSQL would seek
    # every bucket anew for each row of the series.
    numbers = select(MetricRow.value).where(
        MetricRow.job_key == job_key,
        MetricRow.name_id == _NAME_ID,
        MetricRow.step_number == shown.c.step_number,
    )
    return select(shown.c.step_number, numbers.scalar_subquery()).where(shown.c.step_number.is_not(None))
