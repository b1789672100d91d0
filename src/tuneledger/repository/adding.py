"""Adding rows that are known to be new: the engines' fastest ways, the ids of metric names."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, select

from tuneledger.engine import insert_into
from tuneledger.mapping import CheckpointColumns, EventValues, SeriesColumns
from tuneledger.models import CANONICAL_METRIC_NAMES
from tuneledger.repository.records import Input
from tuneledger.repository.scope import portions
from tuneledger.repository.summaries import SummaryWriting
from tuneledger.tables import CheckpointRow, EventRow, InputRow, JobStateRow, MetricNameRow, MetricRow

if TYPE_CHECKING:
    from sqlalchemy.orm import DeclarativeBase

__all__ = ["RowAdding"]

_NAME_IDS = select(MetricNameRow.name, MetricNameRow.name_id).where(
    MetricNameRow.name.in_(bindparam("names", expanding=True))
)


class RowAdding(SummaryWriting):
    """Inserts what belongs to a job, of which the caller holds the lock."""

    def _insert(self, row_class: type[DeclarativeBase]) -> Any:
        return insert_into(self._connection.dialect.name, row_class)

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
                # A file's name may hold bytes that are no text.
                "name": given.name.encode(errors="backslashreplace").decode().replace("\0", "\\0"),
                "format": given.format,
                "size_bytes": given.size_bytes,
                "tuneledger_version": version("tuneledger"),
                "archived_at": int(time.time()),
            }
            self._execute(self._insert(InputRow).values(values).on_conflict_do_nothing())

    def _add_checkpoints(
        self, job_key: int, columns: CheckpointColumns, name_ids: Mapping[str, int] | None = None
    ) -> None:
        """Add checkpoints of new steps; ``name_ids`` gives the ids of their metrics where they are known."""
        rows: dict[str, Sequence[Any]] = {
            "step_number": columns.steps,
            "created_at": columns.times,
            "digest": columns.digests,
        }
        if any(columns.extras):
            rows["extra"] = columns.extras
        if columns.steps:
            self._columns_of_rows(CheckpointRow, {"job_key": job_key}, [({}, rows)])
        self._add_series(job_key, columns.series, name_ids or self._name_ids(columns.series))

    def _add_series(
        self, job_key: int, series: Mapping[str, SeriesColumns], name_ids: Mapping[str, int]
    ) -> None:
        by_id = {name_ids[name]: series[name] for name in sorted(series, key=name_ids.__getitem__)}
        self._add_to_summaries(job_key, by_id)
        blocks = []
        for name_id, columns in by_id.items():
            rows: dict[str, Sequence[Any]] = {"step_number": columns.steps, "value": columns.values}
            if columns.kinds is not None:
                rows["kind"] = columns.kinds
            blocks.append(({"name_id": name_id}, rows))
        if blocks:
            self._columns_of_rows(MetricRow, {"job_key": job_key}, blocks)

    def _name_ids(self, names: Iterable[str]) -> dict[str, int]:
        """Give the ids of metric names, adding those that no job had yet."""
        wanted = sorted(names)
        if not wanted:
            return {}
        found = self._stored_name_ids(wanted)
        missing = [name for name in wanted if name not in found]
        if missing:
            # In one order, for two writers that add the same names wait for each other.
            rows = [{"name": name, "canonical": CANONICAL_METRIC_NAMES.get(name, name)} for name in missing]
            statement = self._insert(MetricNameRow).on_conflict_do_nothing(index_elements=["name"])
            self._execute(statement, rows)
            found |= self._stored_name_ids(missing)
        return found

    def _stored_name_ids(self, names: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for some in portions(names):
            found |= self._pairs(_NAME_IDS, {"names": some})
        return found
