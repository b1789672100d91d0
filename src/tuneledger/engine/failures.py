"""What drivers raise, turned into our own errors: by code, never by the text of a message.

The driver's own message is left out: PostgreSQL's DETAIL quotes rows, a connection error quotes the
URL with its password.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from sqlalchemy import event, exc

from tuneledger.errors import (
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseError,
    DatabaseFull,
    DatabaseReadOnly,
    DatabaseUnavailable,
    DependentObjects,
    InvalidArgument,
    PermissionDenied,
    SchemaBroken,
    TuneledgerError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection, Engine, ExceptionContext

# https://www.postgresql.org/docs/current/errcodes-appendix.html: whole code, its first three, or the class.
_BY_SQLSTATE: dict[str, type[TuneledgerError]] = {
    "08": DatabaseUnavailable,  # connection exceptions; PgBouncer says everything by 08P01
    "22021": InvalidArgument,  # text in an encoding that the database does not have
    "22P05": InvalidArgument,  # a character that it does not have
    "23": DatabaseDamaged,  # a row that our locks had ruled out
    "25006": DatabaseReadOnly,
    "25P03": DatabaseUnavailable,  # the server ends sessions that idle in a transaction
    "25P04": DatabaseBusy,  # transaction_timeout
    "28": PermissionDenied,  # invalid authorization
    "2BP01": DependentObjects,
    "3D000": DatabaseUnavailable,  # no such database
    "3F000": SchemaBroken,  # no such schema
    "40": DatabaseBusy,  # serialisation failure, deadlock
    "40003": DatabaseUnavailable,  # lost at COMMIT: whether it took place is unknown
    "42501": PermissionDenied,
    "42703": SchemaBroken,  # no such column
    "42704": SchemaBroken,  # no such type or collation
    "42883": SchemaBroken,  # no such function
    "42P01": SchemaBroken,  # no such table
    "53": DatabaseBusy,  # too many connections, out of memory
    "53100": DatabaseFull,
    "53400": DatabaseFull,  # temp_file_limit
    "55006": DatabaseBusy,  # object in use
    "55P03": DatabaseBusy,  # lock not available in time
    "57014": DatabaseBusy,  # cancelled, as by statement_timeout
    "57P": DatabaseUnavailable,  # the server goes down, or is coming up
    "58": DatabaseDamaged,  # I/O errors of the server
    "XX001": DatabaseDamaged,
    "XX002": DatabaseDamaged,
}

# https://www.sqlite.org/rescode.html: extended codes, then primary ones.
_BY_SQLITE_CODE: dict[int, type[TuneledgerError]] = {
    sqlite3.SQLITE_IOERR_WRITE: DatabaseFull,  # ENOSPC has a code of its own; a quota and a size limit do not
    sqlite3.SQLITE_IOERR_SHMSIZE: DatabaseFull,
    sqlite3.SQLITE_IOERR_READ: DatabaseDamaged,
    sqlite3.SQLITE_IOERR_SHORT_READ: DatabaseDamaged,
    sqlite3.SQLITE_BUSY: DatabaseBusy,
    sqlite3.SQLITE_LOCKED: DatabaseBusy,
    sqlite3.SQLITE_PROTOCOL: DatabaseBusy,
    sqlite3.SQLITE_NOMEM: DatabaseBusy,
    sqlite3.SQLITE_INTERRUPT: DatabaseBusy,
    sqlite3.SQLITE_FULL: DatabaseFull,
    sqlite3.SQLITE_READONLY: DatabaseReadOnly,
    sqlite3.SQLITE_PERM: PermissionDenied,
    sqlite3.SQLITE_AUTH: PermissionDenied,
    sqlite3.SQLITE_CANTOPEN: DatabaseUnavailable,
    sqlite3.SQLITE_IOERR: DatabaseUnavailable,
    sqlite3.SQLITE_CORRUPT: DatabaseDamaged,
    sqlite3.SQLITE_NOTADB: DatabaseDamaged,
    sqlite3.SQLITE_CONSTRAINT: DatabaseDamaged,  # a row that our locks had ruled out
    # The statements are ours: only a missing table or column makes one of them wrong.
    sqlite3.SQLITE_ERROR: SchemaBroken,
}

_ADVICE: dict[type[TuneledgerError], str] = {
    DatabaseUnavailable: "the database cannot be reached, or the connection was lost; check the address, the "
    "database's name, user and password, that the server runs and that the folder exists, then try again",
    DatabaseBusy: "others hold a lock that this needs, or the server is overloaded; try again",
    DatabaseFull: "no space is left for the database, or a quota or the disk refuses to let it grow; nothing "
    "of the transaction was written: make room, then repeat it",
    DatabaseReadOnly: "the database can only be read here; check the file's permissions or the role",
    PermissionDenied: "the database role may not do that; `tuneledger db roles` names those that may",
    DatabaseDamaged: "no SQLite database, or a damaged one; choose another file or restore a backup, and "
    "`tuneledger verify` tells what of an archive is still whole",
    DependentObjects: "others depend on what would be dropped, and nothing was; drop those first",
    SchemaBroken: "a table or a column is missing; `tuneledger db check` lists what differs",
    InvalidArgument: "a value that no database holds: a NUL character, half of a surrogate pair, or an "
    "integer beyond 63 bits",
    DatabaseError: "the database refused the statement; `tuneledger db check` and `tuneledger verify` tell "
    "whether the archive is whole",
}

_MISSPELT: Final = "libpq knows no parameter of that name in the URL; check how each after the ? is spelt"


@contextmanager
def translated() -> Iterator[None]:
    """Raise our own errors in place of SQLAlchemy's and the drivers'."""
    try:
        yield
    except TuneledgerError as error:
        error.__cause__ = None  # SQLAlchemy names the driver's error, which a traceback would show
        raise
    except Exception as error:
        ours = None if isinstance(error, (UnicodeError, OverflowError)) else translation(error)
        if ours is None:
            raise
        raise ours from None


def translation(error: BaseException) -> TuneledgerError | None:
    """Give our own error for a driver's or SQLAlchemy's, or None for one that is neither."""
    if isinstance(error, exc.TimeoutError):
        return DatabaseBusy("every connection of the pool is in use; try again, or use fewer at once")
    found: type[TuneledgerError] | None = None
    original: Any = error
    if isinstance(error, exc.DBAPIError):
        original = error.orig
        if error.statement is None and _is_misspelt(original):
            return InvalidArgument(_MISSPELT)
        found = _classified(original)
        if found is DatabaseError and error.connection_invalidated:
            found = DatabaseUnavailable
    elif isinstance(error, (UnicodeEncodeError, OverflowError)):
        found = InvalidArgument  # raised by a driver before it sends anything
    elif isinstance(error, UnicodeDecodeError):
        found = DatabaseDamaged  # SQLite quotes a damaged schema in its message, which the driver decodes
    elif isinstance(error, (exc.DisconnectionError, exc.PendingRollbackError)):
        found = DatabaseUnavailable
    elif isinstance(error, sqlite3.Error) or _is_psycopg(error):
        found = _classified(error)
    elif isinstance(error, exc.SQLAlchemyError):
        found = DatabaseError
    return None if found is None else _told(found, original)


def _told(found: type[TuneledgerError], original: Any) -> TuneledgerError:
    code = _sqlstate(original) or getattr(original, "sqlite_errorname", None) or type(original).__name__
    advice = (_turned_away(original) if found is DatabaseUnavailable else None) or _ADVICE[found]
    return found(f"{advice} ({code})")


def _turned_away(error: Any) -> str | None:
    """Say how far a connection came that PostgreSQL refused: libpq knows, and a refusal has no code."""
    connection = getattr(error, "pgconn", None)
    if connection is None:
        return None
    if connection.needs_password:
        return (
            "the server asks for a password and was given none; libpq takes it from ~/.pgpass, PGPASSWORD "
            "or a service file"
        )
    if connection.used_password:
        return "the server was reached and refused; check the user, the password and the database's name"
    return None


def _is_misspelt(error: Any) -> bool:
    """Tell whether libpq refused the parameters of a connection before it looked for a server."""
    return _is_psycopg(error) and error.sqlstate is None and type(error).__name__ == "ProgrammingError"


def _is_psycopg(error: object) -> bool:
    return type(error).__module__.partition(".")[0] == "psycopg"


def _sqlstate(error: Any) -> str | None:
    if not _is_psycopg(error):
        return None
    if error.sqlstate is None and any(kind.__name__ == "OperationalError" for kind in type(error).__mro__):
        return "08006"  # the server said nothing: the connection never came up, or broke
    state: str | None = error.sqlstate
    return state


def _classified(error: Any) -> type[TuneledgerError]:
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            # The driver's own words: it could not decode a text, or was called wrongly.
            return DatabaseDamaged if isinstance(error, sqlite3.OperationalError) else DatabaseError
        return _BY_SQLITE_CODE.get(code) or _BY_SQLITE_CODE.get(code & 0xFF, DatabaseError)
    state = _sqlstate(error)
    if state is None:
        # psycopg's DataError without a code is its own refusal of a value.
        return InvalidArgument if type(error).__name__ == "DataError" else DatabaseError
    for length in (5, 3, 2):
        found = _BY_SQLSTATE.get(state[:length])
        if found:
            return found
    return DatabaseError


def guard_transactions(engine: Engine) -> None:
    """Raise our own errors from every statement, and let nothing be committed after one that failed.

    Whoever swallows the error: PostgreSQL turns such a COMMIT into a ROLLBACK and reports success. SQLite
    commits what the other statements wrote, half a job; after a full disk it has rolled back by itself, and
    each later statement would be a transaction of its own.
    """
    failed: WeakSet[Connection] = WeakSet()

    def translate(context: ExceptionContext) -> None:
        if context.connection is not None:
            failed.add(context.connection)
        ours = translation(context.sqlalchemy_exception or context.original_exception)
        if ours is not None:
            raise ours

    def forget(connection: Connection, *_savepoint: object) -> None:
        failed.discard(connection)

    def refuse(connection: Connection, *_statement: object) -> None:
        if failed and connection in failed and connection.in_transaction():
            raise DatabaseError(_GIVEN_UP)

    def refuse_to_commit(connection: Connection) -> None:
        if connection in failed or _failed_on_server(connection):
            raise DatabaseError(_GIVEN_UP)

    event.listen(engine, "handle_error", translate)
    event.listen(engine, "begin", forget)
    event.listen(engine, "rollback_savepoint", forget)
    event.listen(engine, "before_cursor_execute", refuse)
    event.listen(engine, "commit", refuse_to_commit)


_GIVEN_UP = (
    "an earlier statement of this transaction failed, so nothing of it is written; "
    "leave the transaction by that error and begin a new one"
)


def _failed_on_server(connection: Connection) -> bool:
    """Tell whether PostgreSQL gave the transaction up; COPY's errors do not pass SQLAlchemy's events."""
    driver: Any = connection.connection.driver_connection
    status = getattr(getattr(driver, "info", None), "transaction_status", None)
    return status is not None and status.name == "INERROR"
