"""The asynchronous door behind the methods of the synchronous one, for suites that know only those."""

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from sqlalchemy.engine import URL

from tuneledger import CheckpointRepository, Job, SaveReport
from tuneledger.aio import AsyncArchive, AsyncRepository

T = TypeVar("T")


class EventLoop:
    """An event loop in a thread of its own, to which other threads hand coroutines."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What the coroutine gives."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def close(self) -> None:
        """Ends the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Blocking:
    """A repository whose methods wait for those of an asynchronous one; generators come by its stream."""

    def __init__(self, loop: EventLoop, repository: AsyncRepository) -> None:
        self._loop = loop
        self._repository = repository

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(CheckpointRepository, name)
        if inspect.isgeneratorfunction(method):
            return lambda *args, **kwargs: self._stream(self._repository.stream(method, *args, **kwargs))
        return lambda *args, **kwargs: self._loop.run(self._repository.run(method, *args, **kwargs))

    def _stream(self, items: Any) -> Iterator[Any]:
        while True:
            try:
                yield self._loop.run(anext(items))
            except StopAsyncIteration:
                return


class BlockingArchive:
    """An `AsyncArchive` as a `tuneledger.testing.Door`."""

    def __init__(self, loop: EventLoop, archive: AsyncArchive) -> None:
        self._loop = loop
        self._archive = archive

    @contextmanager
    def _entered(self, transaction: Any) -> Iterator[CheckpointRepository]:
        repository = self._loop.run(transaction.__aenter__())
        try:
            yield cast("CheckpointRepository", _Blocking(self._loop, repository))
        except BaseException as error:
            if not self._loop.run(transaction.__aexit__(type(error), error, error.__traceback__)):
                raise
        else:
            self._loop.run(transaction.__aexit__(None, None, None))

    def read(self) -> Any:
        """See `AsyncArchive.read`."""
        return self._entered(self._archive.read())

    def write(self) -> Any:
        """See `AsyncArchive.write`."""
        return self._entered(self._archive.write())

    def save(self, job: Job, **options: Any) -> SaveReport:
        """See `AsyncArchive.save`."""
        return self._loop.run(self._archive.save(job, **options))


@contextmanager
def blocking(location: str | URL) -> Iterator[BlockingArchive]:
    """An archive opened by the asynchronous door, closed at the end."""
    loop = EventLoop()
    archive = AsyncArchive(location)
    try:
        loop.run(archive.__aenter__())
        try:
            yield BlockingArchive(loop, archive)
        finally:
            loop.run(archive.__aexit__(None, None, None))
    finally:
        loop.close()
