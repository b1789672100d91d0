"""The command line: the composition root, and the one place that reads the environment.

Each module of `_COMMANDS` has an ``app`` whose commands become commands of ``tuneledger``. A new command is
a function in one of them, or a module of its own, added there and documented in docs/command-line.md (tests
look). Heavy imports stand inside the functions: ``tuneledger --version``, ``--help`` and shell completion
must not wait for SQLAlchemy.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Final, cast

import typer

from tuneledger.cli import exit_codes
from tuneledger.cli.choosing import log
from tuneledger.errors import TuneledgerError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import NoReturn

__all__ = ["application", "main", "run"]

_COMMANDS: Final = {
    "archiving": ("archive",),
    "syncing": ("sync",),
    "reading": ("jobs", "checkpoints", "best", "latest"),
    "showing": ("show",),
    "plotting": ("plot", "compare"),
    "exporting": ("export",),
    "copying": ("copy",),
    "deleting": ("delete",),
    "retaining": ("label", "pin", "prune"),
    "publishing": ("grafana", "datasette", "dashboard"),
    "maintaining": ("verify", "backup"),
    "schema_commands": ("db",),
    "role_commands": ("db",),
    "demonstration": ("demo",),
}
"""The modules in the order of ``--help``, and the commands of each."""

_EPILOG = "Exit codes: " + "; ".join(f"{code} {text}" for code, text in exit_codes.MEANINGS.items()) + "."

_OBJECTS_OF_A_START: Final = 200_000
"""Objects that a command makes before it has anything to show, and keeps: below so many nothing is gained by
looking for garbage among them."""


def application(command: str | None = None) -> typer.Typer:
    """Make the command line: what one command needs, or all of it for None or a command that is unknown.

    To make all of it takes longer than most commands do.
    """
    made = typer.Typer(
        name="tuneledger",
        help="The history of your fine-tuning jobs, in your own SQL database.",
        epilog=_EPILOG,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,  # its boxes call a flag's value <bool>, which no flag takes
        pretty_exceptions_enable=False,
    )
    made.callback(invoke_without_command=True)(_options)
    needed = [module for module, commands in _COMMANDS.items() if command in commands]
    for module in needed or _COMMANDS:
        made.add_typer(import_module(f"tuneledger.cli.{module}").app)
    _summarise(made)
    return made


def _summarise(app: typer.Typer) -> None:
    """Have lists of commands say the first line of each docstring whole, which typer would cut short."""
    for command in app.registered_commands:
        command.short_help = str(command.callback.__doc__).partition("\n")[0]
    for group in app.registered_groups:
        _summarise(cast("typer.Typer", group.typer_instance))


def _options(
    context: typer.Context,
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Say which release this is.", is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and what is logged.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more on standard error.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing on standard error but errors.")
    ] = False,
) -> None:
    if version:
        _print_version()
        raise typer.Exit
    library = logging.getLogger("tuneledger")
    if debug:
        library.setLevel(logging.DEBUG)
        log.setLevel(logging.DEBUG)
    elif quiet:
        library.setLevel(logging.ERROR)
        log.setLevel(logging.ERROR)
    elif verbose:
        library.setLevel(logging.INFO)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _print_version() -> None:
    import tuneledger

    sys.stdout.write(f"tuneledger {tuneledger.__version__}\n")


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    gc.set_threshold(_OBJECTS_OF_A_START, *gc.get_threshold()[1:])
    try:
        code = run(sys.argv[1:])
    finally:
        # All memory goes at once now. Python would look through all of it for garbage first, which takes a
        # fifth of the time of a short command; what it is not to look at is not looked at here either.
        gc.freeze()
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line in this process; give its exit code, see `tuneledger.cli.exit_codes`."""
    if list(arguments) == ["--version"]:
        _print_version()  # not by typer, which imports pydantic to read even a flag
        return exit_codes.OK
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A name that is no text, or a curve on a terminal of old, is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    with _logging_to_stderr():
        try:
            return _ran(list(arguments))
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever it is, people get one message
            if isinstance(error, OSError):
                _silence_stdout()
            log.debug("where it happened:", exc_info=error)
            message = _message(error)
            if message:
                was_asked_for = isinstance(error, (KeyboardInterrupt, typer.Abort))
                log.log(logging.INFO if was_asked_for else logging.ERROR, "%s", message)
            return exit_codes.of_error(error)


def _ran(arguments: list[str]) -> int:
    # Every option that can stand before the command is a flag.
    command = next((argument for argument in arguments if not argument.startswith("-")), None)
    try:
        code = application(command)(arguments, prog_name="tuneledger", standalone_mode=False)
        sys.stdout.flush()
    except SystemExit as ended:
        # typer ends so at a closed pipe, and when it was asked for shell completion.
        if isinstance(ended.__context__, BrokenPipeError):
            raise ended.__context__ from None
        raise
    if code == exit_codes.INTERRUPTED:
        raise KeyboardInterrupt  # which typer caught
    return code if isinstance(code, int) else exit_codes.OK


def _silence_stdout() -> None:
    """Keep Python from complaining again, about what could not be written, when it flushes at exit."""
    with suppress(OSError, ValueError):  # no file, as in a test or a notebook
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _message(error: BaseException) -> str:
    """Tell people what went wrong; nothing where nobody reads any more."""
    match error:
        case TuneledgerError():
            message = "; ".join([str(error), *getattr(error, "__notes__", ())])
        case exit_codes.UsageError():
            asked = error.ctx.command_path if error.ctx else "tuneledger"
            is_early = asked == "tuneledger" and hasattr(error, "option_name")
            where = ", and a command's options stand after it" if is_early else ""
            message = f"{error.format_message()} (`{asked} --help` tells more{where})"
        case KeyboardInterrupt() | typer.Abort():
            message = "stopped"
        case BrokenPipeError():
            message = ""
        case OSError():
            message = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
        case _:
            message = f"internal error ({type(error).__name__}); report what `tuneledger --debug …` shows"
    # A file's name and what somebody typed are quoted whole by the operating system and by typer.
    return message and str(TuneledgerError(message))


class _Handler(logging.Handler):
    """Write to what standard error is at the moment: a progress bar takes it over for a while."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"{self.format(record)}\n")


class _Format(logging.Formatter):
    """Errors and warnings say who speaks, notes are just said."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        message = "\n".join(map(printable, record.message.splitlines()))
        if record.levelno >= logging.WARNING or record.name != log.name:
            return f"tuneledger: {record.levelname.lower()}: {message}"
        return message


@contextmanager
def _logging_to_stderr() -> Iterator[None]:
    """Send what the library and the commands log to standard error, and leave logging as it was."""
    library = logging.getLogger("tuneledger")
    before = (library.handlers, library.level, library.propagate, log.level)
    handler = _Handler()
    handler.setFormatter(_Format())
    library.handlers, library.propagate = [handler], False
    library.setLevel(logging.WARNING)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        library.handlers, library.propagate = before[0], before[2]
        library.setLevel(before[1])
        log.setLevel(before[3])
