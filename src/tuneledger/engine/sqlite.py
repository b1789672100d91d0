"""SQLite: what each connection is told, and why."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import create_engine, event, exc
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool

from tuneledger.engine.waiting import wait
from tuneledger.errors import DatabaseBusy, DatabaseReadOnly, UnsuitableConnection, shortened
from tuneledger.tables import VERSION_TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sqlalchemy.engine import URL, Connection, Engine

OLDEST: Final = (3, 35, 0)
"""RETURNING, which new job keys come from, is as old as this."""

_ROWS_A_STATEMENT: Final = 200
"""Rows in one INSERT: the driver's cost a call is spread over them (2.5x executemany's speed)."""

_MOST_PARAMETERS: Final = 999
"""Parameters in one statement that every build allows."""


def make_engine(url: URL, *, read_only: bool, durable: bool, wait_seconds: float) -> Engine:
    """Make the engine of a file, or of a database in memory, which lives as long as the engine."""
    _refuse_old_library()
    in_memory = not url.database
    is_async = url.get_dialect().is_async
    engine = create_engine(
        url,
        connect_args={"timeout": wait_seconds, "check_same_thread": False},
        hide_parameters=True,
        poolclass=AsyncAdaptedQueuePool if is_async else QueuePool,
        pool_timeout=wait_seconds,
        # A database in memory is its connection: there is one, and transactions wait for each other.
        **({"pool_size": 1, "max_overflow": 0} if in_memory else {}),
    )
    if not in_memory:

        @event.listens_for(engine, "do_connect")
        def open_file(
            _dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]
        ) -> None:
            path = Path(arguments[0])
            if read_only:
                arguments[0] = read_only_uri(path)
                options["uri"] = True
            else:
                _create_private(path)

        if read_only:
            _watch_unlocked_files(engine)

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        # The driver's own BEGIN comes late and lets DDL and savepoints outlive a rollback.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")  # off by default, in every SQLite so far
        if read_only:
            cursor.execute("PRAGMA query_only = ON")
        elif not in_memory and not _belongs_to_others(connection):
            _use_write_ahead_log(connection, wait_seconds, is_async=is_async)
            # In WAL mode only FULL syncs at each commit; NORMAL may lose the last ones with the power.
            cursor.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            if durable:
                cursor.execute("PRAGMA fullfsync = ON")  # macOS's fsync leaves it in the disk's cache
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A deferred writer that has read finds "database is locked" in spite of every timeout.
        writes = connection.get_execution_options().get("tuneledger_begin") in {"write", "migrate"}
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _refuse_old_library() -> None:
    if sqlite3.sqlite_version_info < OLDEST:
        found, wanted = (".".join(map(str, numbers)) for numbers in (sqlite3.sqlite_version_info, OLDEST))
        raise UnsuitableConnection(
            f"this Python has SQLite {found} built in, an archive needs {wanted} or newer; use a newer Python"
        )


def _create_private(path: Path) -> None:
    """Create the file readable by its owner alone; its -wal and -shm take the mode over.

    Raises `DatabaseReadOnly` for a file that cannot be written: SQLite would say "unable to open", and
    only at the first transaction.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        pass
    except OSError:
        return  # opening it says why
    if path.is_file() and not (_may_write(path) and _may_write(path.absolute().parent)):
        raise DatabaseReadOnly(
            f"{shortened(path)} cannot be written: the file, or its folder, where the log belongs, is "
            f"read-only; it can be opened to read"
        )


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def read_only_uri(path: Path) -> str:
    """Give the URI that reads a file, also one in a folder where no -shm file can be made to lock it with."""
    uri = f"{path.resolve().as_uri()}?mode=ro"
    return uri + "&immutable=1" if _is_out_of_reach(path) else uri


_WAL_MARK: Final = b"\x02\x02"
_WAL_MARK_AT: Final = 18


def _is_out_of_reach(path: Path) -> bool:
    """Tell whether a file is in WAL mode, whole without a log, and lies where we cannot lock it."""
    try:
        with path.open("rb") as file:
            file.seek(_WAL_MARK_AT)
            in_wal_mode = file.read(len(_WAL_MARK)) == _WAL_MARK
    except OSError:
        return False
    return in_wal_mode and not _has_log(path) and not _may_write(path.absolute().parent)


def _has_log(path: Path) -> bool:
    log = path.with_name(path.name + "-wal")
    return log.exists() and log.stat().st_size > 0


def _signature(path: Path) -> tuple[bool, int, int, int]:
    found = path.stat()
    return _has_log(path), found.st_ino, found.st_size, found.st_mtime_ns


def _watch_unlocked_files(engine: Engine) -> None:
    """Notice when another user, who may write in that folder, changes a file that we read without locks."""
    path = Path(engine.url.database or "")
    opened: dict[Any, tuple[bool, int, int, int]] = {}  # by the pool's record of a connection

    @event.listens_for(engine, "do_connect")
    def sign(_dialect: object, record: Any, _arguments: object, _options: object) -> None:
        opened.pop(record, None)
        if _is_out_of_reach(path):
            opened[record] = _signature(path)

    @event.listens_for(engine, "checkout")
    def reopen(_connection: object, record: Any, _proxy: object) -> None:
        if record in opened and opened[record] != _signature(path):
            message = "the file changed since it was opened"
            raise exc.DisconnectionError(message)

    def compare(connection: Connection) -> None:
        record = connection.connection._connection_record  # noqa: SLF001 - the pool's events are given it
        if record in opened and opened[record] != _signature(path):
            raise DatabaseBusy(
                f"{shortened(path)} was written while it was read, and lies in a folder where it cannot be "
                f"locked; read it again"
            )

    event.listen(engine, "rollback", compare)
    event.listen(engine, "commit", compare)


def _belongs_to_others(connection: sqlite3.Connection) -> bool:
    """Tell whether the file holds another application's tables: then not even its mode is changed."""
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    return bool(names) and VERSION_TABLE not in names


def _use_write_ahead_log(connection: sqlite3.Connection, wait_seconds: float, *, is_async: bool) -> None:
    """Let readers and the writer not wait for each other. The mode stays with the file."""
    deadline = time.monotonic() + wait_seconds
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # The change needs the file alone, and SQLite does not wait for it by itself.
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
            # Reached where several open a new file at once, as tests/test_concurrency.py's processes do.
            wait(0.01, is_async=is_async)  # pragma: no cover - a matter of luck in any one run


def check_suitable(connection: Connection) -> None:
    """Refuse a caller's connection whose settings would lose or half-write a job."""
    if connection.exec_driver_sql("PRAGMA foreign_keys").scalar() != 1:
        raise UnsuitableConnection(
            "foreign keys are off on this SQLite connection; make the engine with "
            "tuneledger.engine.open_engine, or run PRAGMA foreign_keys = ON at every connect"
        )
    driver: Any = connection.connection.driver_connection
    if not driver.in_transaction:
        raise UnsuitableConnection(
            "no transaction has begun on this SQLite connection: the driver begins one late, or never, and "
            "each statement would be seen by others at once; make the engine with "
            "tuneledger.engine.open_engine, or set isolation_level = None at every connect and emit "
            "BEGIN IMMEDIATE on SQLAlchemy's begin event"
        )


@contextmanager
def writing_transaction(engine: Engine) -> Iterator[Callable[[str, tuple[Any, ...]], Any]]:
    """Open a transaction to write in that is the driver's alone, and give what executes in it.

    Past SQLAlchemy, which takes several times as long as SQLite for a statement of few rows. An error rolls
    all of it back, whoever swallows that.
    """
    with closing(engine.raw_connection()) as lent:
        cursor = lent.cursor()

        def execute(text: str, parameters: tuple[Any, ...] = ()) -> Any:
            cursor.execute(text, parameters)
            return cursor

        execute("BEGIN IMMEDIATE")
        yield execute
        execute("COMMIT")


def insert_columns(
    connection: Connection,
    table: str,
    blocks: Iterable[tuple[Mapping[str, Any], Mapping[str, Sequence[Any]]]],
    on_conflict: str,
) -> None:
    """Insert rows, best in key order, by statements of many rows that the driver prepares once.

    Every value bound costs as much as a row's place in the table, so what the rows share is bound once.
    """
    by_text: dict[str, list[tuple[Any, ...]]] = {}
    for fixed, columns in blocks:
        shared = fixed.values()
        width = len(columns)
        at_once = min(_ROWS_A_STATEMENT, (_MOST_PARAMETERS - len(fixed)) // width)
        flat = _row_by_row(list(columns.values()))
        size = width * at_once
        whole = len(flat) - len(flat) % size
        for first, last, rows in ((0, whole, at_once), (whole, len(flat), (len(flat) - whole) // width)):
            if first < last:
                text = insert_text(table, tuple(fixed), tuple(columns), rows, on_conflict)
                portions = [
                    (*shared, *flat[at : at + rows * width]) for at in range(first, last, rows * width)
                ]
                by_text.setdefault(text, []).extend(portions)
    for text, parameters in by_text.items():
        connection.exec_driver_sql(text, parameters)


def _row_by_row(columns: Sequence[Sequence[Any]]) -> list[Any]:
    """Give the values of columns, of one length each, in the order of their rows."""
    width = len(columns)
    flat: list[Any] = [None] * (width * len(columns[0]))
    for place, column in enumerate(columns):
        flat[place::width] = column  # a third of the time that making tuples of rows takes
    return flat


@lru_cache(maxsize=256)
def insert_text(
    table: str, fixed: tuple[str, ...], columns: tuple[str, ...], rows: int, on_conflict: str
) -> str:
    """Write an INSERT of so many rows: it takes the values of ``fixed``, which all share, then row by row."""
    # WHERE keeps ON CONFLICT from reading as a join.
    row = f"({', '.join('?' * len(columns))})"
    taken = [*("?" * len(fixed)), *(f"column{number}" for number in range(1, len(columns) + 1))]
    return (
        f"INSERT INTO {table} ({', '.join([*fixed, *columns])}) SELECT {', '.join(taken)} "  # noqa: S608 - our own names
        f"FROM (VALUES {', '.join([row] * rows)}) WHERE true {on_conflict}"
    )
