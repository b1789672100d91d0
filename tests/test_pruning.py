import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event, text

from tuneledger import Archive
from tuneledger.cli import run
from tuneledger.copying import CopyReport, copy_jobs
from tuneledger.errors import DatabaseDamaged, InvalidArgument, JobNotFound
from tuneledger.pruning import prune
from tuneledger.repository import PINNED
from tuneledger.testing import checkpoint, checkpoints, job

DAY = 86_400


@pytest.fixture
def archive(database_url: str) -> Iterator[Archive]:
    """Ten jobs, a hundred days apart in age, of 50 checkpoints each; the third is pinned."""
    with Archive(database_url) as archive:
        for number in range(10):
            created_at = int(time.time()) - number * 100 * DAY
            archive.save(job(f"job-{number}", created_at=created_at, checkpoints=checkpoints(50)))
        archive.save(job("no time", checkpoints=checkpoints(3)))
        with archive.write() as repository:
            repository.label("job-3", add=[PINNED, "paper"])
        yield archive


def left(archive: Archive) -> dict[str, int]:
    """Each job with its number of checkpoints, after its digest and the whole archive were verified."""
    assert not list(archive.verify())
    with archive.read() as repository:
        found = repository.job_ids()
        assert all(repository.proof(job_id).holds for job_id in found)
        return {job_id: repository.count_checkpoints(job_id) for job_id in found}


def place(archive: Archive, table: str) -> str:
    """The table for SQL of the test's own."""
    return f"{archive.location.schema}.{table}" if archive.location.schema else table


def ago(days: int) -> int:
    """That many days before now."""
    return int(time.time()) - days * DAY


def test_labels(archive: Archive) -> None:
    """Labels are put on and taken off, twice is once, and jobs are found by them; no digest covers them."""
    with archive.write() as repository:
        before = repository.digests(["job-1"])
        assert repository.label("job-1", add=["b", "a", "b"]) == ["a", "b"]
        assert repository.label("job-1", add=["a", "c"], remove=["b", "never had"]) == ["a", "c"]
        assert repository.job_ids(label="a") == ["job-1"]
        assert len(repository.job_ids(without_label="a")) == 10
        assert repository.digests(["job-1"]) == before
        for wrong in ("", "x" * 101, "line\nbreak", "nul\0"):
            with pytest.raises(InvalidArgument):
                repository.label("job-1", add=[wrong])
        for wrong_way in ({"add": "paper"}, {"remove": "paper"}):  # letter by letter
            with pytest.raises(InvalidArgument, match="several names"):
                repository.label("job-1", **wrong_way)
        repository.delete_job("job-1")
        assert repository.job_ids(label="a") == []


def test_old_jobs_go_whole_and_pinned_ones_stay(archive: Archive) -> None:
    """What passes the filters goes with all that belongs to it, a pinned job never; the dry run says so."""
    would = prune(archive, created_from=1, created_to=ago(250), dry_run=True)
    assert len(left(archive)) == 11
    assert prune(archive, created_from=1, created_to=ago(250)) == would
    assert (would.deleted, would.thinned, would.checkpoints) == (6, 0, 300)
    assert left(archive) == {"job-0": 50, "job-1": 50, "job-2": 50, "job-3": 50, "no time": 3}
    with archive.engine.connect() as connection:
        for table in ("metrics", "events", "job_metrics", "job_digests"):
            query = f"SELECT DISTINCT job_key FROM {place(archive, table)}"
            keys = connection.execute(text(query)).scalars().all()
            assert len(keys) == (0 if table == "events" else 5)


def test_thinned_jobs_keep_their_best_and_last(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """With something to keep the jobs stay, summaries and digests fit, and pruning again changes nothing."""
    from tuneledger.repository import pruning

    monkeypatch.setattr(pruning, "_DIGESTS_A_WINDOW", 7)
    archive.save(
        job("job-1", checkpoints=[checkpoint(105, {"valid_loss": 0.01}), checkpoint(106, {"rare": 1.0})])
    )
    kept = {"keep_last": 3, "keep_best": [("valid_loss", "min"), ("valid_mean_token_accuracy", "max")]}
    would = prune(archive, provider="conformance", dry_run=True, **kept)  # type: ignore[arg-type] # by name
    report = prune(archive, provider="conformance", **kept)  # type: ignore[arg-type] # the same
    assert report == would
    assert (report.deleted, report.thinned) == (0, 9)
    assert left(archive) == {
        **{f"job-{number}": 3 for number in range(10)},
        "job-1": 4,
        "job-3": 50,
        "no time": 3,
    }
    with archive.read() as repository:
        assert [found.step_number for found in repository.checkpoints("job-1")] == [105, 480, 490, 500]
        best = repository.best_checkpoint("job-1", "valid_loss")
        assert best
        assert best.step_number == 105
        assert "rare" not in repository.metric_names("job-1")
    assert prune(archive, provider="conformance", **kept).checkpoints == 0  # type: ignore[arg-type] # the same


def test_archived_off_first(archive: Archive, tmp_path: Path) -> None:
    """What goes stands in the portable file, labels too; a job that cannot be proved there stays."""
    file = tmp_path / "off.db"
    with archive.write() as repository:
        repository.label("job-5", add=["kept"])
    report = prune(archive, created_from=1, created_to=ago(450), to=file)
    assert (report.archived, report.deleted) == (5, 5)
    with Archive(file, read_only=True) as portable:
        assert left(portable) == {f"job-{number}": 50 for number in range(5, 10)}
        with portable.read() as repository:
            assert repository.labels("job-5") == ["kept"]
    with archive.engine.begin() as connection:
        metrics = place(archive, "metrics")
        connection.execute(text(f"UPDATE {metrics} SET value = 7 WHERE value > 0 AND step_number = 20"))
    with pytest.raises(DatabaseDamaged, match="nothing more was deleted"):
        prune(archive, created_from=1, created_to=ago(150), to=file)
    with archive.read() as repository:
        assert repository.count_jobs() == 6


def test_archive_is_not_archived_off_to_itself(archive: Archive, tmp_path: Path) -> None:
    """However the place is spelt: proved where it is deleted from, a job would be gone."""
    if archive.location.path:
        itself = tmp_path / "link.db"
        itself.symlink_to(archive.location.path)
        to = str(itself)
    else:
        url = archive.location.url.update_query_dict({"application_name": "another"})
        to = url.render_as_string(hide_password=False)
    with pytest.raises(InvalidArgument, match="are one archive"):
        prune(archive, provider="conformance", to=to)
    assert len(left(archive)) == 11
    with Archive("sqlite://") as one, Archive("sqlite://") as other:
        assert one.is_same(one)
        assert not one.is_same(other)


def test_filters_are_what_was_asked_for(archive: Archive) -> None:
    """A label to leave out is left out beside the pinned jobs, and a misspelt filter is no filter at all."""
    for dry_run in (True, False):
        with archive.write() as repository:
            repository.label("job-4", add=["golden"])
        report = prune(archive, created_from=1, without_label="golden", dry_run=dry_run)
        assert report.deleted == 8
    assert set(left(archive)) == {"job-3", "job-4", "no time"}
    with pytest.raises(TypeError, match="labell"):
        prune(archive, labell="golden")  # type: ignore[call-arg] # the mistake
    assert len(left(archive)) == 3


def test_job_without_the_metric_stays_whole(archive: Archive) -> None:
    """Where nothing of a job is the best, by a misspelt metric or one of other jobs, nothing of it goes."""
    for dry_run in (True, False):
        report = prune(archive, provider="conformance", keep_best=[("valid_los", "min")], dry_run=dry_run)
        assert (report.thinned, report.checkpoints) == (0, 0)
    assert left(archive)["job-1"] == 50


@pytest.mark.no_cover
def test_as_many_as_anybody_keeps(sqlite_url: str) -> None:
    """Steps to keep, and metrics, may be more than SQLite takes parameters in one statement as it comes."""
    many = 33_000
    names = {f"m{number}": 1.0 for number in range(many)}
    with Archive(sqlite_url, durable=False) as archive:

        @event.listens_for(archive.engine, "connect")
        def limit(connection: sqlite3.Connection, _record: object) -> None:
            connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 32_766)

        archive.engine.dispose()
        archive.save(job("long", checkpoints=[checkpoint(step) for step in range(many + 10)]))
        archive.save(job("wide", checkpoints=[checkpoint(1, names)]))
        archive.save(job("wide", revision=2, checkpoints=[checkpoint(1, dict.fromkeys(names, 2.0))]))
        assert not list(archive.verify())
        assert prune(archive, provider="conformance", keep_last=many).checkpoints == 10
        archive.append("wide", [checkpoint(2, {"m0": 3.0})])
        assert prune(archive, provider="conformance", keep_last=1).checkpoints == many
        assert left(archive) == {"long": 1, "wide": 1}


@pytest.mark.parametrize("kept", [{}, {"keep_last": 3}], ids=["delete", "thin"])
def test_what_changes_meanwhile_stays(
    archive: Archive,
    tmp_path: Path,
    kept: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A job that is written to, or pinned, after it was chosen stays; one that is gone is no error."""

    def meanwhile(*arguments: object, **options: object) -> object:
        copied = copy_jobs(*arguments, **options)  # type: ignore[arg-type] # those that it was called with
        archive.append("job-5", [checkpoint(7_777)])
        with archive.write() as repository:
            repository.label("job-6", add=[PINNED])
            repository.delete_job("job-7")
        return copied

    monkeypatch.setattr("tuneledger.pruning.copy_jobs", meanwhile)
    file = tmp_path / "off.db"
    report = prune(archive, created_from=1, created_to=ago(450), to=file, **kept)  # type: ignore[arg-type] # by name
    assert (report.archived, report.changed) == (5, 2)
    assert (report.deleted, report.thinned) == ((0, 2) if kept else (3, 0))
    after = left(archive)
    assert (after["job-5"], after["job-6"]) == (51, 50)
    assert {after.get(f"job-{number}") for number in (8, 9)} == ({3} if kept else {None})
    monkeypatch.setattr("tuneledger.pruning.copy_jobs", lambda *_, **__: append_to("job-5", archive))
    db = ["--db", archive.location.url.render_as_string(hide_password=False)]
    assert run(["prune", "--older-than", "450d", "--to", str(file), "--yes", *db]) == 0
    assert "1 job changed meanwhile and stayed" in capsys.readouterr().err


def append_to(job_id: str, archive: Archive) -> CopyReport:
    """Somebody appends where a copy was to be made."""
    archive.append(job_id, [checkpoint(8_888)])
    return CopyReport()


def test_label_of_a_job_that_goes_meanwhile(postgres_url: str) -> None:
    """A job that is deleted between looking and labelling is not found, as one that never was."""
    with Archive(postgres_url) as archive:
        archive.save(job("job"))
        with archive.write() as repository:

            @event.listens_for(repository._connection, "before_cursor_execute")
            def delete(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
                if "FOR UPDATE" in statement:
                    with archive.write() as other:
                        other.delete_job("job")

            with pytest.raises(JobNotFound):
                repository.label("job", add=["x"])


def test_everything_is_never_meant(archive: Archive) -> None:
    """Without a filter, or with nothing to keep, it is refused."""
    with pytest.raises(InvalidArgument, match="which jobs"):
        prune(archive)
    with pytest.raises(InvalidArgument):
        prune(archive, provider="x", keep_last=0)


def test_commands(archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`label`, `pin` and `prune` do what they say, ask first, and say what went."""
    db = ["--db", archive.location.url.render_as_string(hide_password=False)]
    assert run(["label", "job-1", "--add", "a", "--add", "b", *db]) == 0
    assert run(["label", "job-1", "--remove", "a", *db]) == 0
    assert run(["label", "job-1", *db]) == 0
    assert capsys.readouterr().out == "a\nb\nb\nb\n"
    assert run(["label", "job-2", *db]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "no labels"
    assert run(["pin", "job-4", "job-3", *db]) == 0
    assert run(["pin", "job-3", "--undo", *db]) == 0
    assert run(["prune", "--older-than", "250d", "--dry-run", *db]) == 0
    assert capsys.readouterr().out == "would delete 6 jobs with 300 checkpoints\n"
    assert run(["prune", "--older-than", "250d", *db]) == 2
    assert run(["prune", "--older-than", "250d", "--to", str(tmp_path / "x.db"), "--yes", "--json", *db]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "dry_run": False,
        "deleted": 6,
        "thinned": 0,
        "checkpoints": 300,
        "archived": 6,
        "changed": 0,
    }
    best = [
        "--keep-best",
        "valid_loss",
        "--keep-best",
        "valid_mean_token_accuracy:max",
        "--keep-best",
        "a:b:min",
    ]
    assert run(["prune", "--label", "b", *best, "--yes", *db]) == 0
    assert capsys.readouterr().out == "deleted 49 checkpoints of 1 job\n"
    assert run(["prune", "--label", "nobody", "--yes", *db]) == 0
    assert capsys.readouterr().out == "deleted 0 jobs with 0 checkpoints\n"
    assert run(["prune", "--label", "b", "--keep-best", ":max", *db]) == 2
    assert run(["prune", "--older-than", "2001-01-01", "--dry-run", *db]) == 0


def test_declined(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever says no keeps everything."""
    monkeypatch.setattr("tuneledger.cli.retaining.confirmed", lambda *_, **__: False)
    db = ["--db", archive.location.url.render_as_string(hide_password=False)]
    assert run(["prune", "--provider", "conformance", *db]) == 1
    assert len(left(archive)) == 11
