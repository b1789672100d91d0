"""One new checkpoint at the end of a stored job: the write that happens while a model trains.

It only inserts, so what it changes the job's digest by follows from what went in, and nothing is read to be
compared. On PostgreSQL that is one statement, one round trip; on SQLite, which needs no trip, it is five.
What is not that simple (the step is stored, a metric is new, a summary stale) goes the locked way of
`JobWriting.append`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from tuneledger.engine import has_citus, in_one_trip, insert_text, translated, writing_transaction
from tuneledger.mapping import checkpoint_columns
from tuneledger.models import Job, validated
from tuneledger.repository.changing import JobChanging
from tuneledger.repository.records import SaveReport
from tuneledger.repository.scope import refuse_flawed
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
    from collections.abc import Callable, Iterable

    from sqlalchemy.engine import Engine

    from tuneledger.mapping import CheckpointColumns
    from tuneledger.models import CheckpointOut

__all__ = ["JobAppending"]

_TARGET = """
    SELECT d.job_key, d.digest, d.summary_digest = d.digest AND NOT EXISTS (
        SELECT 1 FROM checkpoints AS c WHERE c.job_key = d.job_key AND c.step_number = ?
    ), n.name, n.name_id
    FROM jobs AS j JOIN job_digests AS d ON d.job_key = j.job_key
    JOIN job_metrics AS m ON m.job_key = j.job_key JOIN metric_names AS n ON n.name_id = m.name_id
    WHERE j.job_id = ?
"""
_CHECKPOINT = (
    "INSERT INTO checkpoints (job_key, step_number, created_at, extra, digest) VALUES (?, ?, ?, ?, ?)"
)
_DIGESTS = "UPDATE job_digests SET digest = ?, summary_digest = ? WHERE job_key = ?"


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


def _parameters(job_id: str, columns: CheckpointColumns) -> dict[str, Any]:
    kinds = [(series.kinds or [None])[0] for series in columns.series.values()]
    return {
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


def given_columns(
    job_id: str, checkpoints: Iterable[CheckpointOut]
) -> tuple[list[CheckpointOut], CheckpointColumns]:
    """Take checkpoints for a job as that job's model does: in step order, none contradicting another.

    Raises `InvalidPayload` where a step stands twice with different content.
    """
    refuse_flawed(job_id)
    payload = {"job_id": job_id, "provider": "-", "checkpoints": list(checkpoints)}
    given = validated(Job, payload, source=f"checkpoints of job {job_id}").checkpoints
    return given, checkpoint_columns(given)


def append_alone(
    engine: Engine, schema: str | None, job_id: str, checkpoints: Iterable[CheckpointOut]
) -> SaveReport | None:
    """Append one new checkpoint in a transaction of its own, by the driver.

    None where it is not as simple as that, and nothing is written. ``engine`` is one of ours.
    """
    _, columns = given_columns(job_id, checkpoints)
    if len(columns.steps) != 1:
        return None
    with translated():
        if schema is None:
            with writing_transaction(engine) as execute:
                added = _append_by_steps(execute, job_id, columns)
        else:
            added = in_one_trip(engine, _one_statement(schema), _parameters(job_id, columns)) == 1
    return SaveReport(job_id, added=1, wrote=True) if added else None


class JobAppending(JobChanging):
    """Appends what is new."""

    def _append_new(self, job_id: str, columns: CheckpointColumns) -> bool:
        """Append the one checkpoint in ``columns``; False where it is not simply new: nothing is written."""
        execute = self._connection.exec_driver_sql
        with translated():
            if self._schema is None:
                return _append_by_steps(execute, job_id, columns)
            if has_citus(self._connection):
                return False  # which locks rows of a statement only where that names the job's key
            return execute(_one_statement(self._schema), _parameters(job_id, columns)).rowcount == 1


def _append_by_steps(
    execute: Callable[[str, tuple[Any, ...]], Any], job_id: str, columns: CheckpointColumns
) -> bool:
    """Do what `_one_statement` does, on SQLite.

    The transaction began by taking its one lock for writing: nobody comes in between.
    """
    step = columns.steps[0]
    found = execute(_TARGET, (step, job_id)).fetchall()
    if not found or not found[0][2]:
        return False
    job_key, digest = found[0][:2]
    name_ids = {name: name_id for _, _, _, name, name_id in found}
    if not name_ids.keys() >= columns.series.keys():
        return False
    execute(_CHECKPOINT, (job_key, step, columns.times[0], columns.extras[0], columns.digests[0]))
    summaries, values = [job_key], [job_key, step]
    for name in sorted(columns.series, key=name_ids.__getitem__):
        series = columns.series[name]
        value, kind = series.values[0], series.kinds and series.kinds[0]
        values += name_ids[name], value, kind
        numbers = (0, *(None,) * 8) if value is None else (1, *(step, value) * 4)
        summaries += name_ids[name], *numbers
    if columns.series:
        count = len(columns.series)
        execute(
            insert_text("job_metrics", ("job_key",), ("name_id", *SUMMARY_COLUMNS), count, MERGING),
            tuple(summaries),
        )
        execute(
            insert_text("metrics", ("job_key", "step_number"), ("name_id", "value", "kind"), count, ""),
            tuple(values),
        )
    digest ^= columns.digest
    execute(_DIGESTS, (digest, digest, job_key))
    return True
