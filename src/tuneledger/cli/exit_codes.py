"""What the command exits with: one table, which ``--help`` and docs/command-line.md show."""

from __future__ import annotations

from typing import Any, Final

import typer

from tuneledger.errors import DatabaseError, InvalidArgument, SchemaError, SourceRefused, TuneledgerError

__all__ = [
    "DATABASE",
    "INTERNAL",
    "INTERRUPTED",
    "MEANINGS",
    "NOT_EVALUATED",
    "OK",
    "PIPE_CLOSED",
    "REFUSED",
    "SCHEMA",
    "SERVICE",
    "USAGE",
    "UsageError",
    "of_error",
]

OK: Final = 0
REFUSED: Final = 1
USAGE: Final = 2
NOT_EVALUATED: Final = 3
DATABASE: Final = 4
SCHEMA: Final = 5
SERVICE: Final = 6
INTERNAL: Final = 70
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141

MEANINGS: Final = {
    OK: "done",
    REFUSED: "the thing asked for is not there, an input was refused, or you declined",
    USAGE: "the command line or an option makes no sense",
    NOT_EVALUATED: "`best`: no step has a number for that metric",
    DATABASE: "the database cannot be reached, is busy, full, read-only or damaged",
    SCHEMA: "the archive is not ready for this release; `tuneledger db check` says why",
    SERVICE: "a provider's service refused the request",
    INTERNAL: "a bug in tuneledger; please report it with what --debug shows",
    INTERRUPTED: "stopped by Ctrl-C; what was done before stands",
    PIPE_CLOSED: "whoever read the output stopped reading",
}

UsageError: Final[Any] = typer.BadParameter.__base__
"""What every complaint about the command line itself is, wherever typer keeps the class."""

# The first that fits.
_OF_ERRORS: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (InvalidArgument, USAGE),
    (DatabaseError, DATABASE),
    (SchemaError, SCHEMA),
    (SourceRefused, SERVICE),
    (TuneledgerError, REFUSED),
    (UsageError, USAGE),
    (KeyboardInterrupt, INTERRUPTED),
    (typer.Abort, INTERRUPTED),
    (BrokenPipeError, PIPE_CLOSED),
    (OSError, REFUSED),
)


def of_error(error: BaseException) -> int:
    """Give the code to exit with because of an error."""
    return next((code for kind, code in _OF_ERRORS if isinstance(error, kind)), INTERNAL)
