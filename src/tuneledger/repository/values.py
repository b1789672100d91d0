"""The values of checkpoints, found by job, name and step on either engine: the key of ``metrics``.

SQLite seeks each name of a list. PostgreSQL, as long as it has no statistics, takes a range of steps for
few rows and reads it from every series of the job: the whole job's index. So there the names come as rows,
and for each a query that the planner does not take apart (``OFFSET 0``). Where a range is long, SQLite is
asked for each name by itself: a row that does not name it again is made and taken apart in less time.
"""

from __future__ import annotations

from itertools import chain, groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import ARRAY, BigInteger, Integer, bindparam, func, literal_column, select, true

from tuneledger.repository.scope import Scope, portions
from tuneledger.tables import MetricRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["ValueQueries"]

_LONG = 2_000
"""Steps from which a statement costs less than what it spares in the rows."""

_OF_JOB = select(MetricRow.name_id, MetricRow.step_number, MetricRow.value, MetricRow.kind).where(
    MetricRow.job_key == bindparam("job_key")
)
_BETWEEN = _OF_JOB.where(
    MetricRow.step_number >= bindparam("first_step"), MetricRow.step_number <= bindparam("last_step")
)
_SERIES_BETWEEN = (
    select(MetricRow.step_number, MetricRow.value, MetricRow.kind)
    .where(MetricRow.job_key == bindparam("job_key"), MetricRow.name_id == bindparam("name_id"))
    .where(MetricRow.step_number >= bindparam("first_step"), MetricRow.step_number <= bindparam("last_step"))
)
_BY_LIST = MetricRow.name_id.in_(bindparam("name_ids", expanding=True))
_NAMES = func.unnest(bindparam("name_ids", type_=ARRAY(Integer))).table_valued("name_id").render_derived()
_STEPS = func.unnest(bindparam("steps", type_=ARRAY(BigInteger))).table_valued("step").render_derived()
_RANGE_OF_NAME = _BETWEEN.where(MetricRow.name_id == _NAMES.c.name_id).offset(literal_column("0")).lateral()
_ONE = (
    _OF_JOB.where(MetricRow.name_id == _NAMES.c.name_id, MetricRow.step_number == _STEPS.c.step)
    .offset(literal_column("0"))
    .lateral()
)

_VALUES_BETWEEN = {
    "sqlite": _BETWEEN.where(_BY_LIST),
    "postgresql": select(_RANGE_OF_NAME).select_from(_NAMES).join(_RANGE_OF_NAME, true()),
}
_VALUES_AT = {
    "sqlite": _OF_JOB.where(_BY_LIST, MetricRow.step_number.in_(bindparam("steps", expanding=True))),
    "postgresql": select(_ONE).select_from(_NAMES).join(_STEPS, true()).join(_ONE, true()),
}


class ValueQueries(Scope):
    """Queries that answer with rows (name_id, step_number, value, kind), in no order, or series by series."""

    def _values_between(
        self, job_key: int, name_ids: Sequence[int], first_step: int, last_step: int
    ) -> Iterable[Any]:
        statement = _VALUES_BETWEEN[self._connection.dialect.name]
        bounds = {"job_key": job_key, "first_step": first_step, "last_step": last_step}
        return chain.from_iterable(
            self._fetched(statement, {**bounds, "name_ids": some}) for some in portions(name_ids)
        )

    def _series_between(
        self, job_key: int, name_ids: Sequence[int], first_step: int, last_step: int, count: int
    ) -> Iterator[tuple[int, Iterable[Any]]]:
        """Give series as `checkpoints_of_series` takes them; ``count`` is about how many steps there are."""
        if count < _LONG or self._connection.dialect.name != "sqlite":
            values = self._values_between(job_key, name_ids, first_step, last_step)
            yield from groupby(values, key=itemgetter(0))
            return
        bounds = {"job_key": job_key, "first_step": first_step, "last_step": last_step}
        for name_id in name_ids:
            yield name_id, self._fetched(_SERIES_BETWEEN, {**bounds, "name_id": name_id})

    def _values_at(self, job_key: int, name_ids: Sequence[int], steps: Sequence[int]) -> Iterable[Any]:
        statement = _VALUES_AT[self._connection.dialect.name]
        return chain.from_iterable(
            self._fetched(statement, {"job_key": job_key, "name_ids": some, "steps": of_steps})
            for of_steps in portions(steps)
            for some in portions(name_ids)
        )
