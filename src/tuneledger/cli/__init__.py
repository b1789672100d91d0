"""The command line: the composition root, and the one place that reads the environment.

Each module listed in `_MODULES` has an ``app`` whose commands become commands of ``tuneledger``. A new
command is a function in one of them, or a module of its own, added to that list and documented in
docs/command-line.md (a test looks). Heavy imports stand inside the functions: ``tuneledger --version``,
``--help`` and shell completion must not wait for SQLAlchemy.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tuneledger.cli import (
    archiving,
    deleting,
    demonstration,
    exit_codes,
    exporting,
    reading,
    schema_commands,
    showing,
)
from tuneledger.cli.options import log
from tuneledger.errors import TuneledgerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import NoReturn

__all__ = ["app", "main", "run"]

_MODULES: Final = (archiving, reading, showing, exporting, deleting, schema_commands, demonstration)

# The class that every complaint about the command line itself is of, wherever typer keeps it.
_USAGE_ERROR: Final[Any] = typer.BadParameter.__base__

_EPILOG = "Exit codes: " + "; ".join(f"{code} {text}" for code, text in exit_codes.MEANINGS.items()) + "."

app = typer.Typer(
    name="tuneledger",
    help="The history of your fine-tuning jobs, in your own SQL database.",
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
for _module in _MODULES:
    app.add_typer(_module.app)


@app.callback(invoke_without_command=True)
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
        import tuneledger

        typer.echo(f"tuneledger {tuneledger.__version__}")
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


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line in this process; give its exit code, see `tuneledger.cli.exit_codes`."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A name that is no text, or a curve on a terminal of old, is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    with _logging_to_stderr():
        try:
            code = app(list(arguments), prog_name="tuneledger", standalone_mode=False)
            sys.stdout.flush()
        except _USAGE_ERROR as error:
            hint = f" (`{error.ctx.command_path} --help` tells more)" if error.ctx else ""
            return _failed(error, f"{error.format_message()}{hint}", exit_codes.USAGE)
        except TuneledgerError as error:
            return _failed(error, str(error), exit_codes.of_error(error))
        except (KeyboardInterrupt, typer.Abort) as error:
            return _failed(error, "stopped", exit_codes.INTERRUPTED)
        except BrokenPipeError:
            # Python would complain once more when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return exit_codes.PIPE_CLOSED
        except Exception as error:  # noqa: BLE001 - whatever it is, people get one message
            return _failed(
                error,
                f"internal error ({type(error).__name__}); report what `tuneledger --debug …` shows",
                exit_codes.INTERNAL,
            )
    if code == exit_codes.INTERRUPTED:
        typer.echo("tuneledger: stopped", err=True)
    return code if isinstance(code, int) else exit_codes.OK


def _failed(error: BaseException, message: str, code: int) -> int:
    log.debug("where it happened:", exc_info=error)
    log.error("%s", message)
    return code


class _Format(logging.Formatter):
    """Errors and warnings say who speaks, notes are just said."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        if record.levelno >= logging.WARNING or record.name != log.name:
            return f"tuneledger: {record.levelname.lower()}: {record.message}"
        return record.message


@contextmanager
def _logging_to_stderr() -> Iterator[None]:
    """Send what the library and the commands log to standard error, and leave logging as it was."""
    library = logging.getLogger("tuneledger")
    before = (library.handlers, library.level, library.propagate, log.level)
    handler = logging.StreamHandler(sys.stderr)
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
