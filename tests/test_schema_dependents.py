"""What others built on an archive's tables and views keeps these, is named, and is never dropped along."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, create_engine, text

from schema_archives import catalog_of, contents, load, opened, revision_of
from tuneledger import cli, schema
from tuneledger.errors import DependentObjects

BUILT = {
    "CREATE VIEW public.losses AS SELECT value FROM tuneledger.points": (
        "view public.losses (on tuneledger.points)"
    ),
    "CREATE MATERIALIZED VIEW public.kept AS SELECT job_id FROM tuneledger.jobs": (
        "materialized view public.kept (on tuneledger.jobs)"
    ),
    "CREATE TABLE public.notes (job bigint CONSTRAINT of_job REFERENCES tuneledger.jobs)": (
        "constraint of_job on table public.notes (on tuneledger.jobs)"
    ),
    "CREATE TABLE public.rows (job tuneledger.jobs)": "column job of table public.rows (on tuneledger.jobs)",
    "CREATE TABLE public.lists (jobs tuneledger.jobs[])": (
        "column jobs of table public.lists (on tuneledger.jobs)"
    ),
    "CREATE TABLE public.more () INHERITS (tuneledger.events)": "table public.more (on tuneledger.events)",
    "CREATE FUNCTION public.last(tuneledger.metrics) RETURNS int LANGUAGE sql AS 'SELECT 1'": (
        "function public.last(tuneledger.metrics) (on tuneledger.metrics)"
    ),
    "CREATE VIEW tuneledger.theirs AS SELECT name FROM tuneledger.metric_names": (
        "view tuneledger.theirs (on tuneledger.metric_names)"
    ),
}


@pytest.fixture(params=["open_engine", "create_engine"])
def engine(request: pytest.FixtureRequest, empty_postgres_url: str) -> Iterator[Engine]:
    """An engine of ours, and one of the caller's own, of a filled archive of the first revision."""
    load(empty_postgres_url, "0001")
    if request.param == "open_engine":
        with opened(empty_postgres_url) as made:
            yield made
    else:
        made = create_engine(empty_postgres_url)
        yield made
        made.dispose()


def run(engine: Engine, *statements: str) -> None:
    """Does something as somebody else."""
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def refusal(change: Callable[[Engine], object], engine: Engine) -> DependentObjects:
    """The error of a change that must leave everything as it was."""
    with opened(engine.url.render_as_string(hide_password=False)) as ours:
        before = catalog_of(ours), contents(ours), revision_of(ours)
        with pytest.raises(DependentObjects) as refused:
            change(engine)
        assert (catalog_of(ours), contents(ours), revision_of(ours)) == before
    return refused.value


def test_drop_names_what_depends(engine: Engine) -> None:
    """Whatever was built is named with what it stands on; when that is gone the archive goes."""
    for statement in BUILT:
        run(engine, statement)
    error = refusal(schema.drop, engine)
    assert sorted(error.objects) == sorted(BUILT.values())
    assert "view public.losses (on tuneledger.points)" in str(error)
    assert "nothing was changed (drop those yourself" in str(error)
    assert engine.url.password is None or engine.url.password not in str(error)
    run(
        engine,
        "DROP VIEW public.losses, tuneledger.theirs",
        "DROP MATERIALIZED VIEW public.kept",
        "DROP FUNCTION public.last",
        "DROP TABLE public.notes, public.rows, public.lists, public.more",
    )
    assert "jobs" in schema.drop(engine).ours


def test_upgrade_and_downgrade_name_it_too(engine: Engine) -> None:
    """A migration that makes a view anew leaves the views on it to their owners."""
    views = "CREATE VIEW public.losses AS SELECT value FROM tuneledger.points"
    run(engine, views)
    assert refusal(schema.upgrade, engine).objects == ("view public.losses (on tuneledger.points)",)
    run(engine, "DROP VIEW public.losses")
    schema.upgrade(engine)
    run(engine, views)
    down = refusal(lambda engine: schema.downgrade(engine, "0001"), engine)
    assert down.objects == ("view public.losses (on tuneledger.points)",)


def test_the_plan_names_it_before(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    """Told of the step that meets it alone; what stands on a table that stays is in nobody's way."""
    run(
        engine,
        "CREATE VIEW public.losses AS SELECT value FROM tuneledger.points",
        "CREATE VIEW public.ids AS SELECT job_id FROM tuneledger.jobs",
    )
    view = "view public.losses (on tuneledger.points)"
    url = engine.url.render_as_string(hide_password=False)
    with opened(url) as ours:
        told = {step.revision: step.dependents for step in schema.plan(ours) if step.dependents}
    assert told == {"0003": (view,)}
    assert cli.run(["db", "plan", "--db", url]) == 0
    shown = capsys.readouterr().out
    assert shown.count("refused until") == 1
    assert f"refused until these of others are dropped: {view}\n" in shown
    assert refusal(schema.upgrade, engine).objects == (view,)
    run(engine, "DROP VIEW public.losses")
    assert schema.upgrade(engine) == schema.head()


def test_an_upgrade_is_refused_before_its_first_step(engine: Engine) -> None:
    """Nothing is read for an hour first: not one row of a step before the one that is in the way."""
    run(engine, "CREATE VIEW public.losses AS SELECT value FROM tuneledger.points")
    done: list[int] = []
    with pytest.raises(DependentObjects):
        schema.upgrade(engine, progress=lambda now, _: done.append(now))
    assert done == []


def test_many_are_counted(engine: Engine) -> None:
    """The message stays readable; the error has them all."""
    run(engine, *(f"CREATE VIEW public.v{n} AS SELECT 1 FROM tuneledger.jobs" for n in range(25)))
    error = refusal(schema.drop, engine)
    assert len(error.objects) == 25
    assert " and 5 more; nothing was changed" in str(error)


def test_the_command_says_so(empty_postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`db drop` refuses in one line."""
    load(empty_postgres_url, "0001")
    with opened(empty_postgres_url) as engine:
        run(engine, "CREATE VIEW public.losses AS SELECT value FROM tuneledger.points")
    code = cli.run(["--quiet", "db", "drop", "--yes", "--db", empty_postgres_url])
    assert code == cli.exit_codes.REFUSED
    (line,) = capsys.readouterr().err.splitlines()
    assert "view public.losses (on tuneledger.points)" in line


def test_a_schema_with_more_than_tables_stays(empty_postgres_url: str) -> None:
    """A function of somebody's keeps the schema it stands in; our tables go."""
    load(empty_postgres_url, "0001")
    with opened(empty_postgres_url) as engine:
        run(engine, "CREATE FUNCTION tuneledger.one() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        schema.drop(engine)
        assert catalog_of(engine) == {}
        with engine.connect() as connection:
            assert connection.execute(text("SELECT tuneledger.one()")).scalar() == 1


def test_a_schema_of_somebody_else_stays(empty_postgres_url: str) -> None:
    """A role that owns the tables, but not the schema that was made for it, can drop what is its own."""
    role = "owns_tables_only"
    with opened(empty_postgres_url) as engine:
        run(
            engine,
            f"CREATE ROLE {role} LOGIN PASSWORD 'p'",
            "CREATE SCHEMA tuneledger",
            f"GRANT USAGE, CREATE ON SCHEMA tuneledger TO {role}",
        )
        try:
            url = engine.url.set(username=role, password="p")  # noqa: S106 - of a role that lives as long as this test
            with opened(url.render_as_string(hide_password=False)) as theirs:
                schema.upgrade(theirs)
                schema.drop(theirs)
            assert catalog_of(engine) == {}
            run(engine, "DROP SCHEMA tuneledger")
        finally:
            run(engine, f"DROP OWNED BY {role}", f"DROP ROLE {role}")
