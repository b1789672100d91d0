import io
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, redirect_stdout, suppress
from pathlib import Path
from shutil import rmtree

import pytest
from sqlalchemy.engine import make_url

from source_records import log_rows, openai_checkpoint, openai_job, page, trainer_state
from test_sync_databases import mlflow_database
from tuneledger import Archive
from tuneledger.cli import exit_codes, run
from tuneledger.errors import DatabaseBusy, DatabaseUnavailable, InvalidArgument, UnknownFormat
from tuneledger.parquet import write_parquet
from tuneledger.sync import Outcome, watch_paths, watching
from tuneledger.testing import job


class _Enough(Exception):
    """Ends a watch that would go on for ever."""


def watched(
    archive: Archive, path: Path | str, *rounds: Callable[[], object], **options: str
) -> list[list[Outcome]]:
    """The outcomes of the first round, and of one after each of these was done."""
    left = list(rounds)
    found: list[list[Outcome]] = [[]]

    def pause(seconds: float) -> None:
        assert seconds == 5
        if not left:
            raise _Enough
        left.pop(0)()
        found.append([])

    with suppress(_Enough):
        for outcome in watch_paths(archive, [str(path)], every_seconds=5, pause=pause, **options):
            found[-1].append(outcome)
    assert not left
    return found


def test_a_growing_file_is_followed(tmp_path: Path, database_url: str) -> None:
    """What a trainer adds is added; a look without news says nothing and writes nothing."""
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    file = run_folder / "trainer_state.json"
    file.write_text(json.dumps(trainer_state(log_rows(2))))

    def grow() -> None:
        file.write_text(json.dumps(trainer_state(log_rows(5))))

    def half() -> None:
        file.write_text(json.dumps(trainer_state(log_rows(9)))[:-5])

    def whole() -> None:
        file.write_text(json.dumps(trainer_state(log_rows(9))))

    with Archive(database_url) as archive:
        first, nothing, grown, cut, still_cut, rest = watched(
            archive, run_folder, lambda: None, grow, half, lambda: None, whole
        )
    assert [outcome.reports[0].added for outcome in first] == [2]
    assert nothing == []
    assert [outcome.reports[0].added for outcome in grown] == [3]
    assert cut == still_cut == []
    assert [outcome.reports[0].added for outcome in rest] == [4]


def test_a_refused_file_is_told_once(tmp_path: Path, sqlite_url: str) -> None:
    """And looked at again each time, for it may just be written."""
    folder = tmp_path / "run"
    folder.mkdir()
    file = folder / "job.json"
    file.write_text(json.dumps(openai_job() | {"created_at": "?"}))
    with Archive(sqlite_url) as archive:
        first, second, third = watched(
            archive, folder, lambda: None, lambda: file.write_text(json.dumps(openai_job()))
        )
    assert [outcome.error is not None for outcome in first] == [True]
    assert second == []
    assert [outcome.reports[0].created for outcome in third] == [True]


def test_a_new_file_finds_the_job_of_its_folder(tmp_path: Path, sqlite_url: str) -> None:
    """A file that names no job, beside one that was archived in an earlier round."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "job.json").write_text(json.dumps(openai_job()))

    def add() -> None:
        (folder / "checkpoints.json").write_text(json.dumps(page([openai_checkpoint(5, a=1.0)])))

    with Archive(sqlite_url) as archive:
        _, second = watched(archive, folder, add)
    assert [report.added for outcome in second for report in outcome.reports] == [1]


def run_folder(folder: Path) -> Path:
    """A run of MLflow's, as files; gives the file of its one metric."""
    for name in ("metrics", "params", "tags"):
        (folder / name).mkdir(parents=True)
    (folder / "meta.yaml").write_text("run_id: aaaa\nstatus: 1\nstart_time: 1700000000000\nend_time: null\n")
    (folder / "metrics" / "loss").write_text("1700000001000 0.5 1\n")
    return folder / "metrics" / "loss"


def test_a_url_is_no_pattern(sqlite_url: str) -> None:
    """Whatever stands in it: it is asked for, and no message shows the password in it."""
    url = "postgresql://u:secret@127.0.0.1:1/mlflow?connect_timeout=1"
    with Archive(sqlite_url) as archive:
        (first,), again = watched(archive, url, lambda: None)
    assert isinstance(first.error, DatabaseUnavailable)
    assert "secret" not in f"{first.name} {first.error}"
    assert again == []


def test_an_mlruns_folder_is_followed(tmp_path: Path, database_url: str) -> None:
    """A run whose files grow is read as the run that it is, and no other run with it; new runs are found."""
    metric = run_folder(tmp_path / "mlruns" / "0" / "aaaa")
    other = run_folder(tmp_path / "mlruns" / "0" / "bbbb")
    (other.parents[1] / "meta.yaml").write_text("run_id: bbbb\nstatus: 3\nstart_time: 1\nend_time: 2\n")

    def grow() -> None:
        with metric.open("a") as file:
            file.write("1700000002000 0.4 2\n")

    def begin() -> None:
        run_folder(tmp_path / "mlruns" / "0" / "cccc")
        meta = tmp_path / "mlruns" / "0" / "cccc" / "meta.yaml"
        meta.write_text("run_id: cccc\nstatus: 1\nstart_time: 1\nend_time: null\n")

    with Archive(database_url) as archive:
        _, nothing, grown, new = watched(archive, tmp_path / "mlruns", lambda: None, grow, begin)
    assert nothing == []
    assert [(r.job_id, r.added) for outcome in grown for r in outcome.reports] == [("aaaa", 1)]
    assert [(r.job_id, r.created) for outcome in new for r in outcome.reports] == [("cccc", True)]


def test_a_database_is_followed(tmp_path: Path, sqlite_url: str) -> None:
    """Also where what is new stands in the file beside it; behind a URL it is asked each time."""
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for table, columns in {
            "experiments": "experiment_id, name",
            "runs": "run_uuid, start_time, end_time, status, experiment_id",
            "metrics": "run_uuid, key, value, timestamp, step",
            "params": "run_uuid, key, value",
            "tags": "run_uuid, key, value",
        }.items():
            connection.execute(f"CREATE TABLE {table} ({columns})")
        connection.execute("INSERT INTO runs VALUES ('aaaa', 1, NULL, 'RUNNING', 0)")
        connection.commit()

        def grow(step: int) -> Callable[[], None]:
            def log() -> None:
                connection.execute("INSERT INTO metrics VALUES ('aaaa', 'loss', 0.5, 1000, ?)", (step,))
                connection.commit()

            return log

        with Archive(sqlite_url) as archive:
            for place, first in ((path, 1), (f"sqlite:///{path}", 4)):
                _, nothing, *grown = watched(
                    archive, place, lambda: None, *map(grow, range(first, first + 3))
                )
                assert nothing == []
                assert [report.added for found in grown for o in found for report in o.reports] == [1, 1, 1]


def test_a_folder_of_parquet_is_followed(tmp_path: Path, sqlite_url: str) -> None:
    """As the whole that it is."""
    folder = tmp_path / "parquet"
    with Archive("sqlite://") as given:
        given.save(job("one"))
        write_parquet(given, str(folder))
        given.save(job("two"))

        def more() -> None:
            rmtree(folder)
            write_parquet(given, str(folder))

        with Archive(sqlite_url) as archive:
            (first,), second = watched(archive, folder, more)
            assert first.copied is not None
            assert first.copied.copied == 1
            assert second == []
            with archive.read() as repository:
                assert set(repository.job_ids()) == {"one", "two"}


def test_a_file_that_vanishes_may_come_back(tmp_path: Path, sqlite_url: str) -> None:
    """A trainer keeps its last checkpoints alone: a pattern that matches nothing for a while ends nothing."""
    folder = tmp_path / "run" / "checkpoint-4"
    folder.mkdir(parents=True)
    file = folder / "trainer_state.json"
    file.write_text(json.dumps(trainer_state(log_rows(4))))

    def vanish() -> None:
        rmtree(folder)

    def come_back() -> None:
        folder.mkdir()
        file.write_text(json.dumps(trainer_state(log_rows(6))))

    with Archive(sqlite_url) as archive:
        first, gone, back = watched(archive, tmp_path / "run" / "*" / "*.json", vanish, come_back)
        assert [outcome.reports[0].added for outcome in first] == [4]
        assert gone == []
        assert [outcome.reports[0].added for outcome in back] == [2]
        with pytest.raises(InvalidArgument, match="no file matches"):
            watched(archive, tmp_path / "no" / "*.json")


def test_a_folder_that_vanishes_while_it_is_looked_for_is_passed_over(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was listed a moment ago; a trainer removes its older checkpoints."""
    for name in ("a", "b"):
        (tmp_path / "run" / name).mkdir(parents=True)
        (tmp_path / "run" / name / "trainer_state.json").write_text(json.dumps(trainer_state(log_rows(2))))
    scan = os.scandir

    def vanishing(place: str) -> object:
        if Path(place).name == "b":
            monkeypatch.undo()
            rmtree(place)
        return scan(place)

    monkeypatch.setattr(os, "scandir", vanishing)
    with Archive(sqlite_url) as archive:
        (first,) = watched(archive, tmp_path / "run")
    assert [Path(outcome.name).parent.name for outcome in first] == ["a"]
    assert not (tmp_path / "run" / "b").exists()


def test_what_cannot_be_looked_at_is_not_followed(tmp_path: Path, sqlite_url: str) -> None:
    """Standard input is read once; a missing file is told in the first round."""
    with Archive(sqlite_url) as archive:
        first, second = watched(archive, tmp_path / "missing", lambda: None)
    assert [outcome.error is not None for outcome in first] == [True]
    assert second == []
    assert watching._signature("-") is None


def test_the_command_follows_until_it_is_stopped(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`archive --watch`, ended by Ctrl-C."""
    file = tmp_path / "trainer_state.json"
    file.write_text(json.dumps(trainer_state(log_rows(2))))

    def stop(seconds: float) -> None:
        assert seconds == 7
        raise KeyboardInterrupt

    monkeypatch.setattr(watching.watch_paths, "__kwdefaults__", {"pause": stop})
    arguments = ["archive", str(file), "--watch", "7", "--db", sqlite_url]
    assert run(arguments) == exit_codes.INTERRUPTED
    captured = capsys.readouterr()
    assert "2 checkpoints added" in captured.out
    assert "looking again every 7 s; Ctrl-C ends it" in captured.err
    assert run([*arguments, "--json"]) == exit_codes.INTERRUPTED
    (told,) = json.loads(capsys.readouterr().out)["inputs"]  # which is whole
    assert told["name"] == str(file)


def test_a_watch_s_reader_need_not_wait(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happened is told when it happens, through a pipe too, which else holds back kilobytes."""
    (tmp_path / "trainer_state.json").write_text(json.dumps(trainer_state(log_rows(2))))
    pipe = io.BytesIO()

    def stop(_: float) -> None:
        told.append(pipe.getvalue())
        raise KeyboardInterrupt

    told: list[bytes] = []
    monkeypatch.setattr(watching.watch_paths, "__kwdefaults__", {"pause": stop})
    with redirect_stdout(io.TextIOWrapper(pipe, encoding="utf-8")):
        assert run(["archive", str(tmp_path), "--watch", "60", "--db", sqlite_url]) == exit_codes.INTERRUPTED
    assert b"2 checkpoints added" in told[0]


def test_a_database_that_is_away_is_waited_for(tmp_path: Path, sqlite_url: str) -> None:
    """It may come back; that it is away is told once for each time, of whatever it is that must be there."""
    path = tmp_path / "mlflow.db"
    mlflow_database(f"sqlite:///{path}")

    def leave() -> None:
        path.rename(tmp_path / "away")

    def come_back() -> None:
        (tmp_path / "away").rename(path)

    def same() -> None:
        pass

    with Archive(sqlite_url) as archive:
        first, *rest = watched(
            archive, f"sqlite:///{path}", leave, same, same, come_back, leave, same, come_back
        )
    assert [outcome.error for outcome in first] == [None]
    assert [[type(outcome.error) for outcome in told] for told in rest] == [
        [], [DatabaseUnavailable], [], [], [], [DatabaseUnavailable], [],
    ]  # fmt: skip


def test_a_database_of_others_is_told(sqlite_url: str) -> None:
    """Behind a URL somebody named it: it did not lie beside others, to be skipped."""
    with Archive(sqlite_url) as archive:
        (first,), again = watched(archive, sqlite_url, lambda: None)
    assert (type(first.error), first.skipped) == (UnknownFormat, False)
    assert again == []


def test_an_archive_that_is_away_is_waited_for(
    tmp_path: Path, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What changed meanwhile is archived when it is there again; in the first round nobody waits."""
    file = tmp_path / "trainer_state.json"
    file.write_text(json.dumps(trainer_state(log_rows(2))))
    with (
        closing(sqlite3.connect(make_url(sqlite_url).database or "", isolation_level=None)) as other,
        Archive(sqlite_url, wait_seconds=0) as archive,
    ):

        def lock() -> None:
            other.execute("BEGIN IMMEDIATE")
            file.write_text(json.dumps(trainer_state(log_rows(5))))

        first, locked, still, free = watched(
            archive, file, lock, lambda: None, lambda: other.execute("ROLLBACK")
        )
        assert [[outcome.reports[0].added for outcome in told] for told in (first, locked, still, free)] == [
            [2], [], [], [3],
        ]  # fmt: skip
        assert caplog.text.count("it is waited for") == 1
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseBusy):
            watched(archive, file)
        other.execute("ROLLBACK")


def test_other_runs_are_refused_in_every_round(tmp_path: Path, sqlite_url: str) -> None:
    """A second run does not slip into the job that was named because it alone has changed."""
    for name in ("a", "b"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    first, second = (tmp_path / "runs" / name / "trainer_state.json" for name in ("a", "b"))
    first.write_text(json.dumps(trainer_state(log_rows(2))))

    def begin() -> None:
        second.write_text(json.dumps(trainer_state(log_rows(5))))

    with Archive(sqlite_url) as archive:
        one, new, again = watched(archive, tmp_path / "runs", begin, lambda: None, job_id="mine")
    assert [outcome.reports[0].added for outcome in one] == [2]
    assert new == []
    assert ["another run" in str(outcome.error) for outcome in again] == [True]
