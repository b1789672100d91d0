"""What an upgrade would do, and what a drop would take: told first, and nothing changed by telling."""

import json
from pathlib import Path

import pytest
from sqlalchemy import text

from schema_archives import catalog_of, contents, load, opened, revision_of
from tuneledger import cli, schema
from tuneledger.errors import SchemaAhead, SchemaEmpty, SchemaForeign
from tuneledger.schema.plan import migration
from tuneledger.schema_state import OURS


def test_every_pending_step_is_told(empty_database_url: str) -> None:
    """Each with what it does, its locks on this engine, its rows, and what the previous release can do."""
    load(empty_database_url, "0001")
    with opened(empty_database_url) as engine:
        before = contents(engine), catalog_of(engine), revision_of(engine)
        first, *others = schema.plan(engine)
        assert [step.revision for step in (first, *others)] == list(schema.revisions()[1:])
        rows = before[0]
        assert first.rows == {name: len(rows[name]) for name in ("metrics", "job_digests", "job_metrics")}
        assert first.does.startswith("Add the summaries")
        assert ("ACCESS EXCLUSIVE" in first.locks) == (engine.dialect.name == "postgresql")
        assert first.beside_previous.startswith("yes")
        assert (contents(engine), catalog_of(engine), revision_of(engine)) == before
        schema.upgrade(engine)
        assert schema.plan(engine) == []


@pytest.mark.parametrize("revision", schema.revisions())
def test_every_migration_tells_all_of_it(revision: str) -> None:
    """No migration leaves a line empty, and what it touches and loses are tables."""
    module = migration(revision)
    assert module.upgrade.__doc__
    assert module.downgrade.__doc__
    assert all(module.locks[engine] for engine in ("sqlite", "postgresql"))
    assert module.beside_previous
    assert isinstance(module.loses, dict)
    assert isinstance(module.touches, tuple)


def test_every_migration_names_what_it_makes_anew(empty_postgres_url: str) -> None:
    """Those tables and views are other ones after it, by the server's own numbers, and no more."""
    with opened(empty_postgres_url) as engine:
        before: dict[str, int] = {}
        for revision in schema.revisions():
            schema.upgrade(engine, revision)
            with engine.connect() as connection:
                query = text(
                    "SELECT relname, oid FROM pg_class WHERE relnamespace = 'tuneledger'::regnamespace"
                )
                after: dict[str, int] = {row.relname: row.oid for row in connection.execute(query)}
            remade = {name for name, oid in before.items() if after[name] != oid}
            assert remade == set(migration(revision).remakes), revision
            before = after


def test_the_command_plans(empty_database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """For people as text, for machines as JSON; an archive that is not there yet is planned from nothing."""
    assert cli.run(["db", "plan", "--db", empty_database_url]) == 0
    shown = capsys.readouterr().out
    assert [line[:4] for line in shown.splitlines() if line[0] == "0"] == list(schema.revisions())
    assert cli.run(["db", "plan", "--json", "--db", empty_database_url]) == 0
    steps = json.loads(capsys.readouterr().out)
    assert [step["revision"] for step in steps] == list(schema.revisions())
    assert set(steps[0]) == {"revision", "does", "locks", "rows", "beside_previous", "dependents"}
    assert cli.run(["db", "upgrade", "--db", empty_database_url]) == 0
    capsys.readouterr()
    assert cli.run(["db", "plan", "--db", empty_database_url]) == 0
    assert capsys.readouterr().out == "nothing to do\n"


def test_planning_makes_no_file(tmp_path: Path) -> None:
    """A file that is not there yet is not made by asking."""
    assert cli.run(["db", "plan", "--db", str(tmp_path / "none.db")]) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_place_has_no_plan(empty_sqlite_url: str) -> None:
    """Where an upgrade is no answer, neither is a plan."""
    with opened(empty_sqlite_url) as engine:
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE theirs (id INTEGER)"))
        with pytest.raises(SchemaForeign):
            schema.plan(engine)


def test_the_documentation_lists_all_of_it() -> None:
    """docs/upgrading.md names every table and view of ours, and every revision with its locks."""
    page = (Path(__file__).parents[1] / "docs/upgrading.md").read_text()
    listed = {
        name
        for line in page.splitlines()
        if line.startswith(("| tables", "| views"))
        for name in _quoted(line)
    }
    assert listed == OURS
    for revision in schema.revisions():
        assert f"\n| {revision} | " in page


def _quoted(line: str) -> list[str]:
    return line.split("`")[1::2]


# -- db drop ------------------------------------------------------------------------------------


def test_drop_takes_what_is_ours(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Our tables and views go, and on PostgreSQL the schema; another table stays, and is named."""
    with opened(database_url) as engine:
        assert cli.run(["db", "drop", "--db", database_url]) != 0  # nobody to ask
        capsys.readouterr()
        with engine.begin() as connection:
            prefix = "" if engine.dialect.name == "sqlite" else "tuneledger."
            connection.execute(text(f"CREATE TABLE {prefix}theirs (id INTEGER)"))
        assert revision_of(engine) == schema.head()
        assert cli.run(["db", "drop", "--yes", "--db", database_url]) == 0
        shown = capsys.readouterr().out
        assert "left alone: theirs\n" in shown
        assert "checkpoints" in shown
        assert list(catalog_of(engine)) == ["table theirs"]
        with pytest.raises(SchemaForeign):
            schema.drop(engine)


def test_drop_leaves_nothing_behind(empty_database_url: str) -> None:
    """Of a whole archive nothing stays, not even on a file's free pages, and a new one can be made there."""
    load(empty_database_url, "0001")
    with opened(empty_database_url) as engine:
        held = schema.holdings(engine)
        assert held.jobs == 3
        assert held.ours[-1] == "tuneledger_version"
        assert schema.drop(engine) == held
        assert catalog_of(engine) == {}
        if engine.dialect.name == "sqlite":
            engine.dispose()
            left = Path(engine.url.database or "").read_bytes()
            assert b"mistral" not in left
            assert len(left) < 10_000
        else:
            with engine.connect() as connection:
                there = connection.execute(text("SELECT 1 FROM pg_namespace WHERE nspname = 'tuneledger'"))
                assert there.all() == []
        with pytest.raises(SchemaEmpty, match="nothing to drop"):
            schema.drop(engine)
        assert schema.upgrade(engine) == schema.head()


def test_drop_leaves_what_is_newer(database_url: str) -> None:
    """Of an archive ahead of this release we know only a part, which therefore stays with the rest."""
    with opened(database_url) as engine:
        prefix = "" if engine.dialect.name == "sqlite" else "tuneledger."
        with engine.begin() as connection:
            connection.execute(text(f"UPDATE {prefix}tuneledger_version SET version_num = '9999'"))
        before = catalog_of(engine)
        for refused in (schema.holdings, schema.drop):
            with pytest.raises(SchemaAhead, match="pip install --upgrade"):
                refused(engine)
        assert catalog_of(engine) == before


def test_drop_of_what_is_broken(database_url: str) -> None:
    """Also half an archive can be taken away."""
    with opened(database_url) as engine:
        prefix = "" if engine.dialect.name == "sqlite" else "tuneledger."
        cascade = "" if engine.dialect.name == "sqlite" else " CASCADE"
        with engine.begin() as connection:
            connection.execute(text(f"DROP TABLE {prefix}jobs{cascade}"))
        assert schema.holdings(engine).jobs is None
        schema.drop(engine)
        assert catalog_of(engine) == {}
