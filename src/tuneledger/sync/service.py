"""A provider's HTTP service: asked again when it is busy, and no other host ever gets its key."""

from __future__ import annotations

import http.client
import logging
import random
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode, urlsplit

from tuneledger import json_text, loopback
from tuneledger.errors import InvalidArgument, LimitExceeded, SourceRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Service", "may_answer_later"]

_log = logging.getLogger("tuneledger")

_TRIES: Final = 6
_TRIES_UNTOLD: Final = 3
"""After so many, which take some three seconds, people are told why nothing happens."""
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 60.0
_TIMEOUT_SECONDS: Final = 60.0
_MAX_ANSWER_BYTES: Final = 64 * 2**20
_TOO_MANY_REQUESTS: Final = 429
_FIRST_OF_SERVERS: Final = 500

_ALWAYS: Final = {"Accept": "application/json", "User-Agent": "tuneledger"}
_WHY: Final = {
    401: "it does not accept the key; look at the environment variable that has it",
    403: "the key may not read fine-tuning jobs",
    404: "there is no such job, or not at this address",
    410: "this service is gone. Answers of it that were saved can still be archived: "
    "`tuneledger archive FILE...` takes jobs, lists of jobs and lists of checkpoints as JSON",
}


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: the key would go along to whatever host it names."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


@dataclass(slots=True)
class Service:
    """One provider's service. ``pause`` is how to wait, in seconds."""

    title: str
    """What messages call it."""
    base_url: str
    headers: Mapping[str, str] = field(repr=False)
    """Sent with every request; the key stands here."""
    query: Mapping[str, str] = field(default_factory=dict)
    """Sent with every request."""
    pause: Callable[[float], None] = time.sleep
    _opener: urllib.request.OpenerDirector = field(init=False, repr=False)
    _told: bool = field(init=False, repr=False, default=False)

    def __post_init__(self) -> None:
        """Refuse to send a key where anybody on the way can read it."""
        parts = urlsplit(self.base_url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in loopback.NAMES):
            raise InvalidArgument(f"{self.title}: the address must begin with https://")
        if parts.username is not None or parts.query:
            raise InvalidArgument(f"{self.title}: the address holds neither a user nor a query")
        for value in self.headers.values():
            if not (value.isascii() and value.isprintable()):  # http.client would quote it
                raise InvalidArgument(
                    f"{self.title}: the key has characters that no key has; "
                    f"look at the environment variable that has it"
                )
        # A proxy would be another host; with https it sees nothing of what is asked.
        direct = [urllib.request.ProxyHandler({})] if parts.scheme == "http" else []
        self._opener = urllib.request.build_opener(_StayHere, *direct)

    def url(self, *path: str) -> str:
        """Give the address of a path, whose parts are quoted."""
        return "/".join((self.base_url.rstrip("/"), *(quote(part, safe="") for part in path)))

    def get(self, *path: str, **query: str | int) -> Any:
        """Ask for a path and give the JSON value that it answers.

        Asked again, with growing pauses or as long as the service says, when it is busy, failing or
        cannot be reached. Raises `SourceRefused` when it says no, or nothing after all tries.
        """
        url = self.url(*path)
        asked = {**self.query, **{name: str(value) for name, value in query.items()}}
        full = f"{url}?{urlencode(asked)}" if asked else url
        for attempt in range(1, _TRIES + 1):
            request = urllib.request.Request(full, headers={**self.headers, **_ALWAYS})  # noqa: S310 - https, see __post_init__
            told_seconds = None
            status: int | None = None
            try:
                with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
                    data = answer.read(_MAX_ANSWER_BYTES + 1)
                if len(data) > _MAX_ANSWER_BYTES:
                    raise LimitExceeded(
                        source=url, reason=f"answers with more than {_MAX_ANSWER_BYTES} bytes"
                    )
                if answer.length:  # http.client gives what came before the connection ended
                    raise http.client.IncompleteRead(b"", answer.length)
                self._told = False
                return json_text.parse(data, source=url)
            except urllib.error.HTTPError as error:
                status = error.code
                told_seconds = _seconds(error.headers.get("Retry-After"))
                error.close()
                if not _passes(status):
                    why = _WHY.get(status, "what was asked for does not fit it")
                    raise SourceRefused(
                        f"{self.title} answered HTTP {status} to {url}: {why}", http_status=status
                    ) from None
                reason = f"HTTP {status}"
            except (OSError, http.client.HTTPException) as error:
                reason = str(getattr(error, "reason", None) or type(error).__name__)
            if attempt == _TRIES_UNTOLD and not self._told:
                self._told = True  # once, until it answers again
                _log.warning("%s does not answer %s (%s); it is asked again", self.title, url, reason)
            if attempt < _TRIES:
                self.pause(_pause_seconds(attempt) if told_seconds is None else told_seconds)
        raise SourceRefused(
            f"{self.title} did not answer {url}, {_TRIES} times ({reason}); what was archived stays, "
            "and the same command goes on from there later",
            http_status=status,
        )


def may_answer_later(error: SourceRefused) -> bool:
    """Tell whether a service could not answer, rather than would not."""
    return error.http_status is None or _passes(error.http_status)


def _passes(status: int) -> bool:
    return status == _TOO_MANY_REQUESTS or status >= _FIRST_OF_SERVERS


def _seconds(retry_after: str | None) -> float | None:
    """Read a Retry-After header in seconds; its other form, a date, is left to our own pauses."""
    if retry_after is None or not retry_after.isdecimal():
        return None
    return min(float(retry_after), _LONGEST_PAUSE_SECONDS)


def _pause_seconds(attempt: int) -> float:
    # Jittered, or all that were turned away come back together.
    longest = min(_FIRST_PAUSE_SECONDS * 2**attempt, _LONGEST_PAUSE_SECONDS)
    share = random.uniform(0.5, 1.0)  # noqa: S311 - no secret
    return float(longest * share)
