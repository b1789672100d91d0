"""The asynchronous door: the archive of the synchronous one, run inside an event loop.

Nothing is written twice: `tuneledger.Archive` and the repository work over a driver for asyncio (aiosqlite,
psycopg), in a greenlet of SQLAlchemy's that hands control to the event loop whenever the driver waits.
The extra ``async`` brings what that needs.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Self, TypedDict, TypeVar, Unpack

from sqlalchemy.util.concurrency import greenlet_spawn

from tuneledger.archive import Archive
from tuneledger.engine import Location, locate
from tuneledger.errors import DriverMissing
from tuneledger.repository import CheckpointRepository, OnConflict

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from types import TracebackType

    from sqlalchemy.engine import URL

    from tuneledger.models import CheckpointOut, Job
    from tuneledger.repository import Input, SaveReport

__all__ = ["AsyncArchive", "AsyncRepository", "Options"]

P = ParamSpec("P")
T = TypeVar("T")

_ITEMS_A_HOP = 500
"""Items of a stream fetched at once: few enough to let other tasks in, enough to spread a hop's cost."""


class Options(TypedDict, total=False):
    """The options of `tuneledger.Archive`."""

    read_only: bool
    durable: bool
    wait_seconds: float
    reply_seconds: float


class AsyncRepository:
    """`CheckpointRepository` for asyncio: one transaction, one task at a time."""

    def __init__(self, repository: CheckpointRepository) -> None:
        self._repository = repository

    async def run(
        self, query: Callable[Concatenate[CheckpointRepository, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a method of the repository, or a function of your own that takes it, and give its answer.

        ``await repository.run(CheckpointRepository.checkpoints, "job-1", last_step=100)``. A function of your
        own may ask several questions in one hop, and must not wait for anything but the repository.
        """
        return await greenlet_spawn(partial(query, self._repository, *args, **kwargs))

    async def stream(
        self,
        query: Callable[Concatenate[CheckpointRepository, P], Iterator[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AsyncIterator[T]:
        """Give what a streaming method gives, one by one, in constant memory.

        ``async for checkpoint in repository.stream(CheckpointRepository.stream_checkpoints, "job-1")``.
        """
        items = query(self._repository, *args, **kwargs)
        while window := await greenlet_spawn(lambda: list(islice(items, _ITEMS_A_HOP))):
            for item in window:
                yield item


class AsyncArchive:
    """`tuneledger.Archive` for asyncio; opened by ``async with``, with the same arguments and errors.

    It belongs to the event loop that opened it; there, any number of tasks may use it.
    """

    _archive: Archive

    def __init__(
        self,
        location: str | os.PathLike[str] | URL | Location,
        *,
        schema: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        place = location if isinstance(location, Location) else locate(location, schema)
        self.location = place.asynchronous()
        self._options = options

    def __repr__(self) -> str:
        return f"AsyncArchive({str(self.location)!r})"

    async def __aenter__(self) -> Self:
        try:
            self._archive = await greenlet_spawn(Archive, self.location, **self._options)
        except ImportError:  # SQLAlchemy's, for want of greenlet
            raise DriverMissing(
                "asyncio needs greenlet; `pip install 'tuneledger[async]'` brings it"
            ) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await greenlet_spawn(self._archive.close)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncRepository]:
        """Open a transaction to read in, see `Archive.read`."""
        async with _entered(self._archive.read()) as repository:
            yield AsyncRepository(repository)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncRepository]:
        """Open a transaction to write in, see `Archive.write`."""
        async with _entered(self._archive.write()) as repository:
            yield AsyncRepository(repository)

    async def save(
        self, job: Job, *, on_conflict: OnConflict | str = OnConflict.MERGE, inputs: Iterable[Input] = ()
    ) -> SaveReport:
        """Save one job in a transaction of its own, see `Archive.save`."""
        return await greenlet_spawn(self._archive.save, job, on_conflict=on_conflict, inputs=inputs)

    async def append(
        self,
        job_id: str,
        checkpoints: Iterable[CheckpointOut],
        *,
        on_conflict: OnConflict | str = OnConflict.MERGE,
    ) -> SaveReport:
        """Append to a job in a transaction of its own, see `Archive.append`."""
        return await greenlet_spawn(self._archive.append, job_id, checkpoints, on_conflict=on_conflict)


@asynccontextmanager
async def _entered(transaction: AbstractContextManager[T]) -> AsyncIterator[T]:
    entered = await greenlet_spawn(transaction.__enter__)
    try:
        yield entered
    except BaseException as error:
        await _exited(transaction, error)
        raise
    await _exited(transaction, None)


async def _exited(transaction: AbstractContextManager[object], error: BaseException | None) -> None:
    # Shielded: a task that is cancelled here must not leave its transaction half closed in the pool.
    leave = greenlet_spawn(
        transaction.__exit__, type(error) if error else None, error, error.__traceback__ if error else None
    )
    await asyncio.shield(asyncio.ensure_future(leave))
