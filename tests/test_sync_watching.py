import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from source_records import log_rows, openai_checkpoint, openai_job, page, trainer_state
from tuneledger import Archive
from tuneledger.cli import exit_codes, run
from tuneledger.sync import Outcome, watch_paths, watching


class _Enough(Exception):
    """Ends a watch that would go on for ever."""


def watched(archive: Archive, path: Path, *rounds: Callable[[], object]) -> list[list[Outcome]]:
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
        for outcome in watch_paths(archive, [str(path)], every_seconds=5, pause=pause):
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
    assert "2 checkpoints added" in capsys.readouterr().out
