"""A PostgreSQL archive on a disk that is soon full, and how to give it room again."""

import pwd
import resource
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from postgres_server import PostgresServer, libpq_url
from tuneledger import schema
from tuneledger.engine import open_engine

_MOUNTED_MIB = 4
_MOST_BYTES_A_FILE = 2**20 + 4_096  # in the middle of a block, of which the server then writes a part


class SmallDisk:
    """A migrated archive with room for a few thousand checkpoints.

    Root gives it a small file system of its own. Where none can be mounted no file of the server grows beyond
    a size, which looks like a full disk to PostgreSQL up to 15, and like an error of its own to later ones.
    """

    def __init__(self, server: PostgresServer, stack: ExitStack) -> None:
        self._server = server
        self.mount: Path | None = None
        with psycopg.connect(libpq_url(server.url)) as connection:
            self.says_full = connection.info.server_version < 160_000
        self.url = server.url
        folder = server.folder / "small"
        folder.mkdir()
        if self._mounted(folder, stack):
            self.mount, self.says_full = folder, True
            with psycopg.connect(libpq_url(server.url), autocommit=True) as administrator:
                administrator.execute(f"CREATE TABLESPACE small LOCATION '{folder}'".encode())
                administrator.execute("ALTER ROLE postgres SET default_tablespace = small")
        engine = open_engine(self.url)
        schema.upgrade(engine)
        engine.dispose()
        if self.mount is None:
            self._restart(_MOST_BYTES_A_FILE)

    def _mounted(self, folder: Path, stack: ExitStack) -> bool:
        if self._server.user is None:
            return False
        owner = pwd.getpwnam(self._server.user)
        options = f"size={_MOUNTED_MIB}m,mode=0700,uid={owner.pw_uid},gid={owner.pw_gid}"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode:
            return False  # root of a container, perhaps
        # The server's files on it are open until it ends.
        stack.callback(subprocess.run, ["umount", str(folder)], check=True)
        stack.callback(self._server.stop)
        return True

    def _restart(self, most_bytes_a_file: int) -> None:
        self._server.stop()
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes_a_file, before[1]))
        try:
            self._server.start()  # which takes the limit over
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def enlarge(self) -> None:
        """There is room for whoever connects from now on."""
        if self.mount:
            command = ["mount", "-o", "remount,size=200m", str(self.mount)]
            subprocess.run(command, check=True)
        else:
            self._restart(resource.RLIM_INFINITY)


@contextmanager
def small_disk() -> Iterator[SmallDisk]:
    """An archive on a server of its own."""
    server = PostgresServer(segment_mib=1)
    try:
        with ExitStack() as stack:
            yield SmallDisk(server, stack)
    finally:
        server.close()
