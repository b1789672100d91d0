"""The command line as a process and as a whole: start-up, help, messages, exit codes, signals, pipes."""

import io
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import typer

from commands import leaves
from tuneledger import Archive, CheckpointOut, Job, MetricOut, archive, cli
from tuneledger.cli import completing, exit_codes
from tuneledger.errors import (
    DatabaseBusy,
    InvalidPayload,
    SchemaBehind,
    SourceRefused,
    TuneledgerError,
)
from tuneledger.testing import checkpoint, job

TUNELEDGER = Path(sys.executable).with_name("tuneledger")
EXAMPLES = Path(__file__).parents[1] / "src/tuneledger/examples"

Run = Callable[..., Any]


# -- start-up -----------------------------------------------------------------------------------


def test_version_is_quick() -> None:
    """`--version` takes at most 150 ms more than importing typer does.

    Counted is the processor's time, of the best of some tries: it does not depend on who else is at work.
    """
    commands: tuple[Sequence[str | Path], ...] = (
        (sys.executable, "-c", "import typer"),
        (TUNELEDGER, "--version"),
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    best = [min(_seconds(command, environment) for _ in range(5)) for command in commands]
    assert best[1] - best[0] <= 0.150


def _seconds(command: Sequence[str | Path], environment: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        ("--version", {"sqlalchemy", "pydantic", "rich", "alembic", "platformdirs"}),
        ("--help", {"sqlalchemy", "alembic", "platformdirs"}),
        ("jobs --help", {"sqlalchemy", "alembic", "platformdirs"}),
    ],
)
def test_imports_are_late(arguments: str, unwanted: set[str]) -> None:
    """What only talks about the program does not wait for what only a database needs."""
    program = (
        "import sys\nfrom tuneledger.cli import run\n"
        f"code = run({arguments.split()!r})\nprint(*sys.modules, file=sys.stderr)\nsys.exit(code)"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert "tuneledger.cli" in ended.stderr.split()
    assert not unwanted & set(ended.stderr.split())


# -- help and version ---------------------------------------------------------------------------


def test_without_a_command(command: Run) -> None:
    """`tuneledger` alone tells what there is."""
    ended = command()
    assert ended.code == 0
    assert "Archive fine-tuning records" in ended.out


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_tells_the_exit_codes(command: Run, flag: str) -> None:
    """Every exit code and its meaning stand in the help."""
    out = " ".join(command(flag).out.split())
    for code, meaning in exit_codes.MEANINGS.items():
        assert f"{code} {meaning}" in out


def test_version_beside_other_options(command: Run) -> None:
    """`--version` wins wherever it stands before the command."""
    assert command("--quiet", "--version").out == command("--version").out != ""


def test_module_is_the_command() -> None:
    """`python -m tuneledger` is `tuneledger`."""
    ended = subprocess.run(
        [sys.executable, "-m", "tuneledger", "nonsense"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == exit_codes.USAGE
    assert "`tuneledger --help`" in ended.stderr


# -- messages and exit codes --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TuneledgerError("x"), exit_codes.REFUSED),
        (InvalidPayload(source="x", reason="y"), exit_codes.REFUSED),
        (SourceRefused(), exit_codes.SERVICE),
        (DatabaseBusy(), exit_codes.DATABASE),
        (SchemaBehind(), exit_codes.SCHEMA),
        (OSError(28, "No space left on device", "some.db"), exit_codes.REFUSED),
        (ZeroDivisionError("secret"), exit_codes.INTERNAL),
    ],
)
def test_one_message_and_a_code(
    command: Run, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    """Whatever goes wrong is one line on standard error and its documented code; --debug shows where."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(archive.Archive, "read", fail)
    ended = command("--quiet", "jobs", "--db", sqlite_url)
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.startswith("tuneledger: error: ")
    assert len(ended.err.splitlines()) == 1
    assert "secret" not in ended.err
    told = command("--debug", "jobs", "--db", sqlite_url)
    assert told.code == code
    assert "Traceback (most recent call last)" in told.err


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["show"], ["db"], ["jobs", "--nonsense"], ["best", "--goal"]]
)
def test_usage_errors(command: Run, arguments: list[str]) -> None:
    """A command line that makes no sense is refused with a hint where to look."""
    ended = command(*arguments)
    assert (ended.code, ended.out) == (exit_codes.USAGE, "")
    assert "--help` tells more" in ended.err


def test_an_option_before_its_command(command: Run) -> None:
    """Whoever writes --db first learns where it goes; after a command there is no such hint."""
    hint = "a command's options stand after it"
    assert hint in command("--db", "x", "jobs").err
    assert hint not in command("jobs", "--dc", "x").err


def test_no_secret_is_told(command: Run) -> None:
    """A password in the URL is in no message, not in a traceback either."""
    for flag in ("--verbose", "--debug"):
        ended = command(flag, "jobs", "--db", "postgresql://me:hidden@127.0.0.1:1/x?password=hidden")
        assert ended.code == exit_codes.DATABASE
        assert "hidden" not in ended.err
        assert "me:***@127.0.0.1:1/x" in ended.err


def test_an_argument_that_is_no_text(command: Run, sqlite_url: str) -> None:
    """Bytes that the shell passes on, but that are no text, are a usage error where text is asked for."""
    ended = command("show", os.fsdecode(b"\xff"), "--db", sqlite_url)
    assert ended.code == exit_codes.USAGE
    assert "not text" in ended.err


def test_logging_is_left_as_it_was(command: Run, sqlite_url: str) -> None:
    """Running a command line in a process sets up no logging for the rest of it."""
    logger = logging.getLogger("tuneledger")
    before = (logger.handlers, logger.level, logger.propagate)
    command("--debug", "jobs", "--db", sqlite_url)
    assert (logger.handlers, logger.level, logger.propagate) == before


@pytest.mark.parametrize(
    ("flags", "told"), [([], {"note"}), (["--quiet"], set()), (["--verbose"], {"note", "skip"})]
)
def test_how_much_is_said(
    command: Run, sqlite_url: str, tmp_path: Path, flags: list[str], told: set[str]
) -> None:
    """Notes come unless --quiet, the library's own only with --verbose."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/notes.txt").write_text("hello")
    (tmp_path / "folder/job.json").write_bytes((EXAMPLES / "classifier-job.json").read_bytes())
    err = command(*flags, "archive", tmp_path / "folder", "--db", sqlite_url).err
    assert ("archive: " in err) is ("note" in told)
    assert ("info: skipped: " in err) is ("skip" in told)


def test_standard_output_may_be_anything(sqlite_url: str) -> None:
    """In a notebook or under a test standard output is no file of the system's."""
    with redirect_stdout(io.StringIO()) as out:
        assert cli.run(["--quiet", "jobs", "--db", sqlite_url, "--json"]) == 0
    assert out.getvalue().startswith("{")


# -- pipes, signals, devices --------------------------------------------------------------------


@pytest.fixture
def long_job(sqlite_url: str) -> str:
    """An archive of a job whose checkpoints are more than a pipe holds."""
    checkpoints = [
        CheckpointOut(metrics=MetricOut(train_loss=float(step)), step_number=step, created_at=step)
        for step in range(20_000)
    ]
    with Archive(sqlite_url) as opened:
        opened.save(Job(job_id="long", provider="p", checkpoints=checkpoints))
    return sqlite_url


def buffered() -> dict[str, str]:
    """The environment, but that standard output holds text back, as it does for users."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


@pytest.mark.parametrize("form", ["--csv", "--json", None])
def test_a_closed_pipe(long_job: str, form: str | None) -> None:
    """`tuneledger checkpoints … | head -1` ends quietly."""
    arguments = ["checkpoints", "long", "--db", long_job, *([form] if form else [])]
    with subprocess.Popen(
        [TUNELEDGER, "--quiet", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered(),
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == exit_codes.PIPE_CLOSED


def test_a_full_device(long_job: str) -> None:
    """Output that cannot be written is an error, not half an answer that looks whole."""
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [TUNELEDGER, "--quiet", "show", "long", "--db", long_job],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=buffered(),
        )  # fmt: skip
    assert ended.returncode == exit_codes.REFUSED
    assert ended.stderr == "tuneledger: error: No space left on device\n"


def test_interrupted(sqlite_url: str) -> None:
    """Ctrl-C ends it with a word that is no error, the shells' code and no traceback; what was done stays."""
    with subprocess.Popen(
        [TUNELEDGER, "archive", EXAMPLES / "classifier-job.json", "-", "--db", sqlite_url],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stderr
        assert "new" in process.stdout.readline()  # now it waits for standard input
        process.send_signal(signal.SIGINT)
        assert process.stderr.read().splitlines()[1:] == ["stopped"]
        assert process.wait() == exit_codes.INTERRUPTED
    with Archive(sqlite_url) as opened, opened.read() as repository:
        assert repository.count_jobs() == 1


# -- help ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [[], ["db"]])
def test_help_of_a_group(command: Run, group: list[str]) -> None:
    """Each command stands there with its whole first sentence, and no flag with a value that none takes."""
    shown = command(*group, "--help").out
    assert "<bool>" not in shown
    assert "..." not in shown.replace("[ARGS]...", "")
    listed = " ".join(shown.split())
    below = dict(leaves())["tuneledger db" if group else "tuneledger"].commands
    for name, found in below.items():
        assert f"{name} {' '.join(found.help.partition(chr(10))[0].split())}" in listed


# -- completion ---------------------------------------------------------------------------------


@pytest.fixture
def bash_completion() -> Callable[[str], list[str]]:
    """Completes a command line as bash would, with the script that `tuneledger` gives it."""

    def completed(line: str) -> list[str]:
        program = (
            'eval "$(_TUNELEDGER_COMPLETE=source_bash tuneledger)"\n'
            f"COMP_WORDS=({line}) COMP_CWORD={len(line.split()) - 1}\n"
            '_tuneledger_completion "$1" && printf "%s\\n" "${COMPREPLY[@]}"'
        )
        environment = os.environ | {"PATH": f"{TUNELEDGER.parent}:{os.environ['PATH']}"}
        ended = subprocess.run(
            ["/bin/bash", "-c", program, "bash", "tuneledger"],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert not ended.stderr
        return ended.stdout.split()

    return completed


def test_bash_completes_commands_and_options(bash_completion: Callable[[str], list[str]]) -> None:
    """The installed completion script completes commands, subcommands and options."""
    assert bash_completion("tuneledger che") == ["checkpoints"]
    assert "upgrade" in bash_completion("tuneledger db up")
    assert bash_completion("tuneledger best --go") == ["--goal"]


@pytest.fixture
def two_jobs(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's archive holds two jobs, of which one has two metrics."""
    monkeypatch.setenv("TUNELEDGER_DATABASE_URL", sqlite_url)
    with Archive(sqlite_url) as archive:
        archive.save(job("gentle-run", checkpoints=[checkpoint(1, {"train_loss": 1.0, "valid_loss": 2.0})]))
        archive.save(job("gentle-other"))


@pytest.mark.usefixtures("two_jobs")
def test_bash_completes_out_of_the_archive(bash_completion: Callable[[str], list[str]]) -> None:
    """Jobs are completed by their ids, metrics by those of the jobs before; an archive away gives none."""
    assert bash_completion("tuneledger show gentle-r") == ["gentle-run"]
    assert bash_completion("tuneledger show gentle") == ["gentle-other", "gentle-run"]
    assert bash_completion("tuneledger plot gentle-run --metric v") == ["valid_loss"]
    assert bash_completion("tuneledger show --db nowhere.db gentle") == []


def test_every_command_is_found_by_its_name() -> None:
    """What one command needs is all that it is: the same help as in the whole, and every module is listed."""
    whole = typer.main.get_command(cli.application())
    assert isinstance(whole, typer.core.TyperGroup)
    for name, command in whole.commands.items():
        alone = typer.main.get_command(cli.application(name))
        assert isinstance(alone, typer.core.TyperGroup)
        context = typer.Context(alone, info_name="tuneledger")
        assert alone.commands[name].get_help(context) == command.get_help(context)
    listed = {f"tuneledger.cli.{module}" for module in cli._COMMANDS}
    folder = Path(cli.__file__).parent
    with_commands = {
        f"tuneledger.cli.{path.stem}"
        for path in folder.glob("*.py")
        if "app = typer.Typer(" in path.read_text()
    }
    assert listed == with_commands


@pytest.mark.usefixtures("two_jobs")
def test_what_completion_answers() -> None:
    """Of no letter yet the newest jobs are given, and a metric may follow a job where it comes last."""
    found = typer.main.get_command(cli.application())
    best = typer.Context(found, info_name="tuneledger")
    best.params = {"jobs": (), "metric": "gentle-run"}
    assert set(completing.job_ids(best, "")) == {"gentle-run", "gentle-other"}
    assert completing.jobs_and_metrics(best, "t") == ["train_loss"]
    assert completing.metric_names(best, "") == []
    best.params = {"job": "gentle-run"}
    assert completing.metric_names(best, "") == ["train_loss", "valid_loss"]


@pytest.mark.usefixtures("two_jobs")
def test_zsh_completes() -> None:
    """The script for zsh is valid there, and completes a command and a job."""
    program = """
        script=$(_TUNELEDGER_COMPLETE=source_zsh tuneledger)
        compdef() { print "$@" }
        _arguments() { print -r -- "$@" }
        eval "$script"
        words=(tuneledger che) CURRENT=2; _tuneledger_completion
        words=(tuneledger show gentle-r) CURRENT=3; _tuneledger_completion
    """
    environment = os.environ | {"PATH": f"{TUNELEDGER.parent}:{os.environ['PATH']}"}
    ended = subprocess.run(
        [shutil.which("zsh") or "zsh", "-f", "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    said, command, job_id = ended.stdout.splitlines()
    assert (said, ended.stderr) == ("_tuneledger_completion tuneledger", "")
    assert '"checkpoints"' in command
    assert '"gentle-run"' in job_id


def test_show_completion() -> None:
    """`--show-completion` gives the script to install by hand."""
    # The program looks for the shell that it was started by, so there must be one, which waits.
    ended = subprocess.run(
        ["/bin/bash", "-c", '"$1" --show-completion; true', "bash", TUNELEDGER],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "_TUNELEDGER_COMPLETE=complete_bash" in ended.stdout
