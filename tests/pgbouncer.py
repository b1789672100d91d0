"""A real PgBouncer in transaction mode, which gives each transaction to another server session."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy.engine import URL, make_url

from postgres_server import libpq_url


@contextmanager
def pooled(postgres_url: str) -> Iterator[URL]:
    """The same server behind PgBouncer, with three server sessions a database for everybody."""
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
            time.sleep(0.05)  # it tells nobody when it listens
        else:
            return
