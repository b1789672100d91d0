"""`demo` and `scripts/demo`: the bundled example through the commands themselves."""

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuneledger import sources
from tuneledger.cli import demonstration, exit_codes
from tuneledger.sources import Document

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "src/tuneledger/examples"

STEPS = ["db", "archive", "archive", "jobs", "show", "checkpoints", "best", "best", "latest", "export"]

Run = Callable[..., Any]


def test_demo(database_url: str, command: Run) -> None:
    """Every step is a command that a user can repeat, with what it really answers, on either engine."""
    ended = command("demo", "--db", database_url)
    assert ended.code == 0
    shown = [
        line.removeprefix("$ tuneledger ")
        for line in ended.out.splitlines()
        if line.startswith("$ tuneledger ")
    ]
    assert [line.split()[0] for line in shown] == STEPS
    assert "0.9548" in ended.out
    assert "no step was evaluated" in ended.err
    assert os.environ.get("TUNELEDGER_DATABASE_URL") is None
    for line in shown:
        again = command("--quiet", *shlex.split(line), "--db", database_url)
        assert again.code == (exit_codes.NOT_EVALUATED if "c1a55f1e valid_loss" in line else 0)
        if "archive" not in line:
            assert again.out in ended.out


def test_demo_leaves_the_users_archive_alone(
    command: Run, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --db the demo makes a file of its own and names it, whatever the environment names."""
    monkeypatch.setenv("TUNELEDGER_DATABASE_URL", sqlite_url)
    ended = command("demo")
    assert ended.code == 0
    place = ended.out.splitlines()[0].partition("=")[2]
    assert os.environ["TUNELEDGER_DATABASE_URL"] == sqlite_url
    assert place in ended.out.splitlines()[-1]
    assert command("jobs", "--json").json["jobs"] == []
    assert len(command("jobs", "--json", "--db", place).json["jobs"]) == 4
    exported = json.loads((Path(place).parent / "exported.json").read_text())
    assert exported == json.loads((EXAMPLES / "classifier-job.json").read_text())


def test_demo_stops_at_what_it_did_not_expect(command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that ends otherwise than shown ends the demo with an error: it never pretends."""
    monkeypatch.setattr(demonstration, "_STEPS", (("Nothing there.", "best nothing valid_loss", 0),))
    ended = command("demo")
    assert ended.code == exit_codes.DATABASE
    assert "not 4" in ended.err
    monkeypatch.setattr(demonstration, "_STEPS", (("Too good.", "db upgrade", exit_codes.NOT_EVALUATED),))
    assert command("demo").code == exit_codes.REFUSED


def test_examples_are_in_mistrals_shape() -> None:
    """Each bundled record is told as Mistral's by its content, with the trap in it: 0.0 that is no value."""
    traps = 0
    for path in sorted(EXAMPLES.glob("*.json")):
        document = Document(str(path), path.read_bytes())
        assert sources.recognised(document).name == "mistral"
        traps += path.read_text().count('"valid_loss": 0.0')
    assert traps > 20


@pytest.mark.slow
def test_scripts_demo(tmp_path: Path) -> None:
    """The first of README's two commands, from any folder."""
    ended = subprocess.run([ROOT / "scripts/demo"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "$ tuneledger best 5e1a7c52 valid_loss" in ended.stdout
