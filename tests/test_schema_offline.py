"""SQL for sqlite3 and psql ends where the online upgrade does."""

from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from schema_archives import catalog_of, contents, load, opened, revision_of, run_shell
from test_schema_doors import alembic, run_alembic
from tuneledger import schema
from tuneledger.errors import InvalidArgument
from tuneledger.schema import guarded

REVISIONS = schema.revisions()


def dialect_of(url: str) -> str:
    """The engine's name."""
    return "sqlite" if url.startswith("sqlite") else "postgresql"


def other_place(url: str, tmp_path: Path) -> str:
    """A second place for an archive: another file, or another schema of the same database."""
    return f"sqlite:///{tmp_path}/other.db" if dialect_of(url) == "sqlite" else f"{url}?schema=other"


def test_from_nothing(empty_database_url: str, tmp_path: Path) -> None:
    """The whole way from base ends in the catalog of the online upgrade."""
    run_shell(empty_database_url, schema.sql(dialect_of(empty_database_url)))
    online = other_place(empty_database_url, tmp_path)
    with opened(empty_database_url) as engine, opened(online) as other:
        schema.upgrade(other)
        assert catalog_of(engine) == catalog_of(other)
        assert revision_of(engine) == REVISIONS[-1]
        assert schema.drift(engine) == []


@pytest.mark.parametrize("start", REVISIONS[:-1])
def test_over_a_filled_database(empty_database_url: str, start: str) -> None:
    """The rows are those of the online upgrade, too; and so on the way back, whose text is SQL as well."""
    with opened(empty_database_url) as engine:
        load(empty_database_url, start)
        low = catalog_of(engine), contents(engine)
        schema.upgrade(engine, backup=False)
        high = catalog_of(engine), contents(engine)
        dialect = dialect_of(empty_database_url)
        run_shell(empty_database_url, schema.sql(dialect, f"head:{start}"))
        assert (catalog_of(engine), contents(engine)) == low
        run_shell(empty_database_url, schema.sql(dialect, f"{start}:head"))
        assert (catalog_of(engine), contents(engine)) == high


def test_the_alembic_command_writes_it_too(empty_database_url: str) -> None:
    """`alembic upgrade --sql` and `downgrade --sql` give the same text, for a URL or a dialect."""
    dialect = dialect_of(empty_database_url)
    wanted = schema.sql(dialect).strip()
    assert wanted in alembic("upgrade", "head", "--sql", url=empty_database_url)
    assert wanted in alembic("-x", f"dialect={dialect}", "upgrade", "head", "--sql")
    down = alembic("-x", f"dialect={dialect}", "downgrade", "0002:0001", "--sql")
    assert schema.sql(dialect, "0002:0001").strip() in down
    ended = run_alembic("upgrade", "head", "--sql")
    assert "say for which database: `-x dialect=` one of sqlite, postgresql" in ended.stderr


def test_another_schema(empty_postgres_url: str) -> None:
    """The text goes to the schema that was asked for, also where the URL names it."""
    run_shell(empty_postgres_url, schema.sql("postgresql", schema="elsewhere"))
    with opened(f"{empty_postgres_url}?schema=elsewhere") as engine:
        assert schema.drift(engine) == []
    written = alembic("upgrade", "head", "--sql", url=f"{empty_postgres_url}?schema=elsewhere")
    assert schema.sql("postgresql", schema="elsewhere").strip() in written


def test_the_owner_of_the_schema_needs_no_more(empty_postgres_url: str) -> None:
    """A role that owns the schema, and may create none, runs the text: it looks first whether it is there."""
    role = f"owner_{(make_url(empty_postgres_url).database or '')[-16:]}"
    theirs = make_url(empty_postgres_url).set(username=role, password="p")  # noqa: S106 - as long as this test
    with opened(empty_postgres_url) as engine:
        with engine.begin() as connection:
            connection.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD 'p'"))
            connection.execute(text(f"CREATE SCHEMA tuneledger AUTHORIZATION {role}"))
        try:
            run_shell(theirs.render_as_string(hide_password=False), schema.sql("postgresql"))
            assert revision_of(engine) == REVISIONS[-1]
        finally:
            with engine.begin() as connection:
                connection.execute(text(f"DROP OWNED BY {role} CASCADE"))
                connection.execute(text(f"DROP ROLE {role}"))


def test_at_another_revision(empty_database_url: str) -> None:
    """The text stops at once over a database at another revision than it begins with."""
    with opened(empty_database_url) as engine:
        schema.upgrade(engine)
        before = catalog_of(engine)
        ended = run_shell(
            empty_database_url, schema.sql(dialect_of(empty_database_url), "0002:0003"), check=False
        )
        assert ended.returncode
        assert "at revision 0002" in ended.stderr.replace("_", " ")
        assert catalog_of(engine) == before
        assert revision_of(engine) == REVISIONS[-1]


def test_a_text_that_breaks_off_changes_nothing(empty_database_url: str) -> None:
    """All or nothing holds for the text as well, wherever it fails."""
    load(empty_database_url, "0001")
    text = schema.sql(dialect_of(empty_database_url), "0001:head")
    statements = text.split(";\n")
    broken = ";\n".join([*statements[:-4], "INSERT INTO nowhere VALUES (1)", *statements[-4:]])
    with opened(empty_database_url) as engine:
        before = catalog_of(engine), contents(engine)
        ended = run_shell(empty_database_url, broken, check=False)
        assert ended.returncode
        assert "nowhere" in ended.stderr
        assert (catalog_of(engine), contents(engine)) == before


def test_the_text_waits_for_its_turn(empty_database_url: str) -> None:
    """While somebody migrates the text does nothing; how long it waits is the shell's affair."""
    wait = "" if dialect_of(empty_database_url) == "sqlite" else "SET lock_timeout = 200;\n"
    with opened(empty_database_url) as engine:
        with guarded(engine):
            ended = run_shell(
                empty_database_url, wait + schema.sql(dialect_of(empty_database_url)), check=False
            )
            assert ended.returncode
            assert "lock" in ended.stderr
        assert catalog_of(engine) == {}
    run_shell(empty_database_url, wait + schema.sql(dialect_of(empty_database_url)))


def test_orphans_stop_the_text(empty_sqlite_url: str) -> None:
    """SQLite's foreign keys are off while it runs, and looked at before it commits."""
    load(empty_sqlite_url, "0001")
    broken = schema.sql("sqlite", "0001:head").replace(
        "-- Running upgrade 0001", "DELETE FROM jobs;\n-- Running upgrade 0001", 1
    )
    with opened(empty_sqlite_url) as engine:
        before = contents(engine)
        # Also in a shell that has them on, where the rows would go and the check find nothing.
        for settings in ("", "PRAGMA foreign_keys = ON;\n"):
            ended = run_shell(empty_sqlite_url, settings + broken, check=False)
            assert "every_row_has_its_job" in ended.stderr
            assert contents(engine) == before


@pytest.mark.parametrize(
    ("dialect", "revisions", "schema_name", "message"),
    [
        ("oracle", "head", None, "one of sqlite, postgresql"),
        ("sqlite", "head", "other", "belongs to PostgreSQL"),
        ("postgresql", "head", "No Name", "a schema name is"),
        ("sqlite", "0001:7777", None, "no revision '7777'"),
        ("sqlite", "0001:0001", None, "leads nowhere"),
        ("sqlite", "base", None, "leads nowhere"),
    ],
)
def test_what_cannot_be_written(dialect: str, revisions: str, schema_name: str | None, message: str) -> None:
    """Nonsense is refused with what would make sense."""
    with pytest.raises(InvalidArgument, match=message):
        schema.sql(dialect, revisions, schema=schema_name)
