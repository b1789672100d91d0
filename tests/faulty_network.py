"""A network path to a server that fails when and how a test says: a proxy in a thread of its own."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

_CHUNK = 65_536


class FaultyNetwork:
    """Forwards a port of 127.0.0.1 to another until a fault strikes; afterwards, or when healed, it is whole.

    A fault (`cut`, `reset`, `black hole`, `delay`, `call`) strikes once: at a new connection, when the client
    sends bytes that contain `trigger`, or at the server's first answer to those.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._fault: str | None = None
        self._trigger: bytes = b""
        self._when = ""
        self.struck = 0
        self.on_strike: Callable[[], None] = lambda: None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: asyncio.Server | None = None
        self.port = 0
        self._run(self._listen())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        done: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        done.result(timeout=30)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def strike(self, fault: str, when: str, trigger: bytes = b"") -> None:
        """Arms one fault: at `connect`, `before` the server gets the trigger, or `after` it got it."""
        self._when, self._trigger, self._fault = when, trigger, fault

    def refuse(self) -> None:
        """No connection is accepted any more, and those there are end."""
        self._run(self._stop())

    def accept(self) -> None:
        """Connections are accepted again, at the same port."""
        self._run(self._listen())

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    def close(self) -> None:
        """Ends everything."""
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=30)
        self._loop.close()

    async def _end(self) -> None:
        await self._stop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _due(self, when: str) -> str | None:
        if self._fault is None or self._when != when:
            return None
        fault, self._fault = self._fault, None
        self.struck += 1
        return fault

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        server_writer = None
        try:
            if await self._struck(self._due("connect"), [writer]):
                return
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            self._writers.add(server_writer)
            pair = [writer, server_writer]
            answering = asyncio.Event()
            await asyncio.gather(
                self._forward(reader, server_writer, pair, answering),
                self._answer(server_reader, writer, pair, answering),
            )
        except OSError:
            pass
        finally:
            for each in (writer, server_writer):
                if each is not None:
                    each.close()
                    self._writers.discard(each)
            self._tasks.discard(task)

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pair: list[asyncio.StreamWriter],
        answering: asyncio.Event,
    ) -> None:
        while data := await reader.read(_CHUNK):
            if self._trigger and self._trigger in data:
                if await self._struck(self._due("before"), pair):
                    return
                answering.set()
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _answer(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pair: list[asyncio.StreamWriter],
        answering: asyncio.Event,
    ) -> None:
        while data := await reader.read(_CHUNK):
            if answering.is_set() and await self._struck(self._due("after"), pair):
                return
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _struck(self, fault: str | None, writers: list[asyncio.StreamWriter]) -> bool:
        """Does what the fault is; tells whether the connection is over."""
        if fault is None:
            return False
        await self._loop.run_in_executor(None, self.on_strike)
        if fault == "delay":
            await asyncio.sleep(0.7)
            return False
        if fault == "call":
            return False
        if fault == "black hole":
            await asyncio.sleep(3_600)
        for writer in writers:
            if fault == "reset":
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort() if fault == "reset" else writer.close()
        return True
