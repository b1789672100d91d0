"""The rule of two releases: an older release works on beside the newest schema, no summary is stale."""

import json
from typing import Any

import pytest
from sqlalchemy import Engine

from schema_archives import FOLDER
from schema_statements import scenario
from test_series_summary import expected, stored
from tuneledger import Archive

RECORDED = sorted(path.name.partition(".")[0] for path in FOLDER.glob("*.sqlite.statements.json"))


def replay(engine: Engine, revision: str) -> int:
    """Says what that release said, transaction by transaction; gives the number of statements."""
    text = (FOLDER / f"{revision}.{engine.dialect.name}.statements.json").read_text()
    said = 0
    for transaction in json.loads(text):
        with engine.begin() as connection:
            for statement in transaction:
                given = statement["parameters"]
                parameters: Any = [_row(row) for row in given] if statement["many"] else _row(given)
                connection.exec_driver_sql(statement["sql"], parameters or None)
                said += 1
    return said


def _row(given: Any) -> Any:
    return given if isinstance(given, dict) else tuple(given)


@pytest.mark.parametrize("revision", RECORDED)
def test_an_older_release_works_on(database_url: str, revision: str) -> None:
    """What that release saves, appends, changes, replaces and deletes ends in the same jobs as ours."""
    with Archive(database_url) as archive:
        assert replay(archive.engine, revision) > 50
        with archive.read() as repository:
            theirs = [repository.job(name) for name in ("kept", "replaced")]
            assert repository.count_jobs() == 2
            summaries = {job.job_id: repository.summaries(job.job_id) for job in theirs}
            best = repository.best_checkpoint("kept", "train_loss")
        assert list(archive.verify()) == []
        for job in theirs:
            assert summaries[job.job_id] == expected(job.checkpoints)
        assert best == theirs[0].checkpoints[-1]
        with archive.write() as repository:
            for job in theirs:
                repository.delete_job(job.job_id)
        scenario(archive)
        with archive.read() as repository:
            assert [repository.job(name) for name in ("kept", "replaced")] == theirs


@pytest.mark.parametrize("revision", RECORDED)
def test_the_next_write_stores_the_summary(database_url: str, revision: str) -> None:
    """What the older release left without a summary gets it with the next change to the job."""
    with Archive(database_url) as archive:
        replay(archive.engine, revision)
        assert all(summary.number_count is None for summary in stored(archive).values())
        with archive.write() as repository:
            repository.delete_job("replaced")
            last = repository.checkpoints("kept")[-1]
            repository.append("kept", [last.model_copy(update={"step_number": last.step_number + 1})])
            wanted = expected(repository.checkpoints("kept"))
        assert stored(archive) == wanted


def test_there_is_something_recorded() -> None:
    """The first release's statements are kept."""
    assert "0001" in RECORDED
