"""A backup taken while others write is whole, and comes back as it was."""

import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

import postgres_server
from jobs_for_tests import some_job
from postgres_server import libpq_url, new_database
from tuneledger import Archive
from tuneledger.cli import exit_codes, run
from tuneledger.errors import DatabaseDamaged, InvalidArgument


class Writer:
    """Somebody who saves one growing job after the other while a copy is made."""

    def __init__(self, url: str) -> None:
        self.saved = 0
        """How many saves were acknowledged."""
        self._url = url
        self._ended = False
        self._may_write = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        with Archive(self._url) as archive:
            while self._may_write.wait() and not self._ended:
                archive.save(some_job(f"job {self.saved // 5}", 20 * (self.saved % 5 + 1)))
                self.saved += 1
                time.sleep(0.01)  # what is saved while one copy is made, the next one takes longer to copy

    @contextmanager
    def at_work(self, saves: int = 1) -> Iterator[None]:
        """From so many saves on until the block ends; the last save may end after it."""
        wanted = self.saved + saves
        self._may_write.set()
        try:
            while self.saved < wanted:
                self._thread.join(0.01)
                assert self._thread.is_alive()
            yield
        finally:
            self._may_write.clear()

    def close(self) -> None:
        """Ends it."""
        self._ended = True
        self._may_write.set()
        self._thread.join()


@pytest.fixture
def writer(database_url: str) -> Iterator[Writer]:
    """A writer to the archive, who has saved a dozen times."""
    started = Writer(database_url)
    try:
        with started.at_work(12):
            pass
        yield started
    finally:
        started.close()


def copies(url: str, folder: Path, server_url: str, writer: Writer) -> Iterator[Archive]:
    """Copies of the archive, each as documented, made while the writer writes, and opened to read."""
    for number in range(4):
        file = folder / f"copy-{number}"
        if url.startswith("sqlite"):
            with writer.at_work():
                assert run(["-q", "backup", "--db", url, str(file)]) == exit_codes.OK
            with Archive(file, read_only=True) as archive:
                yield archive
            continue
        programs = postgres_programs(server_url)
        with writer.at_work():
            subprocess.run(
                [
                    programs / "pg_dump",
                    "--format=custom",
                    "--schema=tuneledger",
                    f"--file={file}",
                    libpq_url(url),
                ],
                check=True,
            )
        with new_database(server_url) as restored:
            subprocess.run(
                [programs / "pg_restore", "--exit-on-error", f"--dbname={libpq_url(restored)}", file],
                check=True,
            )
            with Archive(restored, read_only=True) as archive:
                yield archive


def postgres_programs(server_url: str) -> Path:
    """The folder of the server's own release of pg_dump, or of the newest, which knows all older."""
    with psycopg.connect(libpq_url(server_url)) as connection:
        release = connection.info.server_version // 10_000
    folders = {}
    for folder in postgres_server.binary_folders():
        asked = subprocess.run([folder / "pg_dump", "--version"], check=True, capture_output=True, text=True)
        folders[int(asked.stdout.split()[2].partition(".")[0])] = folder
    return folders.get(release) or folders[max(folders)]


@pytest.mark.slow
@pytest.mark.no_cover
def test_backup_while_others_write(
    database_url: str, writer: Writer, tmp_path: Path, postgres_server_url: str
) -> None:
    """Every copy verifies and holds what was acknowledged before it began; writers go on meanwhile."""
    before = writer.saved
    for archive in copies(database_url, tmp_path, postgres_server_url, writer):
        assert list(archive.verify()) == []
        with archive.read() as repository:
            for number in range(before // 5):
                assert repository.job(f"job {number}") == some_job(f"job {number}", 100)
            for job in repository.jobs(limit=10_000).jobs:
                found = repository.job(job.job_id)
                assert found == some_job(job.job_id, len(found.checkpoints))
        assert writer.saved > before
        before = writer.saved


def test_backup_is_one_private_file(sqlite_url: str, tmp_path: Path) -> None:
    """The copy needs no log beside it, is readable by its owner alone, and nothing else is left."""
    folder = tmp_path / "backups"
    folder.mkdir()
    with Archive(sqlite_url) as archive:
        archive.save(some_job())
        assert archive.backup(folder / "copy.db") == 1  # its rows still stand in the log
        assert [file.name for file in folder.iterdir()] == ["copy.db"]
        assert stat.S_IMODE((folder / "copy.db").stat().st_mode) == 0o600
        with pytest.raises(InvalidArgument, match="exists already"):
            archive.backup(folder / "copy.db")
        with pytest.raises(InvalidArgument, match="cannot be made"):
            archive.backup(tmp_path / "missing/copy.db")
    with Archive(folder / "copy.db") as copy:
        copy.save(some_job("second"))
        with copy.read() as repository:
            assert repository.count_jobs() == 2


def test_damaged_archive_makes_no_backup(sqlite_url: str, tmp_path: Path) -> None:
    """What does not verify is no backup: no file is left that somebody might rely on."""
    with Archive(sqlite_url) as archive:
        archive.save(some_job())
        with archive.engine.connect() as connection, connection.begin():
            connection.exec_driver_sql("UPDATE metrics SET value = 7")
        with pytest.raises(DatabaseDamaged, match="job 'job' step 1"):
            archive.backup(tmp_path / "copy.db")
    assert not list(tmp_path.glob("copy*"))
    assert run(["-q", "backup", "--db", sqlite_url, str(tmp_path / "copy.db")]) == exit_codes.DATABASE


def test_postgresql_is_told_the_command(postgres_url: str, tmp_path: Path) -> None:
    """`backup` of a PostgreSQL archive names pg_dump and pg_restore, without the password."""
    with Archive(postgres_url) as archive, pytest.raises(InvalidArgument) as caught:
        archive.backup(tmp_path / "copy")
    assert "pg_dump --format=custom --schema=tuneledger" in str(caught.value)
    assert str(make_url(postgres_url).password) not in str(caught.value)
    with Archive("sqlite://") as archive, pytest.raises(InvalidArgument):
        archive.backup(tmp_path / "copy")
    assert not list(tmp_path.iterdir())


def test_verify_command(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`verify` says that all is well, or names job and step and exits 1; --repair mends summaries."""
    with Archive(database_url) as archive:
        archive.save(some_job())
        place = "tuneledger." if archive.location.schema else ""
        assert run(["-q", "verify", "--db", database_url]) == exit_codes.OK
        assert "as it was written" in capsys.readouterr().out
        with archive.engine.connect() as connection, connection.begin():
            connection.exec_driver_sql(f"UPDATE {place}job_metrics SET min_value = 7")
        assert run(["-q", "verify", "--db", database_url]) == exit_codes.REFUSED
        assert "job 'job': summary: the summary of 'train_loss' is wrong" in capsys.readouterr().out
        assert run(["-q", "verify", "--repair", "--db", database_url]) == exit_codes.OK
        assert run(["-q", "verify", "--json", "--db", database_url]) == exit_codes.OK
        assert '"findings": []' in capsys.readouterr().out
        with archive.engine.connect() as connection, connection.begin():
            connection.exec_driver_sql(f"UPDATE {place}metrics SET value = 7 WHERE step_number = 2")
        assert run(["-q", "verify", "--repair", "--json", "--db", database_url]) == exit_codes.REFUSED
        captured = capsys.readouterr()
        assert '"problem": "changed"' in captured.out
        assert '"step_number": 2' in captured.out
        assert "backup" in captured.err
