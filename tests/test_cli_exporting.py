"""`export`: the provider's record again."""

import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuneledger import Archive, CheckpointOut, Job, MetricOut
from tuneledger.cli import exit_codes
from tuneledger.repository import CheckpointRepository

EXAMPLES = Path(__file__).parents[1] / "src/tuneledger/examples"
CLASSIFIER = EXAMPLES / "classifier-job.json"

Run = Callable[..., Any]


@pytest.fixture
def filled(sqlite_url: str, command: Run) -> str:
    """An archive of the bundled examples."""
    assert command("archive", EXAMPLES, "--db", sqlite_url).code == 0
    return sqlite_url


def test_one_job(filled: str, command: Run) -> None:
    """One job comes as one object, equal to what was archived, its placeholders the 0.0 they were."""
    assert json.loads(command("export", "c1a5", "--db", filled).out) == json.loads(CLASSIFIER.read_text())


def test_several_jobs(filled: str, command: Run) -> None:
    """Several come as one array, in the order asked for, which can be archived again."""
    out = command("export", "d84b", "c1a5", "a3d0", "--db", filled).out
    assert [job["id"][:4] for job in json.loads(out)] == ["d84b", "c1a5", "a3d0"]
    again = command("archive", "-", "--db", filled, stdin=out.encode())
    assert "3 jobs, 3 unchanged" in again.out


def test_words_that_json_lacks(sqlite_url: str, command: Run) -> None:
    """NaN, infinities and -0.0 come back as they are."""
    values = {"a": float("nan"), "b": float("-inf"), "c": -0.0, "d": 2**60 + 1}
    with Archive(sqlite_url) as archive:
        checkpoint = CheckpointOut(metrics=MetricOut(**values), step_number=0, created_at=0)
        archive.save(Job(job_id="odd", provider="p", checkpoints=[checkpoint]))
    out = command("export", "odd", "--db", sqlite_url).out
    for text in ('"a": NaN', '"b": -Infinity', '"c": -0.0', f'"d": {2**60 + 1}'):
        assert text in out


def test_to_a_file(filled: str, command: Run, tmp_path: Path) -> None:
    """A file is written whole, for the user alone, and takes the place of an older one."""
    target = tmp_path / "job.json"
    target.write_text("older")
    ended = command("export", "c1a5", "-o", target, "--db", filled)
    assert (ended.code, ended.out) == (0, "")
    assert json.loads(target.read_text())["id"].startswith("c1a5")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_to_a_file_that_cannot_be(filled: str, command: Run, tmp_path: Path) -> None:
    """A folder that is not there is told."""
    ended = command("export", "c1a5", "-o", tmp_path / "no/such.json", "--db", filled)
    assert ended.code == exit_codes.REFUSED
    assert "No such file or directory" in ended.err


@pytest.mark.parametrize("before", [None, "older"])
def test_a_failure_leaves_no_half_file(
    filled: str, command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    """Where the second of two jobs cannot be read the file is what it was, and nothing lies beside it."""
    folder = tmp_path / "out"
    folder.mkdir()
    if before:
        (folder / "jobs.json").write_text(before)
    read = CheckpointRepository.job

    def job(repository: CheckpointRepository, job_id: str) -> Job:
        if job_id.startswith("c1a5"):
            raise OSError(5, "Input/output error")
        return read(repository, job_id)

    monkeypatch.setattr(CheckpointRepository, "job", job)
    ended = command("export", "5e1a", "c1a5", "-o", folder / "jobs.json", "--db", filled)
    assert (ended.code, ended.err.splitlines()[1]) == (1, "tuneledger: error: Input/output error")
    assert {path.name: path.read_text() for path in folder.iterdir()} == (
        {"jobs.json": before} if before else {}
    )


def test_to_a_pipe(filled: str, command: Run, tmp_path: Path) -> None:
    """A pipe or a device is written to, not replaced."""
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["/bin/cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
        assert command("export", "c1a5", "-o", tmp_path / "pipe", "--db", filled).code == 0
        assert reader.stdout
        assert json.loads(reader.stdout.read())["status"] == "SUCCESS"
    assert (tmp_path / "pipe").is_fifo()


def test_through_a_link(filled: str, command: Run, tmp_path: Path) -> None:
    """What a link points to is written, and the link stays one."""
    (tmp_path / "real.json").write_text("older")
    (tmp_path / "link.json").symlink_to("real.json")
    assert command("export", "c1a5", "-o", tmp_path / "link.json", "--db", filled).code == 0
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text())["status"] == "SUCCESS"
