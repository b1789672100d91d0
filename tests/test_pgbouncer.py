"""A real PgBouncer in transaction mode, which gives each transaction to another server session."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import URL, make_url

from jobs_for_tests import some_job
from postgres_server import libpq_url
from tuneledger import Archive

WRITERS = 8


@pytest.fixture
def pooled_url(postgres_url: str) -> Iterator[URL]:
    """The same database behind PgBouncer, with three server sessions for everybody."""
    url = make_url(postgres_url)
    binary = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    assert binary, "PgBouncer is missing (on Debian: apt-get install pgbouncer)"
    user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="tuneledger-pgbouncer-", dir="/tmp") as folder:
        configuration, users = Path(folder, "pgbouncer.ini"), Path(folder, "users.txt")
        users.write_text(f'"{url.username}" "{url.password}"\n')
        configuration.write_text(
            f"[databases]\n* = host={url.host} port={url.port}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {users}\n"
            "pool_mode = transaction\ndefault_pool_size = 3\nmax_client_conn = 200\n"
            "ignore_startup_parameters = extra_float_digits\n"
        )
        if user:
            for path in (Path(folder), configuration, users):
                shutil.chown(path, user, pwd.getpwnam(user).pw_gid)
        process = subprocess.Popen(
            [binary, configuration], user=user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            pooled = url.set(port=port)
            wait_until_up(pooled, process)
            yield pooled
        finally:
            process.terminate()
            process.wait(timeout=30)


def wait_until_up(url: URL, process: "subprocess.Popen[bytes]") -> None:
    """Returns when the pooler answers."""
    deadline = time.monotonic() + 30
    while True:
        assert process.poll() is None, "PgBouncer ended"
        try:
            psycopg.connect(libpq_url(url.render_as_string(hide_password=False))).close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


def test_many_writers_share_few_sessions(pooled_url: URL) -> None:
    """Saves, appends, streams and deletes of many over three sessions: none fails, nothing is lost."""

    def work(writer: int) -> None:
        with Archive(pooled_url) as archive:
            for number in range(6):
                job_id = f"job {writer} {number}"
                archive.save(some_job(job_id, 3 + 40 * number))
                archive.append(job_id, some_job(job_id, 1, first=900).checkpoints)
                archive.save(some_job("shared", 10 * (number + 1)))
                with archive.read() as repository:
                    assert len(list(repository.stream_checkpoints(job_id))) == 4 + 40 * number
            with archive.write() as repository:
                repository.delete_job(f"job {writer} 0")

    with ThreadPoolExecutor(WRITERS) as pool:
        for done in [pool.submit(work, number) for number in range(WRITERS)]:
            done.result()
    with Archive(pooled_url) as archive:
        assert list(archive.verify()) == []
        with archive.read() as repository:
            assert repository.count_jobs() == 5 * WRITERS + 1
            assert repository.job("shared") == some_job("shared", 60)


def test_nothing_of_a_transaction_leaks(pooled_url: URL) -> None:
    """What a transaction sets, it sets for itself: the session goes to others as it was."""
    names = ("statement_timeout", "lock_timeout", "synchronous_commit", "search_path", "jit")
    with psycopg.connect(
        libpq_url(pooled_url.render_as_string(hide_password=False)), autocommit=True
    ) as other:

        def settings() -> list[object]:
            return [other.execute(f"SHOW {name}").fetchone() for name in names]

        before = settings()
        with Archive(pooled_url, wait_seconds=7, durable=False) as archive:
            for number in range(5):
                archive.save(some_job(f"job {number}"))
                assert settings() == before
                with archive.read() as repository:
                    assert repository.count_jobs() == number + 1
                assert settings() == before
