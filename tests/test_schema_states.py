"""Five states beside "ready": each told by its own message, to whoever may read, and nothing is written."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from schema_archives import catalog_of, load, opened
from tuneledger import Archive, cli, schema
from tuneledger.engine import READING
from tuneledger.errors import (
    SchemaAhead,
    SchemaBehind,
    SchemaBroken,
    SchemaEmpty,
    SchemaError,
    SchemaForeign,
)
from tuneledger.schema import State

STATES: dict[str, tuple[type[SchemaError], str]] = {
    "empty": (SchemaEmpty, "tuneledger db upgrade"),
    "behind": (SchemaBehind, "tuneledger db upgrade"),
    "ahead": (SchemaAhead, "pip install --upgrade tuneledger"),
    "foreign": (SchemaForeign, "another schema with `--schema`"),
    "broken": (SchemaBroken, "tuneledger db check"),
}
READY = ["empty at base", "ready"]
"""Of a version table alone, and of all there should be."""
BROKEN = ["no version", "two revisions", "revision of nobody", "table missing", "view missing", "no revision"]


def make(url: str, what: str) -> None:
    """Brings an empty database into a state, or one way to be broken."""
    if what == "empty":
        return
    sqlite = make_url(url).get_backend_name() == "sqlite"
    if what == "behind":
        load(url, "0001")
        with opened(url) as engine, engine.connect():
            return  # the shell leaves a file in another journal mode than an archive has
    statements = {
        "ready": [],
        "empty at base": [],
        "ahead": ["UPDATE tuneledger_version SET version_num = '0815'"],
        "foreign": ["CREATE TABLE jobs (id INTEGER)", "CREATE TABLE alembic_version (version_num TEXT)"],
        "foreign at base": ["CREATE TABLE theirs (id INTEGER)"],
        "no version": ["DROP TABLE tuneledger_version"],
        "two revisions": ["INSERT INTO tuneledger_version VALUES ('0001')"],
        "revision of nobody": ["UPDATE tuneledger_version SET version_num = 'abc'"],
        "table missing": ["DROP TABLE inputs"],
        "view missing": ["DROP VIEW points"],
        "no revision": ["DELETE FROM tuneledger_version"],
    }
    statements["broken"] = statements["table missing"]
    with opened(url) as engine:
        if what == "foreign":
            with engine.begin() as connection:
                connection.execute(text("SELECT 1" if sqlite else "CREATE SCHEMA tuneledger"))
        else:
            schema.upgrade(engine)
        if "base" in what:
            schema.downgrade(engine, "base", backup=False)
        with engine.begin() as connection:
            if not sqlite:
                connection.execute(text("SET LOCAL search_path TO tuneledger"))
            for statement in statements[what]:
                connection.execute(text(statement))


def state_of(url: str) -> schema.Status:
    """The state, by a transaction that may only read."""
    with opened(url) as engine, engine.connect().execution_options(**READING) as connection:
        return schema.status(connection)


@contextmanager
def reader_of(url: str) -> Iterator[str]:
    """The same place for somebody who may only read."""
    place = make_url(url)
    if place.get_backend_name() == "sqlite":
        yield url
        return
    role = f"reader_{place.database}"
    administrator = create_engine(url, isolation_level="AUTOCOMMIT")
    with administrator.connect() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN PASSWORD 'reader'")
        try:
            if connection.exec_driver_sql("SELECT 1 FROM pg_namespace WHERE nspname = 'tuneledger'").all():
                connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA tuneledger TO {role}")
                connection.exec_driver_sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA tuneledger TO {role}")
            yield place.set(username=role, password="reader").render_as_string(hide_password=False)  # noqa: S106 - of a role that lives as long as this test
        finally:
            connection.exec_driver_sql(f"DROP OWNED BY {role}")
            connection.exec_driver_sql(f"DROP ROLE {role}")
    administrator.dispose()


def everything(url: str) -> object:
    """What there is, to the byte on SQLite."""
    place = make_url(url)
    if place.get_backend_name() == "sqlite":
        files = Path(str(place.database)).parent.iterdir()
        return {file.name: file.read_bytes() for file in files if not file.name.endswith("-shm")}
    with opened(url) as engine:
        return catalog_of(engine)


@pytest.mark.parametrize("state", STATES)
def test_each_state_has_its_message(
    empty_database_url: str, state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands and the library say the same, name what mends it, and write nothing."""
    make(empty_database_url, state)
    error, mending = STATES[state]
    path = make_url(empty_database_url).database
    if state == "empty" and empty_database_url.startswith("sqlite"):
        Path(str(path)).touch()
    before = everything(empty_database_url)
    with reader_of(empty_database_url) as url:
        assert cli.run(["db", "current", "--db", url]) == 0
        assert f"({state})" in capsys.readouterr().out
        assert cli.run(["db", "check", "--db", url]) == cli.exit_codes.SCHEMA
        assert mending in capsys.readouterr().err
        planned = cli.exit_codes.OK if state in {"empty", "behind"} else cli.exit_codes.SCHEMA
        assert cli.run(["db", "plan", "--db", url]) == planned
        with pytest.raises(error, match=mending) as told:
            Archive(url, read_only=True)
        assert "reader" not in str(told.value).replace("reader_", "")
    if not (state == "empty" and empty_database_url.startswith("sqlite")):
        with pytest.raises(error):
            Archive(empty_database_url)
    if state in {"ahead", "foreign", "broken"}:
        with opened(empty_database_url) as engine:
            for migrate in (schema.upgrade, schema.plan):
                with pytest.raises(error, match=mending):
                    migrate(engine)
            with pytest.raises(error):
                schema.downgrade(engine, "0001")
    assert everything(empty_database_url) == before


def test_who_may_read_the_version_alone_is_told_the_same(postgres_url: str) -> None:
    """What a role may not read is there all the same: the archive is no broken one to it."""
    with reader_of(postgres_url) as url:
        with opened(postgres_url) as engine, engine.begin() as connection:
            role = make_url(url).username
            connection.exec_driver_sql(f"REVOKE SELECT ON ALL TABLES IN SCHEMA tuneledger FROM {role}")
            connection.exec_driver_sql(f"GRANT SELECT ON tuneledger.tuneledger_version TO {role}")
        assert state_of(url).state is State.CURRENT


@pytest.mark.parametrize("what", BROKEN)
def test_each_way_to_be_broken_is_told(empty_database_url: str, what: str) -> None:
    """Whatever is wrong, it is told as broken and what it is, and an upgrade changes nothing."""
    make(empty_database_url, what)
    found = state_of(empty_database_url)
    assert found.state is State.BROKEN
    assert found.detail
    with opened(empty_database_url) as engine:
        before = catalog_of(engine)
        with pytest.raises(SchemaBroken):
            schema.upgrade(engine)
        assert catalog_of(engine) == before


def test_ready_and_empty_are_no_trouble(empty_database_url: str) -> None:
    """A schema taken down to nothing is empty, and made again it is ready; `require_current` says so."""
    make(empty_database_url, "empty at base")
    assert state_of(empty_database_url).state is State.EMPTY
    with opened(empty_database_url) as engine:
        with engine.connect() as connection, pytest.raises(SchemaEmpty):
            schema.require_current(connection, "here")
        schema.upgrade(engine)
        with engine.connect() as connection:
            schema.require_current(connection, "here")
        assert state_of(empty_database_url).state is State.CURRENT


def test_others_moved_in_where_we_were(empty_database_url: str) -> None:
    """A place that we left and that holds another application's tables now is theirs."""
    make(empty_database_url, "foreign at base")
    assert state_of(empty_database_url).state is State.FOREIGN


def test_what_somebody_changed_is_listed(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`db check` lists each difference, also one that the archive would work with, and fails."""
    assert cli.run(["db", "check", "--db", database_url]) == 0
    with opened(database_url) as engine, engine.begin() as connection:
        prefix = "" if engine.dialect.name == "sqlite" else "tuneledger."
        connection.execute(text(f"DROP INDEX {prefix}ix_jobs_created_at"))
    capsys.readouterr()
    assert cli.run(["db", "check", "--db", database_url]) == cli.exit_codes.SCHEMA
    shown = capsys.readouterr()
    assert shown.out == "table jobs: index ix_jobs_created_at is missing\n"
    assert "differs in 1 place" in shown.err


def test_a_reader_of_a_file_in_a_folder_of_others(tmp_path: Path) -> None:
    """Who may read file and folder, and write neither, is told the state as well."""
    load(f"sqlite:///{tmp_path}/history.db", "0001")
    with TemporaryDirectory(dir="/tmp" if os.geteuid() == 0 else None) as folder:  # noqa: S108 - root's own is closed
        file = Path(folder) / "history.db"
        shutil.copy(tmp_path / "history.db", file)
        file.chmod(0o444)
        Path(folder).chmod(0o555)
        # Once as who we are, for nobody may not be able to import what the first call imports.
        program = (
            "import os, sys\n"
            "from tuneledger import cli\n"
            "code = cli.run(sys.argv[1:])\n"
            "if os.geteuid() == 0:\n"
            "    os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "    code = cli.run(sys.argv[1:])\n"
            "sys.exit(code)"
        )
        ended = subprocess.run(
            [sys.executable, "-c", program, "db", "current", "--db", file],
            capture_output=True,
            text=True,
            check=False,
        )
        Path(folder).chmod(0o755)
    assert ended.returncode == 0, ended.stderr
    assert set(ended.stdout.splitlines()) == {"0001 (behind)"}
