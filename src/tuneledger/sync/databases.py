"""Other applications' databases, opened read-only, their runs handed on as rows: MLflow's and Trackio's."""

from __future__ import annotations

import hashlib
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import inspect, text

from tuneledger import json_text
from tuneledger.engine import READING, locate, open_engine, translated
from tuneledger.errors import (
    Conflict,
    DatabaseDamaged,
    DatabaseError,
    InvalidPayload,
    UnknownFormat,
)
from tuneledger.repository import Input
from tuneledger.sources import mlflow, trackio
from tuneledger.sync.outcome import Outcome
from tuneledger.tables import VERSION_TABLE

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterator, Mapping

    from sqlalchemy.engine import Connection

    from tuneledger.archive import Archive
    from tuneledger.engine import Location
    from tuneledger.models import Job
    from tuneledger.repository import OnConflict

__all__ = ["archive_database", "is_database"]

_SQLITE: Final = b"SQLite format 3\0"
_MLFLOW: Final = {
    "experiments": {"experiment_id", "name"},
    "runs": {"run_uuid", "experiment_id", "start_time"},
    "metrics": {"run_uuid", "key", "value", "timestamp"},
    "params": {"run_uuid", "key", "value"},
    "tags": {"run_uuid", "key", "value"},
}
_TRACKIO: Final = {"metrics": {"id", "run_name", "timestamp", "step", "metrics"}, "configs": {"config"}}
"""What tells a database from another of which tables have the same names: the columns that are read."""


def is_database(path: str) -> bool:
    """Tell whether a path is an SQLite file."""
    with suppress(OSError):  # reading it says why
        if Path(path).is_file():
            with Path(path).open("rb") as file:
                return file.read(len(_SQLITE)) == _SQLITE
    return False


def archive_database(
    archive: Archive, path: str, *, job_id: str | None, on_conflict: OnConflict | str
) -> Outcome:
    """Archive every run of a database, each in a transaction of its own; what is wrong stands in the outcome.

    The database is opened to read and nothing in it is changed. Runs that are refused do not keep the
    others from being archived: the outcome has the first error. That it cannot be reached is its error too;
    what the archive's own database raises is raised.
    """
    location = locate(path)
    outcome = Outcome(str(location))
    with closing(_runs(location, outcome, job_id)) as runs:
        for job in _readable(runs, outcome):
            content = json_text.canonical([job.document, len(job.checkpoints)]).encode()
            given = Input(outcome.name, job.provider, len(content), hashlib.sha256(content).hexdigest())
            try:
                outcome.reports.append(archive.save(job, on_conflict=on_conflict, inputs=[given]))
            except (Conflict, InvalidPayload) as error:
                outcome.error = outcome.error or error
    return outcome


def _readable(runs: Iterator[Job], outcome: Outcome) -> Iterator[Job]:
    """Give the runs that can be read; why there are no more of them stands in the outcome."""
    try:
        yield from runs
    except InvalidPayload as error:
        outcome.error = outcome.error or error
    except DatabaseDamaged as error:
        outcome.error = InvalidPayload(source=outcome.name, reason=str(error))
    except DatabaseError as error:
        outcome.error = error


def _runs(location: Location, outcome: Outcome, job_id: str | None) -> Generator[Job]:
    engine = open_engine(location, read_only=True)
    try:
        with translated(), engine.connect().execution_options(**READING) as connection:
            if _has(connection, _MLFLOW):
                outcome.format = mlflow.PROVIDER
                yield from _mlflow_runs(connection, outcome, job_id)
            elif _has(connection, _TRACKIO):
                outcome.format = trackio.PROVIDER
                yield from _trackio_runs(connection, outcome, str(location.path), job_id)
            else:
                ours = VERSION_TABLE in inspect(connection).get_table_names()
                hint = "; `tuneledger copy` takes archives" if ours else ""
                raise UnknownFormat(
                    source=outcome.name, reason=f"a database, but neither MLflow's nor Trackio's{hint}"
                )
    finally:
        engine.dispose()


def _has(connection: Connection, wanted: Mapping[str, Collection[str]]) -> bool:
    """Tell whether a database has these tables with these columns."""
    found = inspect(connection)
    return set(found.get_table_names()) >= wanted.keys() and all(
        {column["name"] for column in found.get_columns(table)}.issuperset(columns)
        for table, columns in wanted.items()
    )


def _rows(connection: Connection, statement: str, **parameters: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(text(statement), parameters).mappings()]


def _mlflow_runs(connection: Connection, outcome: Outcome, job_id: str | None) -> Iterator[Job]:
    """Give the runs of a tracking database, of any schema that has steps (MLflow 1.0 and newer)."""
    columns = {column["name"] for column in inspect(connection).get_columns("metrics")}
    if "step" not in columns:
        raise InvalidPayload(
            source=outcome.name,
            reason="its schema is older than MLflow 1.0, metrics have no step; `mlflow db upgrade` helps",
        )
    nan = "is_nan" if "is_nan" in columns else "0"
    experiments = {
        row["experiment_id"]: row["name"]
        for row in _rows(connection, "SELECT experiment_id, name FROM experiments")
    }
    for fields in _rows(connection, "SELECT * FROM runs ORDER BY start_time, run_uuid"):
        of_run = {"run": fields["run_uuid"]}
        metrics = connection.execute(
            text(
                f"SELECT key, value, timestamp, step, {nan} FROM metrics WHERE run_uuid = :run "  # noqa: S608 - one of two words of ours
                "ORDER BY timestamp, step, key, value"  # of equal moments MLflow too takes the highest
            ),
            of_run,
        )
        run = mlflow.Run(
            fields,
            [
                (key, mlflow.finite_or_not(value, is_nan=bool(is_nan)), stamp, step, None)
                for key, value, stamp, step, is_nan in metrics
            ],
            _pairs(connection, "params", of_run),
            _pairs(connection, "tags", of_run),
            experiments.get(fields["experiment_id"]),
        )
        try:
            yield mlflow.job(run, source=outcome.name, job_id=job_id)
        except InvalidPayload as error:
            outcome.error = outcome.error or error


def _pairs(connection: Connection, table: str, of_run: dict[str, Any]) -> dict[str, Any]:
    found = connection.execute(text(f"SELECT key, value FROM {table} WHERE run_uuid = :run"), of_run)  # noqa: S608 - params or tags
    return {row[0]: row[1] for row in found}


def _trackio_runs(connection: Connection, outcome: Outcome, path: str, job_id: str | None) -> Iterator[Job]:
    """Give the runs of a project; older releases told them apart by their names alone."""
    columns = {column["name"] for column in inspect(connection).get_columns("metrics")}
    key = "run_id" if "run_id" in columns else "run_name"
    place = str(Path(path).absolute())
    runs = _rows(connection, f"SELECT DISTINCT {key} AS run, run_name FROM metrics ORDER BY 2, 1")  # noqa: S608 - one of two words of ours
    if job_id is not None and len(runs) > 1:
        raise InvalidPayload(
            source=outcome.name, reason="holds several runs, and --job-id names one job; leave it out"
        )
    for run in runs:
        rows = connection.execute(
            text(f"SELECT timestamp, step, metrics FROM metrics WHERE {key} = :run ORDER BY id"),  # noqa: S608 - the same
            {"run": run["run"]},
        )
        config = connection.execute(
            text(f"SELECT config FROM configs WHERE {key} = :run"),  # noqa: S608 - the same
            {"run": run["run"]},
        ).scalar()
        name = job_id or (run["run"] if key == "run_id" else f"{place}/{run['run']}")
        try:
            yield trackio.job(
                name,
                [(row[0], row[1], row[2]) for row in rows],
                source=outcome.name,
                name=run["run_name"],
                config=config,
            )
        except InvalidPayload as error:
            outcome.error = outcome.error or error
