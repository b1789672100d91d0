"""README.md and docs/command-line.md are true: their examples run, every command and option is in them."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from tuneledger import cli
from tuneledger.cli import exit_codes

ROOT = Path(__file__).parents[1]
README, COMMANDS = (ROOT / "README.md").read_text(), (ROOT / "docs/command-line.md").read_text()
BIN = Path(sys.executable).parent

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str, *languages: str) -> list[tuple[str, str]]:
    """The fenced blocks of a document in order, as language and content."""
    return [(language, content) for language, content in _BLOCK.findall(text) if language in languages]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the bundled records in it, as the examples have it."""
    for record in (ROOT / "src/tuneledger/examples").glob("*.json"):
        shutil.copy(record, tmp_path)
    return tmp_path


def run_examples(text: str, folder: Path) -> int:
    """Run the `sh` and `console` blocks of a document one after the other; give how many commands ran.

    In a console block the lines after a command are what it must print on standard output.
    """
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    count = 0
    for language, content in blocks(text, "sh", "console"):
        for command, expected in _commands(language, content):
            if command.startswith("export "):
                name, _, value = command.removeprefix("export ").partition("=")
                environment[name] = value
                continue
            ended = subprocess.run(
                ["/bin/bash", "-c", command],
                cwd=folder, env=environment, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert ended.returncode == 0, f"$ {command}\n{ended.stdout}{ended.stderr}"
            if expected is not None:
                assert ended.stdout == expected, f"$ {command}"
            count += 1
    return count


def _commands(language: str, content: str) -> Iterator[tuple[str, str | None]]:
    if language == "sh":
        yield from ((line, None) for line in content.splitlines())
        return
    for example in content.removeprefix("$ ").split("\n$ "):
        command, _, expected = example.partition("\n")
        yield command, expected if expected.endswith("\n") or not expected else f"{expected}\n"


# -- README -------------------------------------------------------------------------------------


def test_readme_has_all_kinds_of_blocks() -> None:
    """Every fenced block of README is of a kind that a test below runs."""
    assert README.count("```") == 2 * len(blocks(README, "sh", "console", "python"))
    assert [language for language, _ in blocks(README, "sh", "console", "python")] == [
        "console",
        "sh",
        "python",
    ]


def test_readme_first_screen(folder: Path) -> None:
    """The session on README's first screen prints what it shows."""
    (session,) = blocks(README, "console")
    assert run_examples(f"```console\n{session[1]}```", folder) == 3


def test_readme_two_commands() -> None:
    """The two commands are there and can be run; `scripts/test` is what CI runs, so this test need not."""
    ((_, content),) = blocks(README, "sh")
    named = [line.split()[0] for line in content.splitlines()]
    assert named == ["scripts/demo", "scripts/test"]  # test_cli_demo.py runs the first
    assert all(os.access(ROOT / script, os.X_OK) for script in named)
    assert "scripts/test" in (ROOT / ".ci/run").read_text().splitlines()


def test_readme_python(folder: Path) -> None:
    """The ten lines of Python run, are ten, and print the range that they ask for."""
    ((_, program),) = blocks(README, "python")
    assert len([line for line in program.splitlines() if line]) == 10
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True
    )
    report, *steps, best = ended.stdout.splitlines()
    assert "created=True, added=20" in report
    assert steps == ["65 0.801003", "70 0.798789", "75 0.858012", "80 0.764192"]
    assert "step_number=75" in best


@pytest.mark.parametrize("document", ["README.md", "docs/command-line.md"])
def test_links_lead_somewhere(document: str) -> None:
    """Each relative link names a file that is there, and a heading that is in it."""
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        path, _, heading = target.partition("#")
        found = (ROOT / document).parent / path if path else ROOT / document
        assert found.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


# -- docs/command-line.md -----------------------------------------------------------------------


def test_examples_of_the_command_line(folder: Path) -> None:
    """Every example of docs/command-line.md runs and prints what it shows."""
    assert run_examples(COMMANDS, folder) >= 12


def _leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Each command with its whole name, groups included."""
    yield name, command
    for below, found in getattr(command, "commands", {}).items():
        yield from _leaves(found, f"{name} {below}")


ROOT_COMMAND = typer.main.get_command(cli.app)
ALL = dict(_leaves(ROOT_COMMAND, "tuneledger"))
SHARED = COMMANDS.partition("## Options of every command")[2].partition("\n## ")[0]


@pytest.mark.parametrize("name", [name for name in ALL if name != "tuneledger"])
def test_each_command_is_documented(name: str) -> None:
    """Each command has a heading, and under it every option and argument that is not every command's."""
    heading = re.search(rf"^##+ `{name}`\n(.*?)(?=^##|\Z)", COMMANDS, re.MULTILINE | re.DOTALL)
    assert heading, f"docs/command-line.md has no heading `{name}`"
    assert ALL[name].help or ALL[name].short_help
    for parameter in ALL[name].params:
        words = parameter.opts if parameter.param_type_name == "option" else [parameter.metavar]
        for word in words:
            assert word in heading[1] or f"`{word}" in SHARED, f"{word} of {name} is not documented"
        if parameter.param_type_name == "option":
            assert parameter.help, f"{words[0]} of {name} has no help"


def test_nothing_else_is_documented() -> None:
    """No heading is about a command that there is not, and no option of all commands is missing."""
    assert set(re.findall(r"^##+ `(.*)`$", COMMANDS, re.MULTILINE)) == set(ALL) - {"tuneledger"}
    for parameter in ROOT_COMMAND.params:
        assert all(f"`{option}`" in SHARED for option in parameter.opts), parameter.opts


def test_exit_codes_are_documented() -> None:
    """The table of exit codes is the program's."""
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", COMMANDS, re.MULTILINE)
    assert {int(code): meaning for code, meaning in rows} == exit_codes.MEANINGS
