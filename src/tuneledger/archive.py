"""The archive: a path or URL in, transactions out."""

from __future__ import annotations

import logging
import random
import secrets
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar, cast

from sqlalchemy.engine import Engine

from tuneledger.engine import (
    READING,
    WRITING,
    Location,
    check_suitable,
    copy_file,
    has_citus,
    identity,
    locate,
    location_of,
    open_engine,
    read_one_snapshot,
    schema_options,
    sync_folder,
    translated,
    wait,
)
from tuneledger.engine.opening import DEFAULT_SCHEMA
from tuneledger.errors import (
    DatabaseDamaged,
    DatabaseError,
    DatabaseReadOnly,
    DatabaseUnavailable,
    InvalidArgument,
    SchemaEmpty,
    TuneledgerError,
    shortened,
)
from tuneledger.repository import CheckpointRepository, Finding, OnConflict, Problem
from tuneledger.repository.appending import append_alone
from tuneledger.schema_state import status

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from sqlalchemy.engine import URL, Connection, RootTransaction

    from tuneledger.models import CheckpointOut, Job
    from tuneledger.repository import Input, SaveReport

__all__ = ["Archive"]

T = TypeVar("T")

_log = logging.getLogger("tuneledger")

_TRIES = 5
_FIRST_PAUSE_SECONDS = 0.05


_NO_FILE: Final = (
    "no file lies behind this archive; PostgreSQL is backed up by `pg_dump --format=custom --schema={schema} "
    "--file=FILE URL` and comes back by `pg_restore --dbname=URL FILE`, see docs/reliability.md"
)


class Archive:
    """An archive of fine-tuning jobs in an SQLite file or a PostgreSQL schema.

    ``location`` is a path, ``sqlite:///path``, ``sqlite://`` (in memory, gone with the object) or
    ``postgresql://…``, with the ``schema`` that is ``tuneledger`` if not given. An SQLite file that does not
    exist is created, and an empty one gets its tables; PostgreSQL is migrated by command only (``tuneledger
    db upgrade``). Use it from any number of threads; each transaction is one thread's. Close it, or use it
    in a ``with`` statement.

    ``read_only`` opens nothing that can write, and makes no file. With ``durable`` off a commit does not wait
    for the disk: a power cut can lose the newest saves, never a part of one. ``wait_seconds`` bounds the wait
    for a lock and for a connection, ``reply_seconds``, on top of it, that for PostgreSQL's answer.

    It may also be an SQLAlchemy `Engine` of your own. That is used as it is: checked in each transaction,
    never altered, not migrated, not closed; ``durable`` and the waits are its own matter then. (Inside a
    transaction of your own, `CheckpointRepository` takes your Session or Connection.)

    Raises the `SchemaError` that fits, where the database is not ready for this release, and
    `DatabaseError` where it cannot be opened.
    """

    def __init__(
        self,
        location: str | os.PathLike[str] | URL | Location | Engine,
        *,
        schema: str | None = None,
        read_only: bool = False,
        durable: bool = True,
        wait_seconds: float = 30.0,
        reply_seconds: float = 90.0,
    ) -> None:
        """Open the archive."""
        self.read_only = read_only
        self._wait_seconds = wait_seconds
        self._is_ours = not isinstance(location, Engine)
        if isinstance(location, Engine):
            self.location = location_of(location, schema)
            self.engine: Engine = location.execution_options(**schema_options(self.location.schema))
        else:
            self.location = location if isinstance(location, Location) else locate(location, schema)
            if read_only and self.location.path is not None and not self.location.path.exists():
                raise DatabaseUnavailable(
                    f"there is no archive at {self.location}; without read_only it would be made"
                )
            self.engine = open_engine(
                self.location,
                read_only=read_only,
                durable=durable,
                wait_seconds=wait_seconds,
                reply_seconds=reply_seconds,
            )
        # Made once: each has a dispatcher of its own, which takes longer to build than a query by key.
        self._reading = self.engine.execution_options(**READING)
        self._writing = self.engine.execution_options(**WRITING)
        try:
            self._make_ready()
        except BaseException:
            self.close()
            raise

    def _make_ready(self) -> None:
        with translated(), self._reading.connect() as connection:
            if not self._is_ours:
                check_suitable(connection, write=not self.read_only)
            found = status(connection)
            # Citus is asked for here, so that no statement of a write waits for it.
            self._appends_alone = not has_citus(connection) and self._is_ours and not self.read_only
        error = found.error(str(self.location))
        may_create = self._is_ours and self.location.schema is None and not self.read_only
        if isinstance(error, SchemaEmpty) and may_create:
            from tuneledger.schema import upgrade  # takes longer than to open an archive

            upgrade(self.engine)
        elif error is not None:
            raise error

    def __repr__(self) -> str:
        return f"Archive({str(self.location)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection, but none of a caller's engine; an archive in memory is gone then."""
        if self._is_ours:
            self.engine.dispose()

    def is_same(self, other: Archive) -> bool:
        """Tell whether both are one archive, however their places were spelt."""
        return self._identity() == other._identity()

    def _identity(self) -> tuple[object, ...]:
        with translated(), self._reading.connect() as connection:
            return identity(connection)

    @contextmanager
    def read(self) -> Iterator[CheckpointRepository]:
        """Open a transaction to read in: everything in it is of one moment."""
        with translated(), self._repeated("begin a transaction", self._begun_reading) as connection:
            if not self._is_ours:
                read_one_snapshot(connection)
            yield CheckpointRepository(connection, checked=self._is_ours)

    @contextmanager
    def write(self) -> Iterator[CheckpointRepository]:
        """Open a transaction to write in: committed at the end of the block, rolled back if it raises.

        Beginning it is tried again where that can help; what the block does is the caller's to repeat, or
        see `transact`.
        """
        begun = partial(self._repeated, "begin a transaction", self._begun_writing)
        with self._transaction(begun) as repository:
            yield repository

    @contextmanager
    def _transaction(self, begun: Callable[[], Connection]) -> Iterator[CheckpointRepository]:
        if self.read_only and not self._is_ours:
            raise DatabaseReadOnly(
                f"{self.location} was opened to read only; open it without read_only to write"
            )
        with translated(), begun() as connection, cast("RootTransaction", connection.get_transaction()):
            yield CheckpointRepository(connection, checked=self._is_ours)

    def _begun_reading(self) -> Connection:
        return _begun(self._reading)

    def _begun_writing(self) -> Connection:
        return _begun(self._writing)

    def transact(self, what: str, work: Callable[[CheckpointRepository], T]) -> T:
        """Do ``work`` in a transaction of its own, and give what it gives; ``what`` names it in the log.

        Done again after an error that repeating can mend (a deadlock, a lost connection), with growing
        pauses, five times at most and not for longer than the archive waits for a lock. Where the connection
        was lost at COMMIT the first try may have been written: ``work`` done twice must be as good as once.
        """

        def once() -> T:
            with self._transaction(self._begun_writing) as repository:
                return work(repository)

        try:
            return self._repeated(what, once)
        except DatabaseError as error:
            error.add_note(f"it was to {what}")
            raise

    def save(
        self, job: Job, *, on_conflict: OnConflict | str = OnConflict.MERGE, inputs: Iterable[Input] = ()
    ) -> SaveReport:
        """Save one job in a transaction of its own, repeated as `transact` tells.

        See `CheckpointRepository.save`.
        """
        given = tuple(inputs)
        of = f" of {shortened(given[0].name)}" if given else ""
        return self.transact(
            f"save job {shortened(job.job_id)!r}{of}",
            lambda repository: repository.save(job, on_conflict=on_conflict, inputs=given),
        )

    def append(
        self,
        job_id: str,
        checkpoints: Iterable[CheckpointOut],
        *,
        on_conflict: OnConflict | str = OnConflict.MERGE,
    ) -> SaveReport:
        """Append to a job in a transaction of its own, repeated as `save` is.

        See `CheckpointRepository.append`.
        """
        given = tuple(checkpoints)
        how = OnConflict(on_conflict)

        def once() -> SaveReport:
            if self._appends_alone:
                report = append_alone(self.engine, self.location.schema, job_id, given)
                if report is not None:
                    return report
            with self._transaction(self._begun_writing) as repository:
                return repository.append(job_id, given, on_conflict=how)

        return self._repeated(f"append to job {shortened(job_id)!r}", once)

    def verify(self) -> Iterator[Finding]:
        """Look at every row, and give what is not as it was written; changes nothing.

        Each job is looked at in a transaction of its own, so that writers may go on meanwhile.
        """
        if self.location.schema is None:
            from tuneledger.schema import drift

            for difference in drift(self.engine):
                yield Finding(Problem.CHANGED, f"the schema: {difference}")
        with self.read() as repository:
            yield from repository.verify_structure()
        for job_key in self._job_keys():
            with self.read() as repository:
                yield from repository.verify_job(job_key)

    def repair(self) -> Iterator[Finding]:
        """Rebuild the summaries of every job that is whole but for them; give what is wrong afterwards."""
        for job_key in self._job_keys():
            yield from self.transact(
                "repair a job", partial(CheckpointRepository.repair_job, job_key=job_key)
            )

    def backup(self, file: str | os.PathLike[str]) -> int:
        """Copy an SQLite archive to a new file while others write, verify the copy, give its number of jobs.

        Raises `InvalidArgument` where the file exists, and for PostgreSQL, naming the command that does it;
        `DatabaseDamaged` where the copy, and so most likely the archive, is not as it was written.
        """
        if self.location.path is None:
            raise InvalidArgument(_NO_FILE.format(schema=self.location.schema or DEFAULT_SCHEMA))
        target = Path(file)
        if target.exists():
            raise InvalidArgument(f"{shortened(target)} exists already; give another name")
        unfinished = target.with_name(f"{target.name}.{secrets.token_hex(4)}.partial")
        try:
            try:
                copy_file(self.location.path, unfinished)
            except OSError as error:
                raise InvalidArgument(f"{shortened(target)} cannot be made: {error.strerror}") from None
            with Archive(unfinished, read_only=True) as copy:
                for finding in copy.verify():
                    raise DatabaseDamaged(
                        f"no backup was made, for a copy is not as it was written ({finding}); "
                        f"`tuneledger verify` lists what is wrong"
                    )
                with copy.read() as repository:
                    jobs = repository.count_jobs()
            unfinished.rename(target)
            sync_folder(target.absolute().parent)
        finally:
            unfinished.unlink(missing_ok=True)
        return jobs

    def _job_keys(self) -> Iterator[int]:
        last = -1
        while True:
            try:
                with self.read() as repository:
                    portion = repository.job_keys_after(last)
            except DatabaseDamaged:
                return  # the structure, looked at first, tells of that
            if not portion:
                return
            yield from portion
            last = portion[-1]

    def _repeated(self, what: str, action: Callable[[], T]) -> T:
        """Do ``action``, and again after errors that this can mend."""
        deadline = time.monotonic() + self._wait_seconds
        for attempt in range(1, _TRIES):
            try:
                with translated():
                    return action()
            except TuneledgerError as error:
                if not error.retryable or time.monotonic() > deadline:
                    raise
                _log.warning("trying to %s again (%d of %d): %s", what, attempt + 1, _TRIES, error)
            # Jittered, or two that got in each other's way do so again.
            pause = _FIRST_PAUSE_SECONDS * 2**attempt * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
            wait(pause, is_async=self.location.is_async)
        return action()


def _begun(engine: Engine) -> Connection:
    """Give a connection whose transaction has begun, which closing it ends."""
    connection = engine.connect()
    try:
        connection.begin()
    except BaseException:
        connection.close()
        raise
    return connection
