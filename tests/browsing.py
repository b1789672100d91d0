"""A real browser, and servers of our own commands for it to look at."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.support.wait import WebDriverWait

_FLAGS = (
    "--headless",
    "--no-sandbox",  # the tests may run as root
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,1000",
)
SECONDS = 30
_PICTURES = os.environ.get("TUNELEDGER_PICTURES")


class Browser:
    """Debian's Chromium without a window."""

    def __init__(self, folder: Path) -> None:
        options = ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for flag in (*_FLAGS, f"--user-data-dir={folder}"):
            options.add_argument(flag)
        self.downloads = folder / "downloads"
        options.add_experimental_option("prefs", {"download.default_directory": str(self.downloads)})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = Chrome(options=options, service=ChromeService("/usr/bin/chromedriver"))

    def open(self, url: str) -> None:
        """Opens a page, with what earlier pages complained of forgotten."""
        self.driver.get("about:blank")  # an open page may still miss a server that has ended
        self.complaints()
        self.driver.get(url)

    def wait(self, script: str) -> object:
        """What a JavaScript expression is, as soon as it is truthy."""
        return WebDriverWait(self.driver, SECONDS).until(
            lambda driver: driver.execute_script(f"return {script}"),
            f"never came true: {script}",
        )

    def complaints(self) -> list[str]:
        """What the page wrote to the console as an error, since last asked."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]  # selenium left it so
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def picture(self, name: str) -> bytes:
        """A screenshot; kept under that name in the folder TUNELEDGER_PICTURES, if any."""
        png: bytes = self.driver.get_screenshot_as_png()
        if _PICTURES:
            (Path(_PICTURES) / f"{name}.png").write_bytes(png)
        return png


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all tests of a worker: starting it takes seconds."""
    opened = Browser(tmp_path_factory.mktemp("chromium"))
    yield opened
    opened.driver.quit()


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


@contextmanager
def served(*arguments: str, ready: str, program: str = "tuneledger") -> Iterator[str]:
    """Runs `PROGRAM ARGUMENTS --port PORT` until the block ends; gives its URL once ``ready`` answers."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(Path(sys.executable).with_name(program)), *arguments, "--port", str(port)]
    # NiceGUI behaves otherwise where it finds itself under test, and coverage would mix up the greenlets of a
    # service over the asynchronous door.
    unwanted = ("PYTEST_",) if program == "tuneledger" else ("PYTEST_", "COVERAGE_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            deadline = time.monotonic() + SECONDS
            while not _answers(url + ready):
                assert process.poll() is None, process.stderr and process.stderr.read()
                assert time.monotonic() < deadline, "it never answered"
                time.sleep(0.1)
            yield url
        finally:
            process.send_signal(signal.SIGINT)  # Ctrl-C, the one way to stop it
            assert process.wait(SECONDS) in {0, 130}


def _answers(url: str) -> bool:
    try:
        with urlopen(url) as answer:  # noqa: S310 - our own server
            return bool(answer.status == 200)
    except URLError:
        return False


def fetched(url: str) -> object:
    """The JSON that a URL answers."""
    with urlopen(url) as answer:  # noqa: S310 - our own server
        found: object = json.load(answer)
        return found


def refused_as_a_stranger(url: str) -> bool:
    """Whether a server refuses what names another host than it is, as a page of a stranger's would."""
    request = Request(url, headers={"Host": "evil.example"})  # noqa: S310 - our own server
    with pytest.raises(HTTPError) as refused:
        urlopen(request)  # noqa: S310 - our own server
    with refused.value:
        return refused.value.code == HTTPStatus.MISDIRECTED_REQUEST
