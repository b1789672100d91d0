"""The library's door and the ``alembic`` command end in one guarded connection, whoever brings the engine."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import StaticPool

import postgres_server
from schema_archives import catalog_of, contents, load, opened, revision_of
from tuneledger import Archive, cli, schema
from tuneledger.errors import (
    DataLoss,
    InvalidArgument,
    SchemaAhead,
    SchemaBroken,
    TuneledgerError,
    UnsuitableConnection,
)

ROOT = Path(__file__).parents[1]
ALEMBIC = Path(sys.executable).parent / "alembic"


def alembic(*arguments: str, url: str | None = None, ini: Path = ROOT / "alembic.ini") -> str:
    """What the command prints, both ways; it must succeed."""
    ended = run_alembic(*arguments, url=url, ini=ini)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout + ended.stderr


def run_alembic(
    *arguments: str, url: str | None = None, ini: Path = ROOT / "alembic.ini"
) -> subprocess.CompletedProcess[str]:
    """Runs the alembic command, the database named by the environment if `url` is given."""
    environment = {**os.environ} | ({"TUNELEDGER_DATABASE_URL": url} if url else {})
    return subprocess.run(
        [ALEMBIC, "--config", ini, *arguments], capture_output=True, text=True, env=environment, check=False
    )


def configured(engine: object, location: str = "tuneledger.migrations:.", **attributes: object) -> Config:
    """Alembic's configuration as an application of somebody else's makes it."""
    config = Config()
    config.set_main_option("script_location", location)
    config.set_main_option("path_separator", "os")
    config.attributes.update(attributes, connection=engine)
    return config


@pytest.fixture(params=["open_engine", "create_engine"])
def engine(request: pytest.FixtureRequest, empty_database_url: str) -> Iterator[Engine]:
    """An engine of ours, and one of the caller's own that knows nothing of us."""
    if request.param == "open_engine":
        with opened(empty_database_url) as made:
            yield made
    else:
        made = create_engine(empty_database_url)
        yield made
        made.dispose()


def test_the_alembic_command(empty_database_url: str) -> None:
    """Up, a look, no drift to generate a migration from, one step down, up again: as by `tuneledger db`."""
    alembic("upgrade", "head", url=empty_database_url)
    assert schema.head() in alembic("current", url=empty_database_url)
    assert "No new upgrade operations detected" in alembic("check", url=empty_database_url)
    alembic("downgrade", "-1", url=empty_database_url)
    with opened(empty_database_url) as engine:
        assert revision_of(engine) == schema.revisions()[-2]
        assert schema.drift(engine) == []
    alembic("-x", f"url={empty_database_url}", "upgrade", "+1")
    with opened(empty_database_url) as engine:
        assert revision_of(engine) == schema.head()


def test_the_alembic_command_needs_a_database() -> None:
    """Without one it says how to name one."""
    ended = run_alembic("current")
    assert ended.returncode
    assert "set TUNELEDGER_DATABASE_URL, or `alembic -x url=" in ended.stderr


def test_the_alembic_command_refuses_to_lose_rows(empty_database_url: str) -> None:
    """As the library does, until it is told to accept that."""
    load(empty_database_url, "0001")
    ended = run_alembic("downgrade", "base", url=empty_database_url)
    assert ended.returncode
    assert "would lose rows: 3 of jobs" in ended.stderr
    alembic("-x", "accept-data-loss=yes", "-x", "backup=no", "downgrade", "base", url=empty_database_url)
    with opened(empty_database_url) as engine:
        assert contents(engine) == {}


def test_another_schema(empty_postgres_url: str) -> None:
    """`-x schema=` puts the archive elsewhere, as `?schema=` in the URL does."""
    alembic("-x", "schema=elsewhere", "upgrade", "head", url=empty_postgres_url)
    alembic("current", url=f"{empty_postgres_url}?schema=elsewhere")
    with opened(empty_postgres_url) as engine, engine.connect() as connection:
        names = connection.execute(text("SELECT DISTINCT table_schema FROM information_schema.tables"))
        assert {name for name in names.scalars() if "_" not in name} - {"public"} == {"elsewhere"}


def test_looking_makes_no_schema(empty_postgres_url: str) -> None:
    """A command that only looks leaves a database without anything of ours as it is."""
    alembic("current", url=empty_postgres_url)
    with opened(empty_postgres_url) as engine, engine.connect() as connection:
        assert not connection.execute(text("SELECT 1 FROM pg_namespace WHERE nspname = 'tuneledger'")).all()


def test_a_schema_that_the_administrator_made(postgres_server_url: str, empty_postgres_url: str) -> None:
    """A role that may not create schemas migrates into one that was made for it."""
    role, password = "migrates_only", "p%40ss%word"
    url = make_url(empty_postgres_url).set(username=role, password=password)
    administrator = create_engine(empty_postgres_url, isolation_level="AUTOCOMMIT")
    with administrator.connect() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN PASSWORD '{password.replace('%', '%%')}'")
        try:
            connection.exec_driver_sql(f"REVOKE ALL ON DATABASE {url.database} FROM PUBLIC")
            connection.exec_driver_sql(f"GRANT CONNECT ON DATABASE {url.database} TO {role}")
            connection.exec_driver_sql(f"CREATE SCHEMA tuneledger AUTHORIZATION {role}")
            shown = url.render_as_string(hide_password=False)
            assert password not in alembic("upgrade", "head", url=shown)
            with opened(shown) as engine:
                assert revision_of(engine) == schema.head()
        finally:
            connection.exec_driver_sql(f"DROP OWNED BY {role}")
            connection.exec_driver_sql(f"DROP ROLE {role}")
    administrator.dispose()
    assert postgres_server.libpq_url(postgres_server_url)


def test_an_engine_of_the_caller(engine: Engine) -> None:
    """An application that drives Alembic itself passes its engine, whatever that does by default."""
    command.upgrade(configured(engine), "head")
    assert revision_of_place(engine) == schema.head()
    command.downgrade(configured(engine), "base")
    assert revision_of_place(engine) is None


def revision_of_place(engine: Engine) -> str | None:
    """Which revision the database behind any engine is at."""
    with opened(engine.url.render_as_string(hide_password=False)) as ours:
        return revision_of(ours)


def test_a_connection_of_the_caller_is_refused(engine: Engine) -> None:
    """A connection that may be in a transaction already cannot be guarded; the engine is asked for."""
    with engine.connect() as connection, pytest.raises(UnsuitableConnection, match="pass the engine"):
        command.upgrade(configured(connection), "head")


BREAKING = '''
"""A migration that rebuilds the parent table, as any later one may."""

import sqlalchemy as sa
from alembic import op

revision = "9001"
down_revision = "{head}"
loses = {{}}
remakes = ()


def upgrade() -> None:
    for view in {views}:
        op.execute(f"DROP VIEW {{view}}")
    with op.batch_alter_table("jobs", recreate="{recreate}") as jobs:
        jobs.add_column(sa.Column("rebuilt", sa.Integer()))
    {more}


def downgrade() -> None:
    pass
'''


def scripts_with(folder: Path, *, recreate: str, more: str = "pass") -> Path:
    """Our migrations and one more, in a folder."""
    versions = folder / "migrations/versions"
    versions.mkdir(parents=True)
    for file in (ROOT / "migrations/versions").glob("0*.py"):
        (versions / file.name).write_text(file.read_text())
    (folder / "migrations/env.py").write_text((ROOT / "migrations/env.py").read_text())
    breaking = BREAKING.format(head=schema.head(), views=schema.VIEWS, recreate=recreate, more=more)
    (versions / "9001_more.py").write_text(breaking)
    return folder / "migrations"


@pytest.mark.parametrize("door", ["engine of the caller", "engine of ours", "alembic command"])
def test_rebuilding_a_parent_keeps_its_children(sqlite_url: str, tmp_path: Path, door: str) -> None:
    """Batch mode on `jobs` deletes no checkpoint: foreign keys are off, and on again afterwards."""
    scripts = scripts_with(tmp_path, recreate="always")
    with opened(sqlite_url) as engine:
        schema.downgrade(engine, "base", backup=False)
        schema.drop(engine)
        load(sqlite_url, schema.head())
        before = contents(engine)
        if door == "alembic command":
            ini = tmp_path / "alembic.ini"
            ini.write_text(f"[alembic]\nscript_location = {scripts}\npath_separator = os\n")
            alembic("upgrade", "head", url=sqlite_url, ini=ini)
        else:
            theirs = create_engine(sqlite_url) if "caller" in door else engine
            command.upgrade(configured(theirs, str(scripts)), "head")
            if theirs is not engine:
                theirs.dispose()
        after = contents(engine)
        assert after["checkpoints"] == before["checkpoints"]
        assert len(after["jobs"]) == len(before["jobs"])
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_a_migration_that_leaves_orphans_is_undone(sqlite_url: str, tmp_path: Path) -> None:
    """With foreign keys off a migration could part rows from their job: the check before COMMIT sees it."""
    scripts = scripts_with(tmp_path, recreate="auto", more='op.execute("DELETE FROM jobs")')
    with opened(sqlite_url) as engine:
        schema.drop(engine)
        load(sqlite_url, schema.head())
        before = contents(engine)
        with pytest.raises(SchemaBroken, match=r"leave rows without their job in .*: checkpoints, events"):
            command.upgrade(configured(engine, str(scripts)), "head")
        assert contents(engine) == before
        assert revision_of(engine) == schema.head()


def test_a_callers_engine_is_whole_or_nothing_too(empty_database_url: str, tmp_path: Path) -> None:
    """A migration that breaks after its last statement undoes every revision before it, on any engine."""
    scripts = scripts_with(tmp_path, recreate="auto", more='op.execute("INSERT INTO nowhere VALUES (1)")')
    load(empty_database_url, "0001")
    theirs = create_engine(empty_database_url)
    with opened(empty_database_url) as engine:
        before = contents(engine), catalog_of(engine), revision_of(engine)
        with pytest.raises(TuneledgerError):
            command.upgrade(configured(theirs, str(scripts)), "head")
        assert (contents(engine), catalog_of(engine), revision_of(engine)) == before
    theirs.dispose()


def test_a_callers_engine_is_left_as_it_was(empty_sqlite_url: str) -> None:
    """Its SQLite connections keep their transactions and their foreign keys, on or off, after a migration."""
    theirs = create_engine(empty_sqlite_url, poolclass=StaticPool)
    for foreign_keys in (0, 1):
        with theirs.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA foreign_keys = {foreign_keys}")
        command.upgrade(configured(theirs), "+1")
        with theirs.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == foreign_keys
            connection.exec_driver_sql("INSERT INTO metric_names (name, canonical) VALUES ('n', 'n')")
            connection.rollback()
            assert connection.exec_driver_sql("SELECT count(*) FROM metric_names").scalar() == 0
    theirs.dispose()


def test_losses_are_told_by_the_callers_door_too(empty_database_url: str) -> None:
    """A caller accepts them by an attribute."""
    load(empty_database_url, "0001")
    with opened(empty_database_url) as engine:
        with pytest.raises(DataLoss):
            command.downgrade(configured(engine), "base")
        command.downgrade(configured(engine, accept_data_loss=True, backup=False), "base")
        assert contents(engine) == {}


@pytest.mark.parametrize(
    ("there", "stamped"), [("0001", "0002"), ("0003", "0001"), ("0002", "base"), ("0003", "head")]
)
def test_a_stamp_that_is_not_true_is_refused(empty_database_url: str, there: str, stamped: str) -> None:
    """`alembic stamp` moves nothing, up or down: what is not there is not written down."""
    load(empty_database_url, there)
    with opened(empty_database_url) as engine:
        before = contents(engine)
        meant = schema.head() if stamped == "head" else stamped
        with pytest.raises(InvalidArgument, match=rf"cannot be stamped {meant}: .*use upgrade or downgrade"):
            command.stamp(configured(engine), stamped)
        assert revision_of(engine) == there
        assert contents(engine) == before
        command.upgrade(configured(engine), "head")
        assert revision_of(engine) == schema.head()


@pytest.mark.parametrize("written", ["0001", "0003"])
def test_a_stamp_that_is_true_mends_the_version(empty_database_url: str, written: str) -> None:
    """Where somebody wrote a wrong revision down, a stamp of the right one, above or below, goes through."""
    load(empty_database_url, "0002")
    prefix = "" if empty_database_url.startswith("sqlite") else "tuneledger."
    with opened(empty_database_url) as engine:
        with engine.begin() as connection:
            connection.execute(text(f"UPDATE {prefix}tuneledger_version SET version_num = '{written}'"))
        before = contents(engine)
        alembic("stamp", "0002", url=empty_database_url)
        assert revision_of(engine) == "0002"
        assert contents(engine) == before
        assert schema.drift(engine) == []
        command.stamp(configured(engine), "0002")
        assert schema.upgrade(engine) == schema.head()


@pytest.mark.parametrize("lost", ["DROP TABLE {}", "DELETE FROM {}"], ids=["table", "row"])
def test_a_lost_version_is_stamped(
    empty_database_url: str, lost: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the version alone is lost, `db check` says so and a stamp of what is there writes it anew."""
    prefix = "" if empty_database_url.startswith("sqlite") else "tuneledger."
    with opened(empty_database_url) as engine:
        schema.upgrade(engine)
        before = contents(engine)
        with engine.begin() as connection:
            connection.execute(text(lost.format(f"{prefix}tuneledger_version")))
        assert cli.run(["db", "check", "--db", empty_database_url]) == cli.exit_codes.SCHEMA
        said = capsys.readouterr()
        missing = ["table tuneledger_version is missing"] if lost.startswith("DROP") else []
        assert said.out.splitlines() == missing
        assert "`alembic stamp head` writes it anew" in said.err
        for refused in (command.upgrade, command.downgrade):
            with pytest.raises(SchemaBroken, match="nothing says of which revision"):
                refused(configured(engine), "0001")
        with pytest.raises(InvalidArgument, match=r"cannot be stamped 0002: "):
            command.stamp(configured(engine), "0002")
        command.stamp(configured(engine), "head")
        assert contents(engine) == before
        assert schema.drift(engine) == []
    with Archive(empty_database_url) as archive, archive.read() as repository:
        assert repository.count_jobs() == 0


@pytest.mark.parametrize("revision", ["0001", "0003"])
def test_an_older_archive_that_lost_its_version_is_stamped(empty_database_url: str, revision: str) -> None:
    """It is no other application's, though it lacks tables of later revisions: its own number mends it."""
    prefix = "" if empty_database_url.startswith("sqlite") else "tuneledger."
    with opened(empty_database_url) as engine:
        schema.upgrade(engine, revision)
        with engine.begin() as connection:
            connection.execute(text(f"DROP TABLE {prefix}tuneledger_version"))
        with pytest.raises(SchemaBroken, match="its own number in place of head"):
            schema.upgrade(engine)
        with pytest.raises(InvalidArgument, match=f"cannot be stamped {schema.head()}: "):
            command.stamp(configured(engine), "head")
        command.stamp(configured(engine), revision)
        assert schema.upgrade(engine) == schema.head()
        assert schema.drift(engine) == []


def test_the_alembic_command_tells_the_state_too(empty_database_url: str) -> None:
    """A database ahead of the code is named as such, not as an unknown revision."""
    with opened(empty_database_url) as engine:
        schema.upgrade(engine)
        prefix = "" if engine.dialect.name == "sqlite" else "tuneledger."
        with engine.begin() as connection:
            connection.execute(text(f"UPDATE {prefix}tuneledger_version SET version_num = '9999'"))
        with pytest.raises(SchemaAhead, match="pip install --upgrade tuneledger"):
            command.upgrade(configured(engine), "head")


def test_nobody_names_a_database() -> None:
    """The environment itself says so too, where another application runs it without one."""
    config = configured(None)
    with pytest.raises(InvalidArgument, match="say which database"):
        command.current(config)
