"""``demo``: the bundled example through the commands themselves."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from importlib import resources
from inspect import cleandoc
from pathlib import Path
from typing import Final

import typer

from tuneledger.cli import exit_codes
from tuneledger.cli.choosing import DATABASE_VARIABLE, log
from tuneledger.cli.options import Db

app = typer.Typer()

_STEPS: Final[tuple[tuple[str, str, int], ...]] = (
    (
        "Make the archive's tables; an SQLite file gets them by itself, PostgreSQL by this command.",
        "db upgrade",
        0,
    ),
    ("Archive saved answers of the provider: jobs, lists of jobs.", "archive {examples}", 0),
    ("Again: nothing is new, so nothing is written.", "archive {examples}", 0),
    ("What does the archive hold?", "jobs", 0),
    ("One job at a glance. The beginning of its id will do, if no other begins so.", "show 5e1a7c52", 0),
    ("Its checkpoints between two steps.", "checkpoints 5e1a7c52 --from 40 --to 80", 0),
    (
        """The best one by validation loss. The provider sent 0.0 wherever it did not evaluate, and a plain
        minimum would pick such a step.""",
        "best 5e1a7c52 valid_loss",
        0,
    ),
    (
        """This job had no validation file: every valid_loss is such a 0.0. So no step is the best, and the
        exit code says so too.""",
        "best c1a55f1e valid_loss",
        exit_codes.NOT_EVALUATED,
    ),
    ("For machines, the newest checkpoint.", "latest c1a55f1e --json", 0),
    ("And the whole job back, as the provider gave it.", "export c1a55f1e --output {exported}", 0),
)


@app.command()
def demo(*, db: Db = None) -> None:
    """Archive a bundled example and ask it things, each step with the command that does it."""
    from tuneledger import cli
    from tuneledger.cli.presenting import print_line
    from tuneledger.engine import locate

    folder = Path(tempfile.mkdtemp(prefix="tuneledger-demo-"))
    location = db or str(folder / "demo.db")
    shown = str(locate(location))  # without its password
    with resources.as_file(resources.files("tuneledger.examples")) as examples:
        print_line(f"$ export {DATABASE_VARIABLE}={shlex.quote(shown)}")
        before = os.environ.get(DATABASE_VARIABLE)
        os.environ[DATABASE_VARIABLE] = location
        try:
            for explanation, command, expected in _STEPS:
                words = [
                    word.format(examples=examples, exported=folder / "exported.json")
                    for word in command.split()
                ]
                print_line("\n# " + cleandoc(explanation).replace("\n", "\n# "))
                print_line(f"$ tuneledger {shlex.join(words)}")
                sys.stdout.flush()
                code = cli.run(["--quiet", *words])
                if code != expected:
                    log.error("that should have ended with exit code %d, not %d", expected, code)
                    raise typer.Exit(code or exit_codes.REFUSED)
        finally:
            os.environ.pop(DATABASE_VARIABLE)
            if before is not None:
                os.environ[DATABASE_VARIABLE] = before
    print_line(f"\n# All of it stays in {shown} (remove {folder} when you are done).")
