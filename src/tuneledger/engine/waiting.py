"""A pause that lets others work: other threads, or the other tasks of an event loop."""

from __future__ import annotations

import asyncio
import time


def wait(seconds: float, *, is_async: bool) -> None:
    """Wait; ``is_async`` where an asynchronous driver's greenlet asks, whose event loop must go on."""
    if is_async:
        from sqlalchemy.util.concurrency import await_

        await_(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)  # the caller's thread is the one that has to wait
