"""Runs the examples of a document: its blocks in order, in one folder, as somebody who follows it would."""

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from browsing import served
from tuneledger import cli

ROOT = Path(__file__).parents[1]
HOME = "/home/you"
"""Where the documents have the folder that they are followed in."""

_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_SHELL = re.compile(r"[|&;<>$`*]")
_EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


class Block(NamedTuple):
    """A fenced block of a document."""

    language: str
    title: str
    content: str


def blocks(text: str, *languages: str) -> list[Block]:
    """The blocks of a document in order; only those of these languages, if any are named."""
    found = [Block(*parts) for parts in _BLOCK.findall(text)]
    assert text.count("\n```") == 2 * len(found), "a block that is none to this test"
    return [block for block in found if not languages or block.language in languages]


class Reader:
    """Somebody who follows documents: a folder, an environment, and servers that go on running.

    ``stand_ins`` are put in place of what a document can only say by way of example: hosts and the like.
    """

    def __init__(self, folder: Path, stand_ins: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.stand_ins = stand_ins or {}
        self.environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        self.count = 0
        self._before = dict(os.environ), Path.cwd()
        self._servers = ExitStack()
        self._installed = False  # this process does not see it

    def __enter__(self) -> Self:
        """Go into the folder."""
        os.chdir(self.folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Go back, as if nothing had been, and end what still runs."""
        environment, folder = self._before
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        self._servers.close()

    def follow(self, text: str) -> None:
        """Do what the `sh`, `console` and `python` blocks say; what they show must be what comes.

        A Python or TOML block with a title is a file; a Python block without is run, and a `text` block
        right after it is what it prints. In a console block the lines after a command are what that prints
        on standard output.
        """
        said: str | None = None
        for block in blocks(text):
            content = block.content.replace(HOME, str(self.folder))
            if block.title and block.language in {"python", "toml"}:
                self._write(block.title, content)
            elif block.language == "python":
                said = self._ended([sys.executable, "-c", content], "a block of Python")
                continue
            elif block.language == "text" and said is not None:
                assert said == content
            elif block.language in {"sh", "console"}:
                for command, expected in _commands(block.language, content):
                    printed = self.run(command)
                    for shown, meant in self.stand_ins.items():
                        printed = printed.replace(meant, shown)
                    same = expected is None or printed.rstrip("\n") == expected.rstrip("\n")
                    assert same, f"$ {command}\n{printed}"
            said = None

    def run(self, command: str) -> str:
        """Run one command line; give what it prints on standard output. It must end well."""
        for said, meant in self.stand_ins.items():
            command = command.replace(said, meant)
        self.count += 1
        if command.startswith("export "):
            name, _, value = command.removeprefix("export ").partition("=")
            # A key is shown as three dots, and comes from whoever follows the document.
            if value != "...":
                self.environment[name] = shlex.split(value)[0]
            return ""
        if command == "pip install -e .":
            self._install()
            return ""
        if command.startswith("pip install "):
            for named in re.findall(r"tuneledger\[([^]]+)\]", command):
                assert set(named.split(",")) <= set(_EXTRAS), command
            return ""
        program, *arguments = shlex.split(command)
        if (program, *arguments[:1]) == ("tuneledger", "dashboard") or program == "uvicorn":
            self._serve(program, arguments)
            return ""
        if program == "tuneledger" and not (_SHELL.search(command) or self._installed):
            return self._run_here(arguments)
        return self._ended(["/bin/bash", "-c", command], f"$ {command}")

    def _install(self) -> None:
        """Install the package that the folder holds, as a copy beside what is installed."""
        options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", "site"]
        shutil.rmtree(
            self.folder / "site", ignore_errors=True
        )  # pip would leave what it was before beside it
        self._ended([sys.executable, "-m", "pip", "install", *options, "."], "pip install -e .")
        self.environment["PYTHONPATH"] = str(self.folder / "site")
        self._installed = True

    def _serve(self, program: str, arguments: list[str]) -> None:
        port = arguments[arguments.index("--port") + 1] if "--port" in arguments else "8080"
        os.environ.update(self.environment)
        ready = "/docs" if program == "uvicorn" else "/"
        url = self._servers.enter_context(served(*arguments, program=program, ready=ready))
        self.stand_ins[f"127.0.0.1:{port}"] = url.removeprefix("http://")

    def _run_here(self, arguments: list[str]) -> str:
        """Run ``tuneledger`` in this process, which saves most of a second."""
        os.environ.update(self.environment)
        printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        with redirect_stdout(printed):
            code = cli.run(arguments)
        printed.seek(0)
        said = printed.read()
        assert code == 0, f"$ tuneledger {shlex.join(arguments)}\n{said}"
        return said

    def _ended(self, command: list[str], what: str) -> str:
        ended = subprocess.run(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, f"{what}\n{ended.stdout}{ended.stderr}"
        return ended.stdout

    def _write(self, name: str, content: str) -> None:
        for snippet in re.findall(r'^--8<-- "(.+)"$', content, re.MULTILINE):
            content = content.replace(f'--8<-- "{snippet}"', (ROOT / "docs/examples" / snippet).read_text())
        (self.folder / name).write_text(content)


def _commands(language: str, content: str) -> Iterator[tuple[str, str | None]]:
    if language == "sh":
        yield from ((line, None) for line in content.splitlines())
        return
    for example in content.removeprefix("$ ").split("\n$ "):
        command, _, expected = example.partition("\n")
        yield command, expected
