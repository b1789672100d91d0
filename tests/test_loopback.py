import asyncio
from typing import Any

import pytest

from tuneledger.loopback import AnsweringOwnNames, is_loopback


def asked(name: str | None, *, kind: str = "http", listening: str = "127.0.0.1") -> list[Any]:
    """What is answered to a request that names this host; the application itself answers with one word."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    async def application(*_: object) -> None:
        await send("passed on")

    headers = [] if name is None else [(b"host", name.encode())]
    scope = {"type": kind, "headers": headers}
    asyncio.run(AnsweringOwnNames(application, host=listening)(scope, receive, send))
    return sent


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("name", ["localhost:8080", "LOCALHOST", "127.0.0.1:80", "[::1]:8080", "127.8.9.1"])
def test_this_machine_is_answered(name: str, kind: str) -> None:
    """By whichever of its names it is asked, with a port or without one."""
    assert asked(name, kind=kind) == ["passed on"]


@pytest.mark.parametrize(
    "name", [None, "", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1"]
)
def test_a_name_of_a_stranger_s_is_refused(name: str | None) -> None:
    """Though it is this machine's address: a page of the stranger's would read the answer."""
    start, body = asked(name)
    assert (start["status"], b"localhost alone" in body["body"]) == (421, True)
    (closed,) = asked(name, kind="websocket")
    assert closed == {"type": "websocket.close", "code": 1008}


def test_starting_and_ending_pass() -> None:
    """They are no request and name no host."""
    assert asked(None, kind="lifespan") == ["passed on"]


@pytest.mark.parametrize("listening", ["0.0.0.0", "::", "runs.example"])  # noqa: S104 - what is told from our own
def test_who_listens_for_others_is_asked_by_any_name(listening: str) -> None:
    """What others call this machine nobody knows here."""
    assert not is_loopback(listening)
    assert asked("runs.example", listening=listening) == ["passed on"]
