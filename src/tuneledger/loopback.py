"""What listens on this machine alone is meant for its own browser, and for no page of others' in it.

Whoever opens a page of a stranger's lets it send requests to 127.0.0.1, too, under a name of the stranger's
that is pointed there for the purpose; to the browser the answer is then that page's to read. Such a request
names the stranger's host, which is refused here.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Application = Callable[[Message, Receive, Send], Awaitable[None]]

__all__ = ["NAMES", "AnsweringOwnNames", "is_loopback"]

NAMES: Final = frozenset(["localhost", "127.0.0.1", "::1"])
"""What this machine calls itself."""

_REFUSAL: Final = (
    b"This answers to localhost alone. To answer to other names, let it listen on another address.\n"
)
_MISDIRECTED: Final = 421
_POLICY_VIOLATION: Final = 1008


def is_loopback(host: str) -> bool:
    """Tell whether who listens there is reached from this machine alone."""
    if host in NAMES:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class AnsweringOwnNames:
    """An ASGI application that passes on what is asked by a name of this machine, and refuses all else.

    Where it listens on a ``host`` that others reach, their names for it are not known, and all is passed on.
    """

    def __init__(self, app: Application, *, host: str) -> None:
        self._app = app
        self._reached_by_others = not is_loopback(host)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request or connection."""
        if self._reached_by_others or scope["type"] == "lifespan" or is_loopback(_host(scope)):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        else:
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": _MISDIRECTED, "headers": headers})
            await send({"type": "http.response.body", "body": _REFUSAL})


def _host(scope: Message) -> str:
    """Give the host that a request names, without its port; empty where it names none."""
    named = dict(scope["headers"]).get(b"host", b"").decode("latin-1").lower()
    if named.startswith("["):
        return str(named[1:].partition("]")[0])
    return str(named.partition(":")[0])
