"""What drivers raise, turned into our own errors: by code, never by the text of a message.

The driver's own message is left out: PostgreSQL's DETAIL quotes rows, a connection error quotes the
URL with its password.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import exc

from tuneledger.errors import (
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseError,
    DatabaseFull,
    DatabaseReadOnly,
    DatabaseUnavailable,
    PermissionDenied,
    SchemaBroken,
    TuneledgerError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

# https://www.postgresql.org/docs/current/errcodes-appendix.html: class or whole code.
_BY_SQLSTATE: dict[str, type[TuneledgerError]] = {
    "08": DatabaseUnavailable,  # connection exceptions
    "28": PermissionDenied,  # invalid authorization
    "3D000": DatabaseUnavailable,  # no such database
    "25006": DatabaseReadOnly,
    "40001": DatabaseBusy,  # serialisation failure
    "40P01": DatabaseBusy,  # deadlock
    "55P03": DatabaseBusy,  # lock not available in time
    "57014": DatabaseBusy,  # cancelled, as by statement_timeout
    "57P": DatabaseUnavailable,  # the server goes down, or is coming up
    "53100": DatabaseFull,
    "53": DatabaseBusy,  # too many connections, out of memory
    "42501": PermissionDenied,
    "42P01": SchemaBroken,  # no such table
    "42703": SchemaBroken,  # no such column
    "3F000": SchemaBroken,  # no such schema
    "58": DatabaseDamaged,  # I/O errors of the server
    "XX001": DatabaseDamaged,
    "XX002": DatabaseDamaged,
}

# https://www.sqlite.org/rescode.html: primary result codes.
_BY_SQLITE_CODE: dict[int, type[TuneledgerError]] = {
    sqlite3.SQLITE_BUSY: DatabaseBusy,
    sqlite3.SQLITE_LOCKED: DatabaseBusy,
    sqlite3.SQLITE_FULL: DatabaseFull,
    sqlite3.SQLITE_READONLY: DatabaseReadOnly,
    sqlite3.SQLITE_PERM: PermissionDenied,
    sqlite3.SQLITE_AUTH: PermissionDenied,
    sqlite3.SQLITE_CANTOPEN: DatabaseUnavailable,
    sqlite3.SQLITE_IOERR: DatabaseUnavailable,
    sqlite3.SQLITE_CORRUPT: DatabaseDamaged,
    sqlite3.SQLITE_NOTADB: DatabaseDamaged,
}

_ADVICE: dict[type[TuneledgerError], str] = {
    DatabaseUnavailable: "the database cannot be reached, or the connection was lost; check the address, "
    "that the server runs and that the folder exists, then try again",
    DatabaseBusy: "others hold a lock that this needs, or the server is overloaded; try again",
    DatabaseFull: "no space is left for the database; nothing of the transaction was written",
    DatabaseReadOnly: "the database can only be read here; check the file's permissions or the role",
    PermissionDenied: "the database role may not do that; `tuneledger db roles` names those that may",
    DatabaseDamaged: "no SQLite database, or a damaged one; `tuneledger verify` tells what is still whole",
    SchemaBroken: "a table or a column is missing; `tuneledger db check` lists what differs",
    DatabaseError: "the database refused the statement",
}


@contextmanager
def translated() -> Iterator[None]:
    """Raise our own errors in place of SQLAlchemy's and the drivers'."""
    try:
        yield
    except TuneledgerError:
        raise
    except Exception as error:
        ours = translation(error)
        if ours is None:
            raise
        raise ours from None


def translation(error: BaseException) -> TuneledgerError | None:
    """Give our own error for a driver's or SQLAlchemy's, or None for one that is neither."""
    if isinstance(error, exc.TimeoutError):
        return DatabaseBusy("every connection of the pool is in use; try again, or use fewer at once")
    if isinstance(error, exc.DBAPIError):
        found = _classified(error.orig)
        if found is DatabaseError and error.connection_invalidated:
            found = DatabaseUnavailable
        return _told(found, error.orig)
    if isinstance(error, (exc.DisconnectionError, exc.PendingRollbackError)):
        return _told(DatabaseUnavailable, error)
    if isinstance(error, sqlite3.Error) or _sqlstate(error) is not None:
        return _told(_classified(error), error)
    if isinstance(error, exc.SQLAlchemyError):
        return _told(DatabaseError, error)
    return None


def _told(found: type[TuneledgerError], original: Any) -> TuneledgerError:
    code = _sqlstate(original) or getattr(original, "sqlite_errorname", None) or type(original).__name__
    return found(f"{_ADVICE[found]} ({code})")


def _sqlstate(error: Any) -> str | None:
    # psycopg gives None where the server said nothing: the connection never came up, or broke.
    if type(error).__module__.partition(".")[0] != "psycopg":
        return None
    return error.sqlstate or "08006"


def _classified(error: Any) -> type[TuneledgerError]:
    if isinstance(error, sqlite3.Error):
        if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_ERROR:
            return SchemaBroken  # the statements are ours: only a missing table or column makes them wrong
        code = getattr(error, "sqlite_errorcode", None)
        return _BY_SQLITE_CODE.get(code & 0xFF, DatabaseError) if code is not None else DatabaseError
    state = _sqlstate(error)
    if state is None:
        return DatabaseError
    for length in (5, 3, 2):
        found = _BY_SQLSTATE.get(state[:length])
        if found:
            return found
    return DatabaseError
