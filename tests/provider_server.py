"""A server on this machine that plays a provider's service, and remembers what it was asked."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = Any
"""JSON values (HTTP 200), an HTTP status, (status, headers), (status, headers, bytes), raw bytes or `Cut`."""


@dataclass
class Played:
    """What is answered, path by path; a list is answered item by item, its last one again and again."""

    answers: dict[str, Answer]
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str, query: dict[str, str]) -> Answer:
        """What a request gets; pages are found by their path with the query that tells them apart."""
        self.asked.append((path, query))
        found = next(
            (
                self.answers[key]
                for name in ("after", "page")
                if (key := f"{path}?{name}={query.get(name)}") in self.answers
            ),
            self.answers.get(path, 404),
        )
        if isinstance(found, Sequence):
            return found.pop(0) if len(found) > 1 else found[0]
        return found


class Sequence(list[Answer]):
    """Answers one after the other."""


@dataclass(frozen=True)
class Cut:
    """The connection ends after these bytes of the answer, of whatever part they are."""

    sent: bytes


@contextmanager
def provider_server(answers: dict[str, Answer]) -> Iterator[Played]:
    """The server, for as long as the block lasts."""
    played = Played(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            played.headers.append({name.lower(): value for name, value in self.headers.items()})
            answer = played.answer(parts.path, query)
            if isinstance(answer, Cut):
                self.wfile.write(answer.sent)
                self.close_connection = True
                return
            status, headers = 200, {}
            body = b""
            if isinstance(answer, int):
                status = answer
            elif isinstance(answer, tuple):
                status, headers, *rest = answer
                body = b"".join(rest)
            else:
                body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's own name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    played.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield played
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
