"""One new checkpoint at the end of a stored job: the write that happens while a model trains.

It only inserts, so what it changes the job's digest by follows from what went in, and nothing is read to be
compared. On PostgreSQL that is one statement, one round trip; on SQLite, which needs no trip, it is five.
What is not that simple (the step is stored, a metric is new, a summary stale) goes the locked way of
`JobWriting.append`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, exists, select

from tuneledger.engine import has_citus, translated
from tuneledger.repository.changing import SET_DIGEST, JobChanging
from tuneledger.repository.summaries import MERGING
from tuneledger.tables import (
    SUMMARY_COLUMNS,
    CheckpointRow,
    JobDigestRow,
    JobMetricRow,
    JobRow,
    MetricNameRow,
    MetricRow,
)

if TYPE_CHECKING:
    from tuneledger.mapping import CheckpointColumns

__all__ = ["JobAppending"]

_TARGET = (
    select(
        JobRow.job_key,
        JobDigestRow.digest,
        JobDigestRow.summary_digest,
        exists()
        .where(CheckpointRow.job_key == JobRow.job_key, CheckpointRow.step_number == bindparam("step"))
        .label("stored"),
        MetricNameRow.name,
        MetricNameRow.name_id,
    )
    .join(JobDigestRow, JobDigestRow.job_key == JobRow.job_key)
    .join(JobMetricRow, JobMetricRow.job_key == JobRow.job_key)
    .join(MetricNameRow, MetricNameRow.name_id == JobMetricRow.name_id)
    .where(JobRow.job_id == bindparam("job_id"))
)


@cache
def _one_statement(schema: str) -> str:
    """Write PostgreSQL's statement: all of it happens or, where the step is stored or a name new, nothing.

    The job's digest is locked first, as every writer does. That it was waited for while the statement's
    snapshot grew old does no harm: inserting meets what others committed meanwhile, and so does the UPDATE.
    """
    jobs, digests, checkpoints, names, series, metrics = (
        f"{schema}.{row_class.__tablename__}"
        for row_class in (JobRow, JobDigestRow, CheckpointRow, MetricNameRow, JobMetricRow, MetricRow)
    )
    step, value = "%(step)s::bigint", "n.value"
    summary = [
        "CASE WHEN n.value IS NULL THEN 0 ELSE 1 END",
        *(
            f"CASE WHEN n.value IS NOT NULL THEN {step if name.endswith('_step') else value} END"
            for name in SUMMARY_COLUMNS[1:]
        ),
    ]
    return f"""
        WITH named AS MATERIALIZED (
            SELECT n.name_id, g.value, g.kind
            FROM unnest(%(names)s::text[], %(values)s::float8[], %(kinds)s::int2[]) AS g(name, value, kind)
            JOIN {names} AS n ON n.name = g.name
        ), target AS MATERIALIZED (
            SELECT d.job_key FROM {jobs} AS j JOIN {digests} AS d ON d.job_key = j.job_key
            WHERE j.job_id = %(job_id)s AND (SELECT count(*) FROM named) = %(count)s
                AND d.summary_digest = d.digest
            FOR UPDATE OF d
        ), fresh AS (
            INSERT INTO {checkpoints} (job_key, step_number, created_at, extra, digest)
            SELECT job_key, {step}, %(time)s, %(extra)s, %(digest)s::bigint FROM target
            ON CONFLICT DO NOTHING
            RETURNING job_key
        ), valued AS (
            INSERT INTO {metrics} (job_key, name_id, step_number, value, kind)
            SELECT f.job_key, n.name_id, {step}, n.value, n.kind FROM fresh AS f CROSS JOIN named AS n
        ), summed AS (
            INSERT INTO {series} (job_key, name_id, {", ".join(SUMMARY_COLUMNS)})
            SELECT f.job_key, n.name_id, {", ".join(summary)} FROM fresh AS f CROSS JOIN named AS n
            ORDER BY n.name_id
            {MERGING}
        )
        UPDATE {digests} AS d
        SET digest = d.digest # %(digest)s::bigint, summary_digest = d.digest # %(digest)s::bigint
        FROM fresh WHERE d.job_key = fresh.job_key
    """  # noqa: S608 - of our own names; values are parameters


class JobAppending(JobChanging):
    """Appends what is new."""

    def _append_new(self, job_id: str, columns: CheckpointColumns) -> bool:
        """Append the one checkpoint in ``columns``; False where it is not simply new: nothing is written."""
        if self._connection.dialect.name == "sqlite":
            return self._append_by_steps(job_id, columns)
        if has_citus(self._connection):
            return False  # which locks rows of a statement only where that names the job's key
        kinds = [(series.kinds or [None])[0] for series in columns.series.values()]
        parameters = {
            "job_id": job_id,
            "step": columns.steps[0],
            "time": columns.times[0],
            "extra": columns.extras[0],
            "digest": columns.digests[0],
            "names": list(columns.series),
            "values": [series.values[0] for series in columns.series.values()],
            "kinds": kinds,
            "count": len(kinds),
        }
        with translated():
            done = self._connection.exec_driver_sql(_one_statement(self._schema or ""), parameters)
        return done.rowcount == 1

    def _append_by_steps(self, job_id: str, columns: CheckpointColumns) -> bool:
        # The transaction began by taking SQLite's one lock for writing: nobody comes in between.
        found = self._fetched(_TARGET, {"job_id": job_id, "step": columns.steps[0]})
        if not found:
            return False
        job_key, digest, summary_digest, stored = found[0][:4]
        name_ids = {row[4]: row[5] for row in found}
        if stored or summary_digest != digest or not name_ids.keys() >= columns.series.keys():
            return False
        self._add_checkpoints(job_key, columns, name_ids)
        self._execute(SET_DIGEST, {"of_job": job_key, "new_digest": digest ^ columns.digest})
        return True
