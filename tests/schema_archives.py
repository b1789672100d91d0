"""Filled archives at any revision: one fixed set of jobs, dumps of released schemas, the engines' own shells.

``scripts/schema-dump`` runs this file: it keeps a dump of each revision that has none yet. One that is there
stays as it is for ever, for it stands for the databases that people have.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.engine import make_url

import postgres_server
import schema_statements
from tuneledger import NOT_EVALUATED, Archive, Input, Job, schema
from tuneledger.engine import open_engine
from tuneledger.tables import VERSION_TABLE

FOLDER = Path(__file__).parent / "data/schema"

_EVENT = {"name": "step", "created_at": 1_700_000_000}
_INF = float("inf")
JOBS = [
    Job.model_validate(
        {
            "job_id": "ftjob-älteste",
            "provider": "mistral",
            "model": "open-mistral-7b",
            "status": status,
            "created_at": 1_700_000_000,
            "revision": revision,
            "trained_tokens": 2**62,
            "cost": 0.1,
            "cost_currency": "EUR",
            "document": {"hyperparameters": {"lr": 1e-05, "seed": None}, "ok": True, "weight": float("nan")},
            "events": [_EVENT, _EVENT, {"name": "Ende", "created_at": 1_700_000_300, "data": {"epoch": 1.0}}],
            "checkpoints": [
                {
                    "step_number": step,
                    "created_at": 1_700_000_000 + step,
                    "metrics": {
                        "train_loss": 2.5 / step,
                        "valid_loss": 1.25 if step % 20 == 0 else NOT_EVALUATED,
                        "grad_norm": [0.1, -0.0, float("nan"), _INF, -_INF, None, 0.1, 16777217.0][step % 8],
                    },
                }
                for step in range(10, 210, 10)
            ],
        }
    )
    for revision, status in enumerate(["QUEUED", "RUNNING", "SUCCESS"], 1)
] + [
    Job.model_validate(
        {
            "job_id": "run-2",
            "provider": "huggingface",
            "checkpoints": [
                {
                    "step_number": 0,
                    "created_at": 0,
                    "metrics": {"loss": 0.5, "note": "text", "big": 2**63 + 1},
                },
                {"step_number": 2**63 - 1, "created_at": 0, "metrics": {"loss": 0.5, "eval_loss": 0.25}},
            ],
        }
    ),
    Job.model_validate({"job_id": "empty", "provider": "openai", "model": None, "status": "failed"}),
]


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    """An engine, closed at the end."""
    engine = open_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def fill(url: str) -> None:
    """Archives the fixed jobs in a migrated database."""
    with Archive(url) as archive:
        for number, job in enumerate(JOBS):
            archive.save(job, inputs=[Input(f"{number}.json", "job", 100 + number, f"{number:064x}")])


def grow(engine: Engine, *, jobs: int, steps: int) -> None:
    """Adds many jobs with three metrics each, by SQL alone, to an archive of any revision.

    Their digests are numbers like any others: enough for what a migration does with them.
    """
    sqlite = engine.dialect.name == "sqlite"
    series = "SELECT n FROM numbers" if sqlite else "SELECT generate_series(1, {0}) AS n"
    numbers = (
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {0}) "
        if sqlite
        else ""
    )

    def counted(last: int) -> tuple[str, str]:
        return numbers.format(last), series.format(last)

    with engine.begin() as connection:
        if not sqlite:
            connection.exec_driver_sql("SET LOCAL search_path TO tuneledger")
        names = ", ".join(f"({1000 + m}, 'grown-{m}', 'grown-{m}')" for m in range(3))
        connection.exec_driver_sql(
            f"INSERT INTO metric_names (name_id, name, canonical) VALUES {names} ON CONFLICT DO NOTHING"
        )
        many, of_jobs = counted(jobs)
        connection.exec_driver_sql(
            "INSERT INTO jobs (job_key, job_id, provider, created_at, revision, document, archived_at) "
            f"{many}"
            f"SELECT 1000 + n, 'grown-' || n, 'p', 1700000000, 0, '{{}}', 0 FROM ({of_jobs}) AS j"
        )
        connection.exec_driver_sql(
            f"INSERT INTO job_digests (job_key, digest) {many}SELECT 1000 + n, 7 * n FROM ({of_jobs}) AS j"
        )
        for metric in range(3):
            connection.exec_driver_sql(
                f"INSERT INTO job_metrics (job_key, name_id) {many}"
                f"SELECT 1000 + n, {1000 + metric} FROM ({of_jobs}) AS j"
            )
        many, of_steps = counted(steps)
        for job in range(1001, 1001 + jobs):
            connection.exec_driver_sql(
                f"INSERT INTO checkpoints (job_key, step_number, created_at, digest) {many}"
                f"SELECT {job}, n, 1700000000 + n, n FROM ({of_steps}) AS s"
            )
            for metric in range(3):
                connection.exec_driver_sql(
                    f"INSERT INTO metrics (job_key, name_id, step_number, value) {many}"
                    f"SELECT {job}, {1000 + metric}, n, 1.0 / n + {metric} FROM ({of_steps}) AS s"
                )


def jobs_in(url: str) -> list[Job]:
    """Every job of an archive of the newest revision, whole."""
    with Archive(url, read_only=True) as archive, archive.read() as repository:
        return sorted(
            (repository.job(summary.job_id) for summary in repository.jobs().jobs), key=lambda job: job.job_id
        )


def contents(engine: Engine) -> dict[str, list[Any]]:
    """Every row of every table of ours but the version, in one order."""
    prefix = "" if engine.dialect.name == "sqlite" else "tuneledger."
    with engine.connect() as connection:
        tables = [name for name in schema.relations(connection) if name != VERSION_TABLE]
        found = {}
        for table in sorted(set(tables) - set(schema.VIEWS)):
            rows = connection.exec_driver_sql(f"SELECT * FROM {prefix}{table}")
            # In the order of their names: a column that was taken away and came back stands elsewhere.
            names, stored = sorted(rows.keys()), list(rows.keys())
            heading, places = ", ".join(names), [stored.index(name) for name in names]
            found[table] = sorted(f"{heading}: {[row[place] for place in places]}" for row in rows)
        return found


def revision_of(engine: Engine) -> str | None:
    """Which revision a database is at."""
    with engine.connect() as connection:
        return schema.status(connection).revision


def catalog_of(engine: Engine) -> schema.Catalog:
    """What the schema of a database consists of."""
    with engine.connect() as connection:
        return schema.catalog(connection)


# -- the engines' own shells ------------------------------------------------------------------------


def run_shell(url: str, sql: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs SQL by sqlite3 or psql, as an administrator would."""
    place = make_url(url)
    if place.get_backend_name() == "sqlite":
        command = ["sqlite3", str(place.database)]
    else:
        program = _postgres_program("psql")
        command = [program, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", postgres_server.libpq_url(url)]
    ended = subprocess.run(command, input=sql, capture_output=True, text=True, check=False)
    if check:
        assert not ended.returncode, ended.stderr
        assert not ended.stderr, ended.stderr
    return ended


def _postgres_program(name: str) -> str:
    beside = next(postgres_server.binary_folders(), Path()) / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    assert found, f"{name} is needed; on Debian: apt-get install postgresql-client"
    return found


# -- dumps --------------------------------------------------------------------------------------------


def dump_of(revision: str, engine: str) -> str:
    """The dump of a released revision."""
    return (FOLDER / f"{revision}.{engine}.sql").read_text()


def load(url: str, revision: str) -> None:
    """Makes an empty database a filled archive of a released revision."""
    run_shell(url, dump_of(revision, make_url(url).get_backend_name()))


def _dumped(url: str) -> str:
    place = make_url(url)
    if place.get_backend_name() == "sqlite":
        return run_shell(url, ".dump").stdout
    command = [_postgres_program("pg_dump"), "--no-owner", "--no-privileges", "--inserts"]
    text = subprocess.run(
        [*command, "--schema=tuneledger", postgres_server.libpq_url(url)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    # What only newer servers and shells know, and what names the release that made it.
    unwanted = (
        "--",
        "\\restrict",
        "\\unrestrict",
        "SET transaction_timeout",
        "SET default_table_access_method",
    )
    lines = [line for line in text.splitlines() if line and not line.startswith(unwanted)]
    return "\n".join(line for line in lines if "search_path" not in line) + "\n"


def _write_missing(url: str, engine: str) -> None:
    with opened(url) as database:
        schema.upgrade(database)
        fill(url)
        for revision in reversed(schema.revisions()):
            schema.downgrade(database, revision, backup=False)
            path = FOLDER / f"{revision}.{engine}.sql"
            if not path.exists():
                path.write_text(_dumped(url))
                sys.stdout.write(f"wrote {path}\n")
        schema.drop(database)
        schema.upgrade(database)
    if not (FOLDER / f"{schema.head()}.{engine}.statements.json").exists():
        with Archive(url) as archive:
            sys.stdout.write(f"wrote {schema_statements.write(archive, schema.head())}\n")


def main() -> None:
    """Writes the dumps that are not there yet."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        _write_missing(f"sqlite:///{folder}/archive.db", "sqlite")
    with postgres_server.some_server() as server, postgres_server.new_database(server) as url:
        _write_missing(url, "postgresql")


if __name__ == "__main__":
    main()
