import json
from importlib import resources
from pathlib import Path

import pytest

from tuneledger.cli import exit_codes, run

EXAMPLES = str(Path(str(resources.files("tuneledger.examples"))))


@pytest.fixture
def filled(database_url: str, capsys: pytest.CaptureFixture[str]) -> str:
    """An archive of the bundled examples, on either engine."""
    assert run(["archive", EXAMPLES, "--db", database_url]) == 0
    capsys.readouterr()
    return database_url


def test_best_ignores_placeholders(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The best step is an evaluated one; the 0.0 of the others is no value."""
    assert run(["best", "5e1a7c52", "valid_loss", "--db", filled, "--json"]) == 0
    (checkpoint,) = json.loads(capsys.readouterr().out)["checkpoints"]
    assert (checkpoint["step_number"], checkpoint["metrics"]["valid_loss"]) == (75, 0.9548)


def test_best_says_that_no_step_was_evaluated(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A job whose every value is a placeholder has no best step; the message and the exit code say so."""
    assert run(["best", "c1a55f1e", "valid_loss", "--db", filled]) == exit_codes.NOT_EVALUATED
    captured = capsys.readouterr()
    assert not captured.out
    assert "no step was evaluated" in captured.err
