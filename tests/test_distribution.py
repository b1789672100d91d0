"""What a distributed PostgreSQL (Citus) refuses is in neither the schema nor the statements.

The rules are Citus' own. They are held here on a plain PostgreSQL, so that no change breaks them unseen;
tests/test_citus.py runs on a real one.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from schema_archives import opened
from tuneledger import Archive, Event, schema
from tuneledger.cli import exit_codes, run
from tuneledger.copying import copy_jobs
from tuneledger.engine import opening
from tuneledger.pruning import prune
from tuneledger.tables import VIEWS, Base
from tuneledger.testing import checkpoint, checkpoints, job

REFERENCE = {"jobs", "metric_names"}
DISTRIBUTED = set(Base.metadata.tables) - REFERENCE

_UNIQUE = """
SELECT t.relname, array_agg(a.attname::text)
FROM pg_index AS i
JOIN pg_class AS t ON t.oid = i.indrelid
JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = ANY (i.indkey)
WHERE i.indisunique AND t.relnamespace = CAST(:schema AS regnamespace)
GROUP BY i.indexrelid, t.relname
"""
_FOREIGN_KEYS = """
SELECT c.conrelid::regclass::text, c.confrelid::regclass::text FROM pg_constraint AS c
WHERE c.contype = 'f' AND c.connamespace = CAST(:schema AS regnamespace)
"""
_COUNTS = {
    "triggers": "SELECT count(*) FROM pg_trigger AS g JOIN pg_class AS t ON t.oid = g.tgrelid "
    "WHERE NOT g.tgisinternal AND t.relnamespace = CAST(:schema AS regnamespace)",
    "functions": "SELECT count(*) FROM pg_proc WHERE pronamespace = CAST(:schema AS regnamespace)",
    "defaults": "SELECT count(*) FROM pg_attrdef AS d JOIN pg_class AS t ON t.oid = d.adrelid "
    "WHERE t.relnamespace = CAST(:schema AS regnamespace)",
    "exclusions": "SELECT count(*) FROM pg_constraint WHERE contype = 'x' "
    "AND connamespace = CAST(:schema AS regnamespace)",
}


@pytest.fixture
def archive(postgres_url: str) -> Iterator[Archive]:
    """A PostgreSQL archive."""
    with Archive(postgres_url) as archive:
        yield archive


def rows(archive: Archive, query: str) -> list[Any]:
    """What a query over the catalog gives."""
    with archive.engine.connect() as connection:
        return list(connection.execute(text(query), {"schema": archive.location.schema}))


def test_every_unique_key_leads_with_the_job(archive: Archive) -> None:
    """A distributed table's unique keys hold the job's key, or no shard could tell whether one is kept."""
    keys = [(table, columns) for table, columns in rows(archive, _UNIQUE) if table in DISTRIBUTED]
    assert {table for table, _ in keys} == DISTRIBUTED
    assert all("job_key" in columns for _, columns in keys)
    for name in DISTRIBUTED:
        assert next(iter(Base.metadata.tables[name].primary_key)).name == "job_key"


def test_foreign_keys_lead_to_reference_tables_alone(archive: Archive) -> None:
    """No foreign key is between distributed tables by another column, none from a reference table."""
    found = {tuple(name.split(".")[-1] for name in pair) for pair in rows(archive, _FOREIGN_KEYS)}
    assert found
    assert {of for of, _ in found} <= DISTRIBUTED
    assert {to for _, to in found} == {"jobs"}


@pytest.mark.parametrize("what", _COUNTS)
def test_nothing_that_shards_cannot_have(archive: Archive, what: str) -> None:
    """No triggers, functions, defaults that are expressions, or exclusion constraints."""
    assert rows(archive, _COUNTS[what]) == [(0,)]


@pytest.mark.parametrize("view", VIEWS)
def test_views_ask_nothing_of_a_job_that_every_node_has(archive: Archive, view: str) -> None:
    """No view has a subquery that depends on a row of ``jobs`` or ``metric_names``."""
    ((definition,),) = rows(archive, f"SELECT pg_get_viewdef('{archive.location.schema}.{view}', true)")
    assert not re.search(r"\( SELECT[^()]*(\([^()]*\)[^()]*)*= j\.job_key", definition)
    assert "job_key" in definition


def test_statements_keep_the_rules(archive: Archive, tmp_path: Path) -> None:
    """Locks are of one job, writes name the job, DO UPDATE calls nothing that is not immutable.

    A write goes by one connection to a node, and no query of ``jobs`` has a subquery of one job.
    """
    said: list[str] = []

    opening._have_citus[archive.engine.pool] = True

    @event.listens_for(archive.engine, "before_cursor_execute")
    def listen(*arguments: Any) -> None:
        said.append(" ".join(str(arguments[2]).split()))

    events = [Event(name="e", created_at=1)]
    archive.save(job(status="RUNNING", events=events, checkpoints=checkpoints(20)))
    archive.save(job("other", checkpoints=checkpoints(5)))
    archive.save(
        job(status="DONE", revision=1, checkpoints=[checkpoint(10, {"train_loss": 0.5}), checkpoint(7)])
    )
    archive.save(job(revision=2, checkpoints=checkpoints(3)), on_conflict="replace")
    appended = len(said)
    for together in ([checkpoint(10, {"valid_loss": None}), checkpoint(99)], [checkpoint(100)]):
        with archive.write() as repository:
            repository.append("job-1", together)
    appending = said[appended:]
    with archive.write() as repository:
        repository.label("job-1", add=["a"], remove=["b"])
    with archive.read() as repository:
        assert [found.last_step for found in repository.jobs(label="a", without_label="b").jobs] == [100]
        assert repository.jobs(input_name="none").jobs == []
        assert repository.latest_checkpoints().keys() == {"job-1", "other"}
        assert repository.best_checkpoints("train_loss").keys() == {"job-1", "other"}
    assert list(archive.verify()) == []
    with Archive(tmp_path / "x.db") as portable:
        copy_jobs(archive, portable)
        prune(archive, provider="conformance", keep_last=1)
        prune(archive, provider="conformance")
        copy_jobs(portable, archive)

    tables = "|".join(DISTRIBUTED)
    verbs = rf"^(?:INSERT INTO|UPDATE|DELETE FROM) (?:\w+\.)?(?:{tables})\b"
    writing = [statement for statement in said if re.match(verbs, statement)]
    assert {re.match(r"\w+", statement)[0] for statement in writing} == {"INSERT", "UPDATE", "DELETE"}  # type: ignore[index] # each has a verb
    assert all("job_key" in statement for statement in writing)
    locking = [statement for statement in said if "FOR UPDATE" in statement]
    assert locking
    assert all(re.search(r"job_key = %\(", statement) for statement in locking)
    updating = [statement.partition("DO UPDATE")[2] for statement in said if "DO UPDATE" in statement]
    assert updating
    assert not [
        part for part in updating if re.search(r"\b(now|random|nextval|clock_timestamp|to_timestamp)\(", part)
    ]
    assert not [said for said in appending if re.match(r"(INSERT INTO|UPDATE) (\w+\.)?jobs\b", said)]
    beginning = [statement for statement in said if "READ WRITE" in statement]
    assert beginning
    assert all("citus.multi_shard_modify_mode = 'sequential'" in statement for statement in beginning)
    assert not [
        statement for statement in said if re.search(r"\(SELECT .*= (\w+\.)?jobs\.job_key", statement)
    ]


def test_without_citus_nothing_is_distributed(
    empty_postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says what is missing: first of the archive, then of the server."""
    arguments = ["db", "distribute", "--db", empty_postgres_url]
    with opened(empty_postgres_url) as engine:
        assert run(arguments) == exit_codes.SCHEMA
        schema.upgrade(engine, "0004")
        assert run(arguments) == exit_codes.SCHEMA
        schema.upgrade(engine)
    assert run(arguments) == exit_codes.DATABASE
    assert "CREATE EXTENSION citus" in capsys.readouterr().err
    assert run([*arguments, "--shards", "0"]) == exit_codes.USAGE


def test_a_file_is_not_distributed(sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """SQLite is one file, and the message says which way leads to Citus."""
    assert run(["db", "distribute", "--db", sqlite_url]) == exit_codes.USAGE
    assert "tuneledger copy" in capsys.readouterr().err
