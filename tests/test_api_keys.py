"""A provider's key goes to that provider alone: to no other host, no output, no log and no representation."""

import json
import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from provider_server import Cut, Played, provider_server
from tuneledger.cli import exit_codes, run
from tuneledger.cli.syncing import _ADDRESSES, _KEYS
from tuneledger.errors import InvalidArgument, InvalidPayload, SourceRefused, TuneledgerError
from tuneledger.sync import PROVIDERS, Provider, Service
from tuneledger.sync import service as services

KEY = "sk-hunter2-never-shown"
QUOTED = f'{{"error": "the key {KEY} is no good"}}'.encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

# What a service does instead of answering, quoting the key wherever it can, and the code that `sync` gives.
FAULTS: dict[str, tuple[Any, int]] = {
    "no key": ((401, {"WWW-Authenticate": KEY}, QUOTED), exit_codes.SERVICE),
    "not for this key": ((403, {}, QUOTED), exit_codes.SERVICE),
    "gone": ((410, {}, QUOTED), exit_codes.SERVICE),
    "busy": ((429, {"Retry-After": "0"}, QUOTED), exit_codes.SERVICE),
    "busy for how long": ((429, {"Retry-After": KEY}, QUOTED), exit_codes.SERVICE),
    "failing": ((500, {}, QUOTED), exit_codes.SERVICE),
    "cut at once": (Cut(b""), exit_codes.SERVICE),
    "cut in the status": (Cut(b"HTTP/1.1 2"), exit_codes.SERVICE),
    "a status that is none": (Cut(KEY.encode() + b"\r\n\r\n"), exit_codes.SERVICE),
    "cut in the headers": (Cut(HEAD + b"X-Key: " + KEY.encode()), exit_codes.REFUSED),
    "cut in the body": (Cut(HEAD + b"Content-Length: 500\r\n\r\n" + QUOTED), exit_codes.SERVICE),
    "cut in a chunk": (Cut(HEAD + b"Transfer-Encoding: chunked\r\n\r\n50\r\n" + QUOTED), exit_codes.SERVICE),
    "chunks that are none": (
        Cut(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + KEY.encode() + b"\r\n"),
        exit_codes.SERVICE,
    ),
    "half of a JSON document": (QUOTED[:-5], exit_codes.REFUSED),
    "no UTF-8": (QUOTED + b"\xff", exit_codes.REFUSED),
    "no list of jobs": (QUOTED, exit_codes.REFUSED),
    "an HTML page": (f"<html>{KEY}</html>".encode(), exit_codes.REFUSED),
}
REDIRECTS = (301, 302, 303, 307, 308)


@pytest.fixture(params=PROVIDERS, ids=lambda provider: provider.name)
def provider(request: pytest.FixtureRequest) -> Provider:
    """Each provider that `sync` knows."""
    found: Provider = request.param
    return found


@pytest.fixture
def elsewhere() -> Iterator[Played]:
    """Another host, which answers whatever it is asked with an empty list."""
    with provider_server({}) as played:

        def answer(path: str, query: dict[str, str]) -> Any:
            played.asked.append((path, query))
            return {"data": []}

        played.answer = answer  # type: ignore[method-assign] # for any path
        yield played


@pytest.fixture
def everything_shown(
    sqlite_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Callable[[Provider, Played, int], str]:
    """Runs `sync` of a service with and without `--debug`; gives all that it lets anybody see."""
    monkeypatch.setattr(services, "_FIRST_PAUSE_SECONDS", 0.0)
    caplog.set_level(logging.DEBUG)

    def shown(provider: Provider, played: Played, code: int) -> str:
        monkeypatch.setenv(_KEYS[provider.name], KEY)
        monkeypatch.setenv(_ADDRESSES[provider.name], played.url)
        for flags, which in ((["--debug"], []), (["--debug"], ["--job", "job-1"]), ([], ["--json"])):
            ended = run([*flags, "sync", provider.name, *which, "--db", sqlite_url])
            assert ended == code, (flags, which)
        out, err = capfd.readouterr()
        assert "Traceback" in err
        return out + err + caplog.text

    return shown


@pytest.mark.parametrize("fault", FAULTS)
def test_no_error_shows_the_key(
    provider: Provider, fault: str, everything_shown: Callable[[Provider, Played, int], str]
) -> None:
    """Refused, busy, cut off or answered with nonsense that quotes it: `sync` never shows the key."""
    answer, code = FAULTS[fault]
    path = f"/{provider.path}"
    with provider_server({path: answer, f"{path}/job-1": answer}) as played:
        shown = everything_shown(provider, played, code)
        assert any(KEY in value for headers in played.headers for value in headers.values())
    assert KEY not in shown


@pytest.mark.parametrize("status", REDIRECTS)
def test_no_redirect_takes_the_key_along(
    provider: Provider,
    status: int,
    elsewhere: Played,
    everything_shown: Callable[[Provider, Played, int], str],
) -> None:
    """A service that points to another host is refused, and that host is not even asked."""
    path = f"/{provider.path}"
    answer = (status, {"Location": f"{elsewhere.url.replace('127.0.0.1', 'localhost')}/{KEY}"})
    with provider_server({path: answer, f"{path}/job-1": answer}) as played:
        shown = everything_shown(provider, played, exit_codes.SERVICE)
    assert KEY not in shown
    assert elsewhere.asked == []


def test_no_proxy_sees_the_key(
    provider: Provider, elsewhere: Played, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service on this machine, asked without encryption, is asked past every proxy."""
    for variable in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(variable, elsewhere.url)
    monkeypatch.delenv("no_proxy", raising=False)
    with provider_server({f"/{provider.path}": {"data": []}}) as played:
        monkeypatch.setenv(_KEYS[provider.name], KEY)
        monkeypatch.setenv(_ADDRESSES[provider.name], played.url)
        assert run(["sync", provider.name, "--db", sqlite_url]) == exit_codes.OK
        assert played.asked
    assert elsewhere.asked == []


@pytest.mark.parametrize("odd", ["\n", "\r\nX-Other: 1", "é", "\u2028", "\x7f"])
def test_a_key_that_is_none(
    provider: Provider,
    odd: str,
    sqlite_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A key with a line end, or a letter that no header holds, is refused before anything is asked."""
    with provider_server({}) as played:
        monkeypatch.setenv(_KEYS[provider.name], KEY + odd)
        monkeypatch.setenv(_ADDRESSES[provider.name], played.url)
        assert run(["--debug", "sync", provider.name, "--db", sqlite_url]) == exit_codes.USAGE
        assert played.asked == []
    shown = "".join(capfd.readouterr())
    assert "environment variable" in shown
    assert KEY not in shown


def test_no_representation_shows_the_key() -> None:
    """Neither a service nor an error that it raised."""
    with provider_server({"/x": 401, "/y": QUOTED[:-3]}) as played:
        asked = Service("Played", played.url, {"Authorization": f"Bearer {KEY}"})
        errors: list[TuneledgerError] = []
        for path in "xy":
            with pytest.raises((SourceRefused, InvalidPayload)) as caught:
                asked.get(path)
            errors.append(caught.value)
    with pytest.raises(InvalidArgument) as refused:
        Service("Played", played.url, {"Authorization": f"Bearer {KEY}\n"})
    for error in (*errors, refused.value):
        assert KEY not in "".join(traceback.format_exception(error))
        assert KEY not in repr(error) + json.dumps(vars(error), default=repr)
    assert KEY not in repr(asked) + str(asked)
