"""A guest in other people's databases: neither side sees, moves or loses anything of the other's."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from schema_archives import fill, jobs_in, opened, revision_of
from tuneledger import Archive, schema
from tuneledger.errors import SchemaForeign

LONG = os.environ.get("TUNELEDGER_LONG") == "1"
PEERS = ["another application", *(["mlflow", "optuna"] if LONG else [])]

ENVIRONMENT = """
from alembic import context
from sqlalchemy import create_engine

engine = create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
"""
MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "{number}"
down_revision = {previous!r}


def upgrade():
    for table in {tables!r}:
        op.create_table(table, sa.Column("id", sa.Integer(), primary_key=True))
        op.execute(f"INSERT INTO {{table}} (id) VALUES (42)")


def downgrade():
    for table in {tables!r}:
        op.drop_table(table)
"""
THEIRS = {"1": ["jobs", "metrics"], "2": ["checkpoints", "tuneledger_notes"]}


@pytest.fixture(scope="session")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of MLflow and Optuna, in an environment of their own."""
    folder = tmp_path_factory.mktemp("peers")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    wanted = ["mlflow", "optuna", "psycopg2-binary"]
    subprocess.run([folder / "bin/python", "-m", "pip", "install", "--quiet", *wanted], check=True)
    return folder / "bin"


@pytest.fixture(params=PEERS)
def upgrade_theirs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Brings another application's tables in the same database up, by its own command."""
    if request.param == "another application":
        make_theirs(tmp_path)
        yield lambda url: run_theirs(tmp_path, url, "upgrade", "+1")
        return
    folder: Path = request.getfixturevalue("peers")

    def run(url: str) -> None:
        plain = make_url(url).set(drivername=make_url(url).get_backend_name() + "+psycopg2")
        shown = plain.render_as_string(hide_password=False)
        command: list[Path | str] = (
            [folder / "mlflow", "db", "upgrade", shown]
            if request.param == "mlflow"
            else [
                folder / "optuna",
                "create-study",
                "--skip-if-exists",
                "--study-name=s",
                f"--storage={shown}",
            ]
        )
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr

    yield run


def make_theirs(folder: Path) -> None:
    """Writes the other application's scripts."""
    versions = folder / "theirs/versions"
    versions.mkdir(parents=True)
    (folder / "theirs/env.py").write_text(ENVIRONMENT)
    for number, tables in THEIRS.items():
        previous = str(int(number) - 1) if number != "1" else None
        migration = MIGRATION.format(number=number, previous=previous, tables=tables)
        (versions / f"{number}_.py").write_text(migration)


def run_theirs(folder: Path, url: str, *arguments: str) -> None:
    """Runs the alembic command over the other application's own scripts."""
    ini = folder / "theirs.ini"
    shown = make_url(url).render_as_string(hide_password=False).replace("%", "%%")
    ini.write_text(
        f"[alembic]\nscript_location = {folder}/theirs\npath_separator = os\nsqlalchemy.url = {shown}\n"
    )
    alembic = Path(sys.executable).parent / "alembic"
    ended = subprocess.run(
        [alembic, "--config", ini, *arguments], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def rows_of_theirs(url: str) -> dict[str, list[str]]:
    """Every row of every table in `public`."""
    engine = create_engine(url)
    with engine.connect() as connection:
        names = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        found = {
            name: sorted(repr(row) for row in connection.execute(text(f'SELECT * FROM public."{name}"')))
            for name in names.scalars().all()
        }
    engine.dispose()
    return found


@pytest.mark.timeout(1800)
def test_in_one_database(empty_postgres_url: str, upgrade_theirs: Callable[[str], None]) -> None:
    """Whoever comes first, both upgrade, work, and leave: ours without a trace, theirs untouched."""
    upgrade_theirs(empty_postgres_url)
    before = rows_of_theirs(empty_postgres_url)
    assert "alembic_version" in before
    with opened(empty_postgres_url) as engine:
        schema.upgrade(engine, "0001")
        assert rows_of_theirs(empty_postgres_url) == before
        upgrade_theirs(empty_postgres_url)
        before = rows_of_theirs(empty_postgres_url)
        schema.upgrade(engine)
        fill(empty_postgres_url)
        assert len(jobs_in(empty_postgres_url)) == 3
        assert schema.drift(engine) == []
        schema.downgrade(engine, "0001")
        schema.drop(engine)
        assert rows_of_theirs(empty_postgres_url) == before
        schema.upgrade(engine)
        assert revision_of(engine) == schema.head()
    assert rows_of_theirs(empty_postgres_url) == before


def test_their_schema_is_no_place_for_us(
    empty_postgres_url: str, upgrade_theirs: Callable[[str], None]
) -> None:
    """Sent to the schema that holds their tables, we refuse and change nothing there."""
    upgrade_theirs(empty_postgres_url)
    before = rows_of_theirs(empty_postgres_url)
    with pytest.raises(SchemaForeign, match="belongs to another application"):
        Archive(empty_postgres_url, schema="public")
    with opened(f"{empty_postgres_url}?schema=public") as engine, pytest.raises(SchemaForeign):
        schema.upgrade(engine)
    assert rows_of_theirs(empty_postgres_url) == before


def test_a_file_is_one_applications(empty_sqlite_url: str, tmp_path: Path) -> None:
    """An SQLite file that another application made is left to it, to the byte."""
    make_theirs(tmp_path)
    run_theirs(tmp_path, empty_sqlite_url, "upgrade", "head")
    before = (tmp_path / "empty.db").read_bytes()
    with pytest.raises(SchemaForeign, match="belongs to another application"):
        Archive(empty_sqlite_url)
    with opened(empty_sqlite_url) as engine:
        for refused in (schema.upgrade, schema.drop):
            with pytest.raises(SchemaForeign):
                refused(engine)
    assert (tmp_path / "empty.db").read_bytes() == before
