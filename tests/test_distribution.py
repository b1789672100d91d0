"""What a distributed PostgreSQL (Citus) refuses is in neither the schema nor the statements.

The rules are Citus' own. They are held here on a plain PostgreSQL, so that no change breaks them unseen.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from tuneledger import Archive, Event
from tuneledger.copying import copy_jobs
from tuneledger.pruning import prune
from tuneledger.tables import Base
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


def test_statements_that_write_keep_the_rules(archive: Archive, tmp_path: Path) -> None:
    """Locks are of one job, writes name the job, DO UPDATE calls nothing that is not immutable."""
    said: list[str] = []

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
    with archive.write() as repository:
        repository.append("job-1", [checkpoint(10, {"valid_loss": None}), checkpoint(99)])
    appending = said[appended:]
    with archive.write() as repository:
        repository.label("job-1", add=["a"], remove=["b"])
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
