import json
import math
import os
import pty
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, text

from tuneledger import NOT_EVALUATED, Archive, Event, Input, copying
from tuneledger.cli import exit_codes, run
from tuneledger.copying import CopyReport, copy_jobs
from tuneledger.errors import DatabaseDamaged, InvalidArgument, JobNotFound
from tuneledger.repository import copying as row_copying
from tuneledger.tables import Base
from tuneledger.testing import checkpoint, checkpoints, job

KILLS = 20 if os.environ.get("TUNELEDGER_LONG") == "1" else 4


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Archive]:
    """An archive with all that a model does not carry: older fields, states, inputs, equal events."""
    with Archive(tmp_path / "source.db") as archive:
        archive.save(
            job(
                "rich",
                status="QUEUED",
                model="m",
                revision=1,
                document={"only": "the first payload had it"},
                events=[Event(name="twice", created_at=5), Event(name="twice", created_at=5)],
            ),
            inputs=[Input("first.json", "conformance", 3, "aa")],
        )
        values = {
            "a": math.nan,
            "b": -0.0,
            "c": None,
            "valid_loss": NOT_EVALUATED,
            "d": math.inf,
            "huge": 2**63 + 1,
        }
        archive.save(
            job(
                "rich",
                status="SUCCESS",
                revision=2,
                checkpoints=[*checkpoints(30), checkpoint(1000, values, kept="as it came")],
            ),
            inputs=[Input("second.json", "conformance", 4, "bb")],
        )
        archive.save(job("bare", created_at=7))
        for number in range(20):
            archive.save(job(f"job-{number:02}", model="n", checkpoints=checkpoints(5)))
        yield archive


def contents(archive: Archive) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, with ids in place of keys and names in place of their numbers."""
    found = {}
    with archive.read() as repository:
        jobs, names = Base.metadata.tables["jobs"], Base.metadata.tables["metric_names"]
        ids = {row.job_key: row.job_id for row in repository._execute(select(jobs))}
        named = {row.name_id: row.name for row in repository._execute(select(names))}
        for name, table in Base.metadata.tables.items():
            if table is names:
                continue
            exchanged = {"job_key": ids, "name_id": named}
            rows = [
                tuple(repr(exchanged.get(column, {}).get(value, value)) for column, value in row.items())
                for row in repository._execute(select(table)).mappings()
            ]
            found[name] = sorted(rows)
    return found


def test_what_rows_share_is_bound_once(tmp_path: Path) -> None:
    """A value costs SQLite two bound values, step and value: not the job, the metric and a NULL each time."""
    bound = 0

    def count(_connection: object, _cursor: object, statement: str, parameters: Any, *_rest: object) -> None:
        nonlocal bound
        if statement.startswith("INSERT INTO metrics "):
            bound += sum(map(len, parameters)) if isinstance(parameters, list) else len(parameters)

    names = ("train_loss", "valid_loss", "odd")
    steps = [checkpoint(step, dict.fromkeys(names, step / 8)) for step in range(1_000)]
    odd = checkpoint(1_000, {"odd": math.nan})
    with Archive(tmp_path / "from.db") as source, Archive(tmp_path / "to.db") as target:
        source.save(job("long", checkpoints=[*steps, odd]))
        event.listen(target.engine, "before_cursor_execute", count)
        assert copy_jobs(source, target).copied == 1
        # The one series that has kinds has 1,001 of them bound too; a statement, what its rows share.
        assert bound <= 2 * 3_001 + 1_001 + 2 * 3 * (1_001 // 200 + 1)
        assert contents(source) == contents(target)


def test_copy_carries_every_row(source: Archive, database_url: str, tmp_path: Path) -> None:
    """There and back again every table holds the same rows: older fields, states, inputs and all."""
    assert any(row[-2] != "None" for row in contents(source)["jobs"]), "no older fields to be carried"
    with Archive(database_url) as there, Archive(tmp_path / "back.db") as back:
        report = copy_jobs(source, there)
        assert (report.copied, report.proved, report.unproved) == (22, 22, [])
        assert contents(there) == contents(source)
        copy_jobs(there, back)
        assert contents(back) == contents(source)
        # Name by name: the ids are drawn by each archive for itself.
        with source.read() as one, back.read() as other:
            assert other.job("rich") == one.job("rich")
            assert [found.job_id for found in other.jobs().jobs] == [
                found.job_id for found in one.jobs().jobs
            ]


def test_long_job_goes_by_windows(
    source: Archive, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job with more rows than a window holds is copied whole, each row once."""
    monkeypatch.setattr(row_copying, "_ROWS_A_WINDOW", 7)
    monkeypatch.setattr(copying, "_ROWS_A_BATCH", 10)
    monkeypatch.setattr(copying, "_JOBS_A_PAGE", 5)
    with Archive(database_url) as there:
        copy_jobs(source, there)
        assert contents(there) == contents(source)


def test_second_copy_writes_nothing(source: Archive, database_url: str) -> None:
    """Jobs whose digest is there are left alone, and proved all the same."""
    with Archive(database_url) as there:
        copy_jobs(source, there)
        report = copy_jobs(source, there)
    assert (report.copied, report.merged, report.unchanged, report.proved) == (0, 0, 22, 22)


def test_labels_and_inputs_of_equal_jobs_add_up(source: Archive, database_url: str, tmp_path: Path) -> None:
    """Labels, pins and inputs of a job whose content is there go too; ``replace`` makes them equal."""
    with Archive(database_url) as there, Archive(tmp_path / "third.db") as third:
        third.save(job("bare", created_at=7), inputs=[Input("third.json", "conformance", 5, "cc")])
        copy_jobs(source, there)
        with source.write() as repository:
            repository.label("rich", add=["pinned", "theirs"])
            repository.label("job-03", add=["theirs"])
        with there.write() as repository:
            repository.label("rich", add=["ours", "theirs"])
        report = copy_jobs(source, there)
        assert (report.copied, report.unchanged, report.annotated) == (0, 22, 2)
        assert copy_jobs(third, there).annotated == 1
        assert copy_jobs(source, there).annotated == 0
        with there.read() as repository:
            assert repository.labels("rich") == ["ours", "pinned", "theirs"]
            assert repository.labels("job-03") == ["theirs"]
            assert [found.name for found in repository.inputs("bare")] == ["third.json"]
        assert copy_jobs(source, there, on_conflict="replace").annotated == 2
        assert contents(there) == contents(source)


def test_labels_of_a_job_that_goes_meanwhile(source: Archive, tmp_path: Path) -> None:
    """A job that was deleted since its labels were compared is left out."""
    with Archive(tmp_path / "there.db") as there:
        copy_jobs(source, there)
        with source.write() as repository:
            repository.label("bare", add=["new"])
            repository.label("rich", add=["new"])
        with source.read() as one, there.read() as other:
            changes = other.changes_beside(one, ["bare", "rich"])
        with there.write() as repository:
            repository.delete_job("bare")
            assert repository.change_beside(changes) == 1
            assert repository.labels("rich") == ["new"]


def test_grown_jobs_are_merged(source: Archive, database_url: str) -> None:
    """What came to a job since it was copied is added, with its states and inputs, whatever its length."""
    with Archive(database_url) as there:
        copy_jobs(source, there)
        grown = [checkpoint(step, {f"m{step % 200}": 1.0}) for step in range(2000, 2900)]
        archived = Input("third.json", "conformance", 5, "cc")
        source.save(job("rich", status="REOPENED", revision=3, checkpoints=grown[:800]), inputs=[archived])
        source.save(job("rich", status="DONE", revision=4, checkpoints=grown[800:]))
        report = copy_jobs(source, there)
        assert (report.merged, report.unchanged, report.proved) == (1, 21, 22)
        with source.read() as one, there.read() as other:
            assert other.job("rich") == one.job("rich")
            assert other.states("rich") == one.states("rich")
            assert other.inputs("rich") == one.inputs("rich")


def test_conflicts_are_decided_as_by_a_save(source: Archive, tmp_path: Path) -> None:
    """``keep`` keeps, ``error`` refuses that job alone, ``replace`` makes it the one that comes."""
    with Archive(tmp_path / "there.db") as there:
        other = job("job-00", revision=9, checkpoints=[checkpoint(10, {"train_loss": 99.0}), checkpoint(11)])
        there.save(other)
        source.save(job("job-00", revision=10))
        report = copy_jobs(source, there, on_conflict="error")
        assert (report.copied, len(report.refused)) == (21, 1)
        copy_jobs(source, there, on_conflict="keep")
        with there.read() as repository:
            assert repository.checkpoint("job-00", 10).metrics.train_loss == 99.0
            assert repository.count_checkpoints("job-00") == 6
        assert copy_jobs(source, there, on_conflict="replace").merged == 1
        assert contents(there) == contents(source)
        with pytest.raises(
            InvalidArgument, match="on_conflict is one of merge, keep, error, replace, not 'ask'"
        ):
            copy_jobs(source, there, on_conflict="ask")


def test_newer_steps_win_as_by_a_save(tmp_path: Path) -> None:
    """Also where the newer job says nothing of its status, and the one that is there ended."""
    older = job("j", status="succeeded", revision=1, checkpoints=[checkpoint(1, {"train_loss": 2.0})])
    newer = job("j", status=None, revision=5, checkpoints=[checkpoint(1, {"train_loss": 9.0})])
    with (
        Archive(tmp_path / "newer.db") as comes,
        Archive(tmp_path / "copied.db") as copied,
        Archive(tmp_path / "saved.db") as saved,
    ):
        comes.save(newer)
        for there in (copied, saved):
            there.save(older)
        saved.save(newer)
        assert copy_jobs(comes, copied).merged == 1
        with copied.read() as one, saved.read() as other:
            assert one.job("j") == other.job("j")
            assert one.checkpoint("j", 1).metrics.train_loss == 9.0


def test_merged_job_that_goes_meanwhile(postgres_url: str, tmp_path: Path) -> None:
    """A job that is deleted when it was to be merged comes whole."""
    with Archive(tmp_path / "one.db") as one, Archive(postgres_url) as other:
        one.save(job("j", checkpoints=checkpoints(3)))
        other.save(job("j", checkpoints=checkpoints(1)))

        waiting = [other.write]

        @event.listens_for(other._writing, "before_cursor_execute")
        def delete(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
            if "FOR UPDATE" in statement and waiting:
                with waiting.pop()() as repository:
                    repository.delete_job("j")

        assert copy_jobs(one, other).merged == 1
        assert not waiting
        assert contents(other)["checkpoints"] == contents(one)["checkpoints"]


def test_source_goes_on_meanwhile(source: Archive, tmp_path: Path) -> None:
    """A job that comes once its place was passed is left to the next copy, one that goes is not proved."""
    with Archive(tmp_path / "there.db") as there:

        def meanwhile(_report: CopyReport) -> None:
            source.save(job("late", checkpoints=checkpoints(2)))
            with there.write() as repository:
                if "bare" in repository.job_ids():
                    repository.delete_job("bare")

        report = copy_jobs(source, there, progress=meanwhile)
        assert (report.copied, report.proved) == (22, 21)
        assert copy_jobs(source, there).copied == 2


def test_selection(source: Archive, tmp_path: Path) -> None:
    """Only the jobs asked for go, by id, by filter, or both; an unknown id is an error."""
    with Archive(tmp_path / "there.db") as there:
        assert copy_jobs(source, there, job_ids=["bare", "job-03"], model="n").copied == 1
        assert copy_jobs(source, there, created_from=7).copied == 1
        with pytest.raises(JobNotFound):
            copy_jobs(source, there, job_ids=["bare", "nobody"])
        with there.read() as repository:
            assert {found.job_id for found in repository.jobs().jobs} == {"bare", "job-03"}


def test_job_that_came_meanwhile_is_left_alone(source: Archive, database_url: str) -> None:
    """A job that another writer brought after it was looked for is not written over."""
    with Archive(database_url) as there:
        there.save(job("bare", document={"mine": True}))
        with source.read() as one:
            found = one.jobs_after(0, 100)
        keys = [entry.job_key for entry in found if entry.job_id in {"bare", "rich"}]
        with source.read() as one, there.write() as other:
            assert other.copy_new(one, keys) == {"rich"}
            assert other.copy_new(one, [10**9]) == set()
            assert other.copy_new(one, keys) == set()
        with there.read() as other:
            assert other.job("bare").document == {"mine": True}


def test_raced_job_is_merged(source: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that came while others were copied is merged like one that was there before."""
    with Archive(tmp_path / "there.db") as there:
        batches = copying.batches

        def late(*arguments: Any) -> Iterator[Any]:
            there.save(job("bare", document={"mine": True}))
            yield from batches(*arguments)

        monkeypatch.setattr(copying, "batches", late)
        report = copy_jobs(source, there)
        assert (report.copied, report.merged) == (21, 1)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE metrics SET value = value + 1 WHERE step_number = 10 AND value IS NOT NULL",
        "DELETE FROM metrics WHERE step_number = 20",
        "UPDATE checkpoints SET created_at = created_at + 1 WHERE step_number = 30",
        "UPDATE checkpoints SET digest = 1 WHERE step_number = 30",
    ],
)
def test_damage_is_found_at_the_end(source: Archive, tmp_path: Path, damage: str) -> None:
    """Content that does not fit its digest, wherever it was damaged, is no success."""
    with Archive(tmp_path / "there.db") as there:
        copy_jobs(source, there)
        with there.engine.begin() as connection:
            connection.execute(text(damage))
        report = copy_jobs(source, there)
        assert "rich" in report.unproved
        assert "bare" not in report.unproved
        with there.read() as repository:
            assert repository.proof("rich").wrong_steps[0] in {10, 20, 30}


def test_values_whose_checkpoint_is_gone_are_no_proof(source: Archive) -> None:
    """A job that lost a checkpoint does not fit its digest, though every step that is left fits its own."""
    with source.engine.begin() as connection:
        connection.execute(text("DELETE FROM checkpoints WHERE step_number = 20"))
    with source.read() as repository:
        proof = repository.proof("rich")
    assert (proof.holds, proof.wrong_steps) == (False, ())


def test_value_of_no_series_is_damage(source: Archive, tmp_path: Path) -> None:
    """A value under a name that its job does not have cannot be copied, and is said to be damage."""
    with source.engine.begin() as connection:
        connection.execute(text("DELETE FROM job_metrics"))
    with Archive(tmp_path / "there.db") as there, pytest.raises(DatabaseDamaged, match="verify"):
        copy_jobs(source, there)


@pytest.mark.timeout(75 * KILLS)
@pytest.mark.parametrize("back", [False, True], ids=["to PostgreSQL", "back to SQLite"])
def test_killed_copy_goes_on(source: Archive, postgres_url: str, tmp_path: Path, back: bool) -> None:  # noqa: FBT001 - a parameter
    """Killed at any moment, it leaves whole jobs alone, and ends where it would have ended."""
    for number in range(150):
        source.save(job(f"more-{number:03}", checkpoints=checkpoints(40)))
    program = (
        "import sys; from tuneledger import Archive, copying; copying._ROWS_A_BATCH = 300\n"
        "with Archive(sys.argv[1], read_only=True) as one, Archive(sys.argv[2]) as other:\n"
        "    copying.copy_jobs(one, other, progress=lambda report: print(report.copied, flush=True))"
    )
    places = [str(tmp_path / "source.db"), postgres_url]
    if back:
        with Archive(postgres_url) as server:
            copy_jobs(source, server)
        places = [postgres_url, str(tmp_path / "there.db")]
    command = [sys.executable, "-c", program, *places]
    draw = random.Random(8)  # noqa: S311 - no secret
    before = 0
    with Archive(places[1]) as there:
        for _ in range(KILLS):
            with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
                assert process.stdout
                for _ in range(draw.randrange(1, 6)):
                    process.stdout.readline()
                time.sleep(draw.uniform(0.0, 0.02))
                process.send_signal(signal.SIGKILL)
            with there.read() as repository:
                found = repository.jobs_after(0, 1_000)
                assert before < len(found) < 172, "this kill did not fall into the copying"
                assert all(repository.proof(entry.job_id).holds for entry in found)
                before = len(found)
        report = copy_jobs(source, there)
        assert report.proved == 172
        assert report.unchanged == before
        assert contents(there) == contents(source)


def test_command(source: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`tuneledger copy` makes a small archive of a selection, says what it did, and fails where it must."""
    one, other = str(tmp_path / "source.db"), str(tmp_path / "portable.db")
    assert run(["copy", one, other, "--job", "ric", "--no-prove"]) == 0
    assert capsys.readouterr().out == "copied 1 job, merged 0, found 0 there already\n"
    assert run(["copy", f"{one}x", other]) == exit_codes.DATABASE
    assert f"there is no archive at {one}x; `tuneledger archive PATH` makes one" in capsys.readouterr().err
    assert run(["copy", one, other, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["copied"] == 21
    assert run(["copy", one, other]) == 0
    assert "the digests of 22 fit" in capsys.readouterr().out
    with source.write() as repository:
        repository.label("rich", add=["kept"])
    assert run(["copy", one, other]) == 0
    assert "found 22 there already (1 of them got labels or inputs)" in capsys.readouterr().out
    with source.engine.begin() as connection:
        connection.execute(text("UPDATE checkpoints SET created_at = 1 WHERE step_number = 30"))
    source.save(job("bare", revision=5, created_at=8))
    assert run(["copy", one, other, "--on-conflict", "error"]) == 1
    assert "bare" in capsys.readouterr().err
    assert run(["copy", one, str(tmp_path / "third.db")]) == 1
    assert "does not fit its digest" in capsys.readouterr().err


@pytest.mark.usefixtures("source")
def test_progress_on_a_terminal(tmp_path: Path) -> None:
    """On a terminal it shows how far it is."""
    leader, follower = pty.openpty()
    paths = [str(tmp_path / "source.db"), str(tmp_path / "there.db")]
    command = [sys.executable, "-m", "tuneledger", "copy", *paths]
    subprocess.run(command, stderr=follower, stdout=subprocess.DEVNULL, check=True)
    os.close(follower)
    shown = os.read(leader, 100_000).decode()
    os.close(leader)
    assert "copied 22 jobs" in shown
