"""Rows from one archive to another as they are: also what no model carries, and without making models.

Every table with a job key is copied, so that a table a later release adds is copied too. Keys of jobs and
ids of metric names are those of the other archive and are exchanged on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import chain, compress, pairwise
from operator import ne
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Unpack, cast

from sqlalchemy import and_, bindparam, delete, func, select, tuple_

from tuneledger.errors import DatabaseDamaged
from tuneledger.mapping import checkpoint_columns, job_content, quiet_collector
from tuneledger.repository.changing import Merged
from tuneledger.repository.digests import DigestQueries
from tuneledger.repository.jobs import JobFilters, has_label, narrowed
from tuneledger.repository.labels import PINNED, LabelWriting
from tuneledger.repository.merging import Decisions, payload_is_newer
from tuneledger.repository.records import OnConflict
from tuneledger.repository.saving import JobWriting
from tuneledger.repository.scope import JOB_KEYS, portions
from tuneledger.tables import (
    Base,
    CheckpointRow,
    EventRow,
    InputRow,
    JobDigestRow,
    JobLabelRow,
    JobMetricRow,
    JobRow,
    MetricNameRow,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sqlalchemy import Column, Select, Table

    from tuneledger.models import Job

__all__ = ["TABLES_OF_A_JOB", "ChangeBeside", "Columns", "JobToCopy", "RowCopying"]

_ROWS_A_WINDOW: Final = 50_000
"""Rows of one table that are in memory at once."""

_ROWS_A_BLOCK: Final = 20
"""Rows of a series, on average, that are worth statements of their own, which bind job and metric once."""

_CLASSES: Final = {mapper.local_table: mapper.class_ for mapper in Base.registry.mappers}
# Parents first, as foreign keys ask.
TABLES_OF_A_JOB: Final = {
    table.name: table
    for table in Base.metadata.sorted_tables
    if "job_key" in table.c and table is not JobRow.__table__
}

Columns = dict[str, Sequence[Any]]
_DIGESTS = (
    select(JobRow.job_id, JobDigestRow.digest)
    .join(JobDigestRow, JobDigestRow.job_key == JobRow.job_key)
    .where(JobRow.job_id.in_(bindparam("job_ids", expanding=True)))
)
_COUNTS = tuple(
    select(row_class.job_key, func.count())
    .where(row_class.job_key.in_(bindparam("job_keys", expanding=True)))
    .group_by(row_class.job_key)
    for row_class in (CheckpointRow, JobMetricRow, EventRow)
)
_NAMES = (
    select(MetricNameRow.name_id, MetricNameRow.name)
    .join(JobMetricRow, JobMetricRow.name_id == MetricNameRow.name_id)
    .where(JobMetricRow.job_key.in_(bindparam("job_keys", expanding=True)))
    .distinct()
)


# Made once a table: a copy asks each table for job after job, and the parts of a statement form cycles, whose
# memory comes back only when the collector looks.
@cache
def _of_jobs(table: Table) -> Select[*tuple[Any, ...]]:
    """Find the rows of jobs, in key order."""
    of_jobs = table.c.job_key.in_(bindparam("job_keys", expanding=True))
    return select(table).where(of_jobs).order_by(*table.primary_key)


@cache
def _of_one_job(table: Table) -> Select[*tuple[Any, ...]]:
    """Find the first rows of one job; the rest of the key says how far one is."""
    of_job = table.c.job_key == bindparam("job_key")
    return select(table).where(of_job).order_by(*_rest_of_key(table)).limit(bindparam("size"))


@cache
def _after(table: Table) -> Select[*tuple[Any, ...]]:
    """Find the rows of one job after one of them."""
    rest = _rest_of_key(table)
    last = tuple_(*(bindparam(f"after_{column.name}", type_=column.type) for column in rest))
    return _of_one_job(table).where(tuple_(*rest) > last)


def _rest_of_key(table: Table) -> list[Column[Any]]:
    return list(table.primary_key)[1:]


# No digest covers these: equal digests say nothing of them.
_BESIDE: Final = tuple(TABLES_OF_A_JOB[row_class.__tablename__] for row_class in (JobLabelRow, InputRow))


class ChangeBeside(NamedTuple):
    """What one table of those that no digest covers lacks of another archive's, or has too much."""

    table: Table
    added: list[tuple[Any, ...]]
    """Rows, the job's id in place of its key."""
    removed: list[tuple[Any, ...]]
    """Keys, the same."""


class JobToCopy(NamedTuple):
    """A job of the archive that is copied from."""

    job_key: int
    job_id: str
    digest: int


class RowCopying(JobWriting, LabelWriting, DigestQueries):
    """Copying jobs between archives, each side by a repository of its own."""

    def jobs_after(
        self,
        job_key: int,
        limit: int,
        *,
        job_ids: Sequence[str] | None = None,
        unpinned: bool = False,
        **filters: Unpack[JobFilters],
    ) -> list[JobToCopy]:
        """Give the jobs after one, as they were archived; 0 begins. The filters are those of `jobs`.

        ``unpinned`` leaves out the pinned ones.
        """
        statement = narrowed(
            select(JobRow.job_key, JobRow.job_id, JobDigestRow.digest).join(
                JobDigestRow, JobDigestRow.job_key == JobRow.job_key
            ),
            **filters,
        )
        if job_ids is not None:
            statement = statement.where(JobRow.job_id.in_(job_ids))
        if unpinned:
            statement = statement.where(~has_label(PINNED))
        rows = self._execute(statement.where(JobRow.job_key > job_key).order_by(JobRow.job_key).limit(limit))
        return [JobToCopy(*row) for row in rows]

    def digests(self, job_ids: Sequence[str]) -> dict[str, int]:
        """Give the digests of those of these jobs that are stored."""
        found: dict[str, int] = {}
        for some in portions(job_ids):
            found.update(self._pairs(_DIGESTS, {"job_ids": some}))
        return found

    def row_counts(self, job_keys: Sequence[int]) -> dict[int, int]:
        """Give about how many rows each job has, no fewer than there are."""
        checkpoints, series, events = (self._pairs(counts, {"job_keys": job_keys}) for counts in _COUNTS)
        return {
            key: checkpoints.get(key, 0) * (1 + series.get(key, 0)) + events.get(key, 0) for key in job_keys
        }

    def copy_new(self, source: RowCopying, job_keys: Sequence[int]) -> set[str]:
        """Copy jobs of ``source`` that are not here; give the ids of those that were copied.

        A job that another writer brought meanwhile is left as it is.
        """
        return self.add_rows(source.rows_of(job_keys))

    def copy_replacing(self, source: RowCopying, job: JobToCopy) -> None:
        """Make a job here exactly what it is in ``source``."""
        self.delete_job(job.job_id)
        self.copy_new(source, [job.job_key])

    def copy_merging(self, source: RowCopying, job: JobToCopy, on_conflict: OnConflict) -> None:
        """Merge a job of ``source`` into the one here, as `save` does, in constant memory.

        Raises `Conflict` as `save` does.
        """
        bare = source.job_without_checkpoints(job.job_id)
        # Before the job itself is merged: afterwards the stored revision may be the one that comes.
        newer = self._is_newer(bare)
        self.save(bare, on_conflict=on_conflict)
        for window in source._windows(job.job_id):
            decisions = Decisions(on_conflict, job.job_id)
            self._merge_steps(job.job_id, window, checkpoint_columns(window), decisions, newer=newer)
        key = self._job_key(job.job_id)
        locked, merged = self._lock(key), Merged()
        states = {(state.revision, state.status) for state in source.states(job.job_id)}
        self._merge_states(key, states, merged, replace=False)
        self._set_digest(key, locked, merged)
        self.change_beside(self.changes_beside(source, [job.job_id]))

    def _is_newer(self, job: Job) -> bool:
        """Tell whether a job's values stand where the stored ones differ; it is locked from then on."""
        stored = self._stored(job.job_id)
        if stored is None or self._lock(stored["job_key"]) is None:
            return True
        return payload_is_newer(job_content(job), job_content(self._stored(job.job_id)))

    def changes_beside(
        self, source: RowCopying, job_ids: Sequence[str], *, exactly: bool = False
    ) -> list[ChangeBeside]:
        """Tell what labels and inputs jobs have in ``source`` alone, or (``exactly``) here alone."""
        changes = []
        for table in _BESIDE:
            theirs, ours = source._rows_beside(table, job_ids), self._rows_beside(table, job_ids)
            added = [theirs[key] for key in sorted(theirs.keys() - ours.keys())]
            removed = sorted(ours.keys() - theirs.keys()) if exactly else []
            if added or removed:
                changes.append(ChangeBeside(table, added, removed))
        return changes

    def change_beside(self, changes: Sequence[ChangeBeside]) -> int:
        """Make these changes to the jobs that are still here; give how many jobs those are."""
        job_ids = {row[0] for change in changes for row in (*change.added, *change.removed)}
        found = self._pairs(JOB_KEYS, {"job_ids": list(job_ids)})
        keys = {job_id: found[job_id] for job_id in sorted(found, key=found.__getitem__)}
        keys = {job_id: job_key for job_id, job_key in keys.items() if self._lock(job_key) is not None}
        for table, added, removed in changes:
            rows = [(keys[row[0]], *row[1:]) for row in added if row[0] in keys]
            columns = ("job_key", *(column.name for column in table.c if column.name != "job_key"))
            self._rows(_CLASSES[table], columns, rows, on_conflict="ON CONFLICT DO NOTHING")
            gone = [(keys[key[0]], *key[1:]) for key in removed if key[0] in keys]
            names = [column.name for column in table.primary_key]
            of_key = and_(*(table.c[name] == bindparam(f"of_{name}") for name in names))
            if gone:
                parameters = [
                    {f"of_{name}": value for name, value in zip(names, key, strict=True)} for key in gone
                ]
                self._execute(delete(table).where(of_key), parameters)
        return len(keys)

    def _rows_beside(self, table: Table, job_ids: Sequence[str]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        """Give rows of jobs by their keys, the job's id in place of its key in both."""
        others = [column for column in table.c if column.name != "job_key"]
        places = [place for place, column in enumerate(others, 1) if column.primary_key]
        rows = self._fetched(
            select(JobRow.job_id, *others)
            .join(table, table.c.job_key == JobRow.job_key)
            .where(JobRow.job_id.in_(job_ids))
        )
        return {(row[0], *(row[place] for place in places)): row for row in rows}

    def rows_of(self, job_keys: Sequence[int]) -> Iterator[tuple[str, Columns]]:
        """Give all rows of jobs: table by table, parents first, as columns by name, in bounded windows.

        In place of keys stand what they mean anywhere: job_id for job_key, metric for name_id.
        """
        jobs = cast("Table", JobRow.__table__)
        columns = self._fetched_columns(_of_jobs(jobs), {"job_keys": job_keys})
        if not columns:
            return
        ids = dict(zip(columns.pop("job_key"), columns["job_id"], strict=True))
        yield JobRow.__tablename__, columns
        names = self._pairs(_NAMES, {"job_keys": list(ids)})
        for table in TABLES_OF_A_JOB.values():
            for window in self._windows_of(table, list(ids)):
                if window:
                    yield table.name, _named(window, ids, names)

    def add_rows(self, windows: Iterable[tuple[str, Columns]]) -> set[str]:
        """Add what `rows_of` gave of new jobs; give the ids of those that were added.

        Rows of a job that is here already are left out.
        """
        keys: dict[str, int] = {}
        name_ids: dict[str, int] = {}
        for name, given in windows:
            columns = dict(given)
            if name == JobRow.__tablename__:
                keys |= self._add_jobs(columns)
                continue
            if not keys.keys() >= set(columns["job_id"]):
                chosen = [job_id in keys for job_id in columns["job_id"]]
                columns = {column: list(compress(values, chosen)) for column, values in columns.items()}
            if columns["job_id"]:
                columns["job_key"] = [keys[job_id] for job_id in columns.pop("job_id")]
                if "metric" in columns:
                    name_ids |= self._name_ids(set(columns["metric"]) - name_ids.keys())
                    columns["name_id"] = [name_ids[metric] for metric in columns.pop("metric")]
                self._columns_of_rows(_CLASSES[TABLES_OF_A_JOB[name]], {}, _blocks(columns))
        return set(keys)

    def _add_jobs(self, columns: Columns) -> dict[str, int]:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        inserting = self._insert(JobRow).on_conflict_do_nothing(index_elements=["job_id"])
        return self._pairs(inserting.returning(JobRow.job_id, JobRow.job_key), rows)

    def _windows_of(self, table: Table, job_keys: Sequence[int]) -> Iterator[Columns]:
        """Give the rows of jobs in key order: of one job window by window, of several at once."""
        rest = _rest_of_key(table)
        if len(job_keys) > 1 or not rest:
            yield self._fetched_columns(_of_jobs(table), {"job_keys": job_keys})
            return
        bounds = {"job_key": job_keys[0], "size": _ROWS_A_WINDOW}
        columns = self._fetched_columns(_of_one_job(table), bounds)
        while columns:
            yield columns
            if len(columns["job_key"]) < _ROWS_A_WINDOW:
                return
            last = {f"after_{column.name}": columns[column.name][-1] for column in rest}
            columns = self._fetched_columns(_after(table), bounds | last)

    def _fetched_columns(self, statement: Select[*tuple[Any, ...]], parameters: Mapping[str, Any]) -> Columns:
        """Give the rows of a statement as columns by name; nothing at all where there is no row."""
        with quiet_collector():  # turning rows into columns takes an object a row, too
            rows = self._fetched(statement, parameters)
            names = statement.selected_columns.keys()
            return dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {}


def _blocks(columns: Columns) -> list[tuple[dict[str, Any], Columns]]:
    """Part rows where another job or metric begins, to give `insert_columns` what each part shares once.

    A column in which a part has nothing but NULL is left out of it.
    """
    shared = [name for name in ("job_key", "name_id") if name in columns]
    keys = list(zip(*(columns[name] for name in shared), strict=True))
    begins = list(compress(range(1, len(keys)), map(ne, keys, keys[1:])))
    if len(keys) < _ROWS_A_BLOCK * (len(begins) + 1):
        return [({}, columns)]
    blocks = []
    for first, last in pairwise(chain((0,), begins, (len(keys),))):
        parts = {name: values[first:last] for name, values in columns.items() if name not in shared}
        rows = {name: part for name, part in parts.items() if part.count(None) < len(part)}
        blocks.append((dict(zip(shared, keys[first], strict=True)), rows))
    return blocks


def _named(columns: Columns, ids: Mapping[int, str], names: Mapping[int, str]) -> Columns:
    """Put what keys mean in their place."""
    named: Columns = {"job_id": [ids[key] for key in columns["job_key"]]}
    if "name_id" in columns:
        try:
            named["metric"] = [names[name_id] for name_id in columns["name_id"]]
        except KeyError as error:
            raise DatabaseDamaged(
                f"metric values stand under name_id {error.args[0]}, which is no series of their job; "
                f"`tuneledger verify` tells what is still whole"
            ) from None
    return named | {name: values for name, values in columns.items() if name not in {"job_key", "name_id"}}
