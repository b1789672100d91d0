"""What an archive holds, read by plain SQL and digested anew: the tests' own view past the repository."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from tuneledger import Archive, CheckpointRepository
from tuneledger.mapping import (
    checkpoint_columns,
    checkpoints_from,
    event_from,
    event_rows,
    events_digest,
    job_content,
    job_digest,
    state_digest,
)

# Every table of a job's content, without keys that differ from archive to archive.
_CONTENT = {
    "jobs": "SELECT job_id, provider, model, status, created_at, revision, finished_at, fine_tuned_model, "
    "trained_tokens, cost, cost_currency, document, older_fields FROM {0}jobs WHERE job_key = :key",
    "job_digests": "SELECT digest, summary_digest FROM {0}job_digests WHERE job_key = :key",
    "job_states": "SELECT revision, status FROM {0}job_states WHERE job_key = :key ORDER BY 1, 2",
    "checkpoints": "SELECT step_number, created_at, extra, digest FROM {0}checkpoints WHERE job_key = :key "
    "ORDER BY 1",
    "metrics": "SELECT n.name, m.step_number, m.value, m.kind FROM {0}metrics AS m "
    "JOIN {0}metric_names AS n ON n.name_id = m.name_id WHERE job_key = :key ORDER BY 1, 2",
    "job_metrics": "SELECT n.name, s.number_count, s.first_step, s.last_step, s.min_value, s.max_value "
    "FROM {0}job_metrics AS s JOIN {0}metric_names AS n ON n.name_id = s.name_id WHERE job_key = :key "
    "ORDER BY 1",
    "events": "SELECT digest, occurrence, name, created_at, data FROM {0}events WHERE job_key = :key "
    "ORDER BY 1, 2",
}


def stored_ids(archive: Archive) -> set[str]:
    """The ids of all jobs."""
    with archive.read() as repository:
        return {job.job_id for job in repository.jobs().jobs}


def _place(connection: Connection) -> str:
    return "tuneledger." if connection.dialect.name == "postgresql" else ""


def _key(connection: Connection, job_id: str) -> int:
    query = text(f"SELECT job_key FROM {_place(connection)}jobs WHERE job_id = :job_id")
    key: int = connection.execute(query, {"job_id": job_id}).scalar_one()
    return key


def content(archive: Archive, job_id: str) -> dict[str, list[Any]]:
    """Every row of a job, by table, in one order on both engines."""
    with archive.engine.connect() as connection:
        key = {"key": _key(connection, job_id)}
        rows = {
            table: [tuple(row) for row in connection.execute(text(query.format(_place(connection))), key)]
            for table, query in _CONTENT.items()
        }
    for table in rows.values():  # engines sort names differently where no collation is given
        table.sort(key=repr)
    return rows


def stored_digest(archive: Archive, job_id: str) -> int:
    """The digest that the archive holds of a job."""
    digest: int = content(archive, job_id)["job_digests"][0][0]
    return digest


def recomputed_digest(archive: Archive, job_id: str) -> int:
    """The digest of what is stored of a job, from its rows alone."""
    with archive.engine.connect() as connection:
        place, key = _place(connection), {"key": _key(connection, job_id)}
        row = (
            connection.execute(text(f"SELECT * FROM {place}jobs WHERE job_key = :key"), key).mappings().one()
        )
        names: dict[int, str] = dict(
            iter(connection.execute(text(f"SELECT name_id, name FROM {place}metric_names")))
        )
        metrics = connection.execute(
            text(f"SELECT name_id, step_number, value, kind FROM {place}metrics WHERE job_key = :key"), key
        ).all()
    rows = content(archive, job_id)
    checkpoints = checkpoints_from(
        [(step, time, extra) for step, time, extra, _ in rows["checkpoints"]],
        [(name_id, step, value, kind) for name_id, step, value, kind in metrics],
        names,
    )
    columns = checkpoint_columns(checkpoints)
    assert {row.step_number: row.digest for row in columns.rows} == {
        step: digest for step, _, _, digest in rows["checkpoints"]
    }
    events = event_rows(event_from(name, at, data) for _, _, name, at, data in rows["events"])
    assert sorted((event.digest, event.occurrence) for event in events) == sorted(
        (digest, occurrence) for digest, occurrence, *_ in rows["events"]
    )
    return job_digest(
        job_content(dict(row)).digest,
        columns.digest,
        events_digest((event.digest, event.occurrence) for event in events),
        *(state_digest(revision, status) for revision, status in rows["job_states"]),
    )


def rows_written(archive: Archive, action: Callable[[CheckpointRepository], object]) -> int:
    """Count the rows that ``action`` inserts, updates and deletes, by the engine's own counters."""
    with archive.write() as repository:
        connection = repository._connection
        before = _counter(connection)
        action(repository)
        return _counter(connection) - before


def _counter(connection: Connection) -> int:
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        changes: int = driver.total_changes
        return changes
    query = (
        "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_xact_user_tables "
        "WHERE schemaname = 'tuneledger'"
    )
    return int(connection.exec_driver_sql(query).scalar_one())
