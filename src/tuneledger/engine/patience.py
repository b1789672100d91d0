"""A connection to PostgreSQL that gives up on a server which has fallen silent.

A network path can die without a word: a firewall that forgot the connection, a proxy whose other end is gone.
Keepalives see the first where nothing stands between, and never the second; the server's own time-outs
need a server that answers.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg

if TYPE_CHECKING:
    from collections.abc import Generator

T = TypeVar("T")

BETWEEN_TRANSACTIONS_SECONDS = 10.0
"""How long a ping, a BEGIN or a ROLLBACK may take."""


class _Patience:
    """A psycopg connection that is closed when the server sends nothing for `silence_seconds`."""

    pgconn: psycopg.pq.abc.PGconn
    silence_seconds: float = BETWEEN_TRANSACTIONS_SECONDS

    def _listening(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        # psycopg wakes a waiting generator several times a second with "nothing is ready".
        last_heard = time.monotonic()
        try:
            waited_for = next(gen)
            while True:
                ready = yield waited_for
                if ready:
                    last_heard = time.monotonic()
                elif time.monotonic() - last_heard > self.silence_seconds:
                    self.pgconn.finish()
                    raise psycopg.OperationalError("no answer in time")
                waited_for = gen.send(ready)
        except StopIteration as ended:
            result: T = ended.value
            return result


class PatientConnection(_Patience, psycopg.Connection[Any]):
    """The synchronous one."""

    def wait(self, gen: Generator[Any, Any, T], *arguments: Any, **options: Any) -> T:
        return super().wait(self._listening(gen), *arguments, **options)


class PatientAsyncConnection(_Patience, psycopg.AsyncConnection[Any]):
    """The asynchronous one."""

    async def wait(self, gen: Generator[Any, Any, T], *arguments: Any, **options: Any) -> T:
        return await super().wait(self._listening(gen), *arguments, **options)
