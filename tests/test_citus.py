"""A real Citus cluster: making an archive a distributed one, and what then goes on as before.

The public suite runs there as well, see tests/test_conformance.py.
"""

import json
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text
from sqlalchemy.engine import make_url

from postgres_server import libpq_url
from schema_archives import catalog_of, contents, fill, grow, jobs_in, opened
from tuneledger import Archive, schema
from tuneledger.cli import exit_codes, run
from tuneledger.copying import copy_jobs
from tuneledger.engine.roles import ROLES, roles_sql
from tuneledger.errors import NotDistributable, PermissionDenied, SchemaBehind, SchemaEmpty
from tuneledger.pruning import prune
from tuneledger.tables import VIEWS, Base
from tuneledger.testing import checkpoint, checkpoints, job

pytestmark = pytest.mark.citus

REFERENCE = {"jobs", "metric_names"}
TABLES = set(Base.metadata.tables)


def placed(url: str) -> dict[str, tuple[str, int]]:
    """How each of our tables lies: by what column, and beside which others (a number)."""
    with opened(url) as engine, engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT relname, coalesce(column_to_column_name(logicalrelid, partkey), repmodel::text), "
            "colocationid FROM pg_dist_partition JOIN pg_class ON pg_class.oid = logicalrelid"
        )
        return {name: (column, beside) for name, column, beside in rows}


def is_distributed(url: str) -> bool:
    """Whether all tables are where they belong: two on every node, the rest beside each other by job."""
    found = placed(url)
    others = {found.get(table) for table in TABLES - REFERENCE}
    return (
        {found.get(table, ("", 0))[0] for table in REFERENCE} == {"t"}
        and len(others) == 1
        and {column for column, _ in filter(None, others)} == {"job_key"}
    )


@pytest.fixture
def local_url(empty_citus_url: str) -> str:
    """A filled archive on Citus that is not distributed."""
    with opened(empty_citus_url) as engine:
        schema.upgrade(engine)
        fill(empty_citus_url)
        grow(engine, jobs=5, steps=200)
    return empty_citus_url


def test_full_archive_is_distributed_as_it_is(local_url: str) -> None:
    """Every row is there afterwards, the catalog is what the revision makes; a second time does nothing."""
    with opened(local_url) as engine:
        before = contents(engine), catalog_of(engine)
        found = schema.distribute(engine, shards=6)
        assert (found.shards, found.nodes > 0, set(found.distributed)) == (6, True, TABLES)
        assert is_distributed(local_url)
        assert (contents(engine), catalog_of(engine)) == before
        assert schema.drift(engine) == []
        again = schema.distribute(engine, shards=2)
        assert (again.shards, again.distributed) == (6, [])
    assert [found.job_id for found in jobs_in(local_url)][-1] == "run-2"


def test_all_or_nothing(local_url: str) -> None:
    """A table that somebody distributed in another way is named, and no other is left distributed."""
    with opened(local_url) as engine:
        with engine.begin() as connection:
            connection.exec_driver_sql("SELECT create_distributed_table('tuneledger.metrics', 'step_number')")
        with pytest.raises(NotDistributable, match=r"metrics of .* \(step_number, not job_key\)"):
            schema.distribute(engine)
        assert placed(local_url).keys() == {"metrics"}
        with engine.begin() as connection:
            connection.exec_driver_sql("SELECT undistribute_table('tuneledger.metrics')")
        schema.distribute(engine)
    assert is_distributed(local_url)


def test_begun_by_hand_is_finished(local_url: str) -> None:
    """What is distributed already, as it should be, stays; the rest follows."""
    with opened(local_url) as engine:
        with engine.begin() as connection:
            connection.exec_driver_sql("SELECT create_reference_table('tuneledger.metric_names')")
        assert "metric_names" not in schema.distribute(engine).distributed
    assert is_distributed(local_url)


def test_only_an_archive_of_this_release(empty_citus_url: str) -> None:
    """Where there is no archive, or an older one, the error says so and names the command that mends it."""
    with opened(empty_citus_url) as engine:
        with pytest.raises(SchemaEmpty, match="db upgrade"):
            schema.distribute(engine)
        schema.upgrade(engine, "0003")
        with pytest.raises(SchemaBehind, match="db upgrade"):
            schema.distribute(engine)


def test_migrations_go_up_and_down(citus_url: str) -> None:
    """At every revision the rows are those of before, and what a step up adds is distributed by it."""
    fill(citus_url)
    with opened(citus_url) as engine:
        before = jobs_in(citus_url), catalog_of(engine)
        for revision in reversed(schema.revisions()):
            schema.downgrade(engine, revision, accept_data_loss=True, backup=False)
        for revision in schema.revisions():
            assert schema.upgrade(engine, revision) == revision
        assert is_distributed(citus_url)
        assert schema.drift(engine) == []
        assert (jobs_in(citus_url), catalog_of(engine)) == before
        schema.downgrade(engine, "base", accept_data_loss=True)
        assert not placed(citus_url).keys() & TABLES
        schema.upgrade(engine)
        schema.distribute(engine, shards=4)
        assert schema.drop(engine).others == []


def test_views_say_the_same(citus_url: str, postgres_url: str) -> None:
    """Each view gives the rows that it gives on one machine: all, counted, and those of one job."""

    def rows(url: str, query: str) -> list[str]:
        with opened(url) as engine, engine.connect() as connection:
            return sorted(map(repr, connection.execute(text(query), {"job_id": "ftjob-älteste"})))

    for url in (citus_url, postgres_url):
        fill(url)
        with opened(url) as engine:  # summaries that are stale, so that the views compute them
            grow(engine, jobs=2, steps=30)
    for view in VIEWS:
        for query in ("SELECT *", "SELECT count(*)"):
            for condition in ("", "WHERE job_id = :job_id"):
                asked = f"{query} FROM tuneledger.{view} {condition}"
                assert rows(citus_url, asked) == rows(postgres_url, asked) != [], asked


def test_there_and_back(citus_url: str, tmp_path: Path) -> None:
    """Copied there, grown, copied back, pruned: every digest holds at each step."""
    with (
        Archive(tmp_path / "one.db") as one,
        Archive(citus_url) as there,
        Archive(tmp_path / "two.db") as two,
    ):
        for number in range(12):
            one.save(
                job(f"job-{number:02}", model="odd" if number % 2 else "even", checkpoints=checkpoints(300))
            )
        with one.write() as repository:
            repository.label("job-01", add=["pinned"])
        assert copy_jobs(one, there).proved == 12
        there.append("job-03", [checkpoint(5_000)])
        there.save(job("job-04", revision=2, checkpoints=[checkpoint(10), checkpoint(11)]))
        assert copy_jobs(there, two).proved == 12
        with there.read() as here, two.read() as back:
            for found in here.jobs().jobs:
                assert back.job(found.job_id) == here.job(found.job_id)
        report = prune(there, model="odd", to=tmp_path / "off.db")
        assert (report.deleted, report.archived) == (5, 5)
        assert prune(there, model="even", keep_last=10, keep_best=[("train_loss", "max")]).thinned == 6
        assert list(there.verify()) == []
        assert list(there.repair()) == []


def test_roles(empty_citus_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The owner distributes, each role does its work there, and the view role is granted the tables."""
    name = f"c_{make_url(empty_citus_url).database}"[-40:]
    password = make_url(empty_citus_url).password  # as which role ever, the nodes know each other by this one

    def as_role(role: str) -> str:
        url = make_url(empty_citus_url).set(username=f"{name}_{role}")
        return f"{url.render_as_string(hide_password=False)}?schema={name}"

    with psycopg.connect(libpq_url(empty_citus_url), autocommit=True) as administrator:
        told: list[str] = []
        administrator.add_notice_handler(lambda notice: told.append(str(notice.message_primary)))
        script = roles_sql(name).encode()
        administrator.execute(script)
        try:
            for role in ROLES:
                role_name = sql.Identifier(f"{name}_{role}")
                administrator.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(role_name, password))
            assert run(["db", "upgrade", "--db", as_role("migrate")]) == exit_codes.OK
            administrator.execute(script)
            assert told == []
            with Archive(as_role("write")) as archive:
                archive.save(job("before", checkpoints=checkpoints(10)))
            assert run(["db", "distribute", "--db", as_role("write")]) == exit_codes.DATABASE
            capsys.readouterr()
            assert run(["db", "distribute", "--json", "--db", as_role("migrate")]) == exit_codes.OK
            assert len(json.loads(capsys.readouterr().out)["distributed"]) == len(TABLES)
            administrator.execute(script)
            assert len(told) == 1
            with Archive(as_role("write")) as archive:
                archive.save(job("after", checkpoints=checkpoints(10)))
                with archive.write() as repository:
                    repository.delete_job("before")
                assert list(archive.verify()) == []
            with Archive(as_role("read")) as archive:
                with archive.read() as repository:
                    assert len(repository.job("after").checkpoints) == 10
                with pytest.raises(PermissionDenied):
                    archive.save(job("another"))
            view = libpq_url(as_role("view").partition("?")[0])
            with psycopg.connect(view) as connection:
                for relation in VIEWS:
                    connection.execute(f"SELECT * FROM {name}.{relation}".encode())
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(f"DELETE FROM {name}.metrics".encode())
        finally:
            administrator.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))
            for role in ROLES:
                role_name = sql.Identifier(f"{name}_{role}")
                administrator.execute(sql.SQL("DROP OWNED BY {}").format(role_name))
                administrator.execute(sql.SQL("DROP ROLE {}").format(role_name))
