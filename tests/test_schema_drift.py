"""The catalogs tell every difference between a schema and what its revision made."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, text

from tuneledger import schema
from tuneledger.engine import open_engine
from tuneledger.tables import VERSION_TABLE, VIEWS


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    """An engine, closed at the end."""
    engine = open_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The engine of a migrated database, on each engine."""
    with opened(database_url) as engine:
        yield engine


def run(engine: Engine, statement: str) -> None:
    """Changes the schema behind the migrations' back."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL search_path TO tuneledger"))
        connection.execute(text(statement))


def test_the_tables_as_declared_are_those_that_the_migrations_make(engine: Engine) -> None:
    """The ORM's tables equal the migrated ones to the last CHECK; the views are the migrations' own."""
    migrated = schema.reference(engine, "head")
    assert schema.differences(migrated, schema.declared(engine)) == [
        f"table {VERSION_TABLE} is not part of this revision",
        *(f"view {name} is not part of this revision" for name in VIEWS),
    ]


def test_a_migrated_schema_has_not_drifted(engine: Engine) -> None:
    """Nothing differs in a schema that only migrations changed, and comparing changes nothing."""
    assert schema.drift(engine) == []
    assert schema.drift(engine) == []


SAME_ON_BOTH = {
    "DROP INDEX ix_jobs_created_at": "table jobs: index ix_jobs_created_at is missing",
    "CREATE INDEX ix_more ON jobs (provider)": "table jobs: index ix_more is not part of this revision",
    "CREATE TABLE more (id INTEGER)": "table more is not part of this revision",
    "DROP VIEW points": "view points is missing",
    "ALTER TABLE jobs ADD COLUMN more TEXT": "table jobs: column more is not part of this revision",
}


@pytest.mark.parametrize("statement", SAME_ON_BOTH)
def test_what_was_changed_is_named(engine: Engine, statement: str) -> None:
    """A missing or additional table, view, column or index is named."""
    run(engine, statement)
    assert SAME_ON_BOTH[statement] in schema.drift(engine)


@pytest.mark.parametrize(
    ("statement", "part"),
    [
        ("ALTER TABLE metrics DROP CONSTRAINT ck_metrics_kind", "metrics: constraint ck_metrics_kind"),
        ("ALTER TABLE metrics DROP CONSTRAINT pk_metrics", "metrics: constraint pk_metrics"),
        ("ALTER TABLE events DROP CONSTRAINT fk_events_jobs", "events: constraint fk_events_jobs"),
        ('ALTER TABLE jobs ALTER COLUMN document TYPE text COLLATE "default"', "jobs: column document"),
        ("ALTER TABLE jobs ALTER COLUMN provider DROP NOT NULL", "jobs: column provider"),
        ("ALTER TABLE jobs ALTER COLUMN status SET DEFAULT 'x'", "jobs: column status"),
        ("ALTER TABLE jobs ALTER COLUMN job_key DROP IDENTITY", "jobs: column job_key"),
        ("ALTER TABLE events ALTER COLUMN occurrence TYPE bigint", "events: column occurrence"),
        ("ALTER TABLE events ADD CONSTRAINT once UNIQUE (created_at)", "events: constraint once"),
        ("ALTER TABLE events ADD CONSTRAINT ex EXCLUDE (created_at WITH =)", "events: constraint ex"),
        (
            "ALTER TABLE inputs DROP COLUMN size_bytes, ADD COLUMN size_bytes bigint NOT NULL",
            "inputs: order of columns",
        ),
        (
            "CREATE TRIGGER t BEFORE UPDATE ON jobs EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "jobs: trigger t",
        ),
    ],
)
def test_what_was_altered_on_postgresql(postgres_url: str, statement: str, part: str) -> None:
    """CHECKs, keys, foreign keys, types, collations, NOT NULL, defaults, identities, triggers count."""
    with opened(postgres_url) as engine:
        run(engine, statement)
        found = schema.drift(engine)
    assert [line for line in found if line.startswith(f"table {part} is")], found


def test_the_text_of_a_view_is_compared(engine: Engine) -> None:
    """A view of the same columns that shows other rows is found out."""
    asked = (
        "SELECT sql FROM sqlite_master WHERE name = 'points'"
        if engine.dialect.name == "sqlite"
        else "SELECT 'CREATE VIEW points AS ' || pg_get_viewdef('tuneledger.points'::regclass)"
    )
    with engine.connect() as connection:
        made = connection.execute(text(asked)).scalar_one()
    run(engine, "DROP VIEW points")
    run(engine, f"{made.rstrip(';')} WHERE m.step_number > 0")
    (line,) = schema.drift(engine)
    assert line.startswith("view points: definition is")


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("value IS NOT NULL AND value = 0", "value = 0", "constraint ck_metrics_kind"),
        ("PRIMARY KEY (job_key, name_id, step_number)", "PRIMARY KEY (job_key)", "constraint pk_metrics"),
        ("value DOUBLE", "value DOUBLE DEFAULT 'a -- b' /* c */", "column value"),
        ("WITHOUT ROWID", "", "options"),
        ("value DOUBLE, \n\tkind SMALLINT", "kind SMALLINT, \n\tvalue DOUBLE", "order of columns"),
    ],
)
def test_what_was_altered_on_sqlite(sqlite_url: str, old: str, new: str, part: str) -> None:
    """CHECKs, keys, columns and WITHOUT ROWID are compared by the statements that made the tables."""
    found = drift_of_metrics(sqlite_url, old, new)
    assert [line for line in found if line.startswith(f"table metrics: {part} is")], found


def drift_of_metrics(url: str, old: str, new: str) -> list[str]:
    """What is found where the table was made by another statement."""
    with opened(url) as engine:
        with engine.connect() as connection:
            made = connection.execute(
                text("SELECT sql FROM sqlite_master WHERE name = 'metrics'")
            ).scalar_one()
        assert old in made
        for view in VIEWS:
            run(engine, f"DROP VIEW {view}")
        run(engine, "DROP TABLE metrics")
        run(engine, made.replace(old, new))
        return schema.drift(engine)


def test_a_constraint_without_a_name_is_told_by_its_text(sqlite_url: str) -> None:
    """Somebody who adds one to a table of ours need not name it."""
    found = drift_of_metrics(sqlite_url, "CONSTRAINT pk_metrics", "CHECK (value < 9), CONSTRAINT pk_metrics")
    assert "table metrics: CHECK ( value < 9 ) is not part of this revision" in found


def test_comments_and_space_are_no_difference(sqlite_url: str) -> None:
    """How somebody wrote a table down is not what it is."""
    found = drift_of_metrics(sqlite_url, "value DOUBLE,", "-- what\n value   DOUBLE /* it is */ ,")
    assert not [line for line in found if line.startswith("table")], found


def test_constraints_without_a_name_and_triggers_are_compared_too(sqlite_url: str) -> None:
    """Whatever else somebody added to our tables is named."""
    with opened(sqlite_url) as engine:
        run(
            engine, "CREATE TABLE more (id INTEGER, UNIQUE (id))"
        )  # of a table that is not ours no part is told
        run(engine, "CREATE TRIGGER watch AFTER INSERT ON jobs BEGIN SELECT 1; END")
        run(engine, "CREATE TRIGGER divert INSTEAD OF INSERT ON points BEGIN SELECT 1; END")
        assert schema.drift(engine) == [
            "table jobs: trigger watch is not part of this revision",
            "table more is not part of this revision",
            "view points: trigger divert is not part of this revision",
        ]
