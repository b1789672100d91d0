"""What goes wrong with an SQLite file reaches the caller as our own error; nothing half stays behind."""

import json
import os
import resource
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import make_url

from jobs_for_tests import some_job
from source_records import log_rows, trainer_state
from stored_content import stored_ids
from tuneledger import Archive
from tuneledger.cli import exit_codes, run
from tuneledger.errors import (
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseError,
    DatabaseFull,
    DatabaseReadOnly,
    DatabaseUnavailable,
)
from unprivileged import unprivileged


@pytest.fixture
def sqlite_path(sqlite_url: str) -> Path:
    """The migrated file."""
    return Path(make_url(sqlite_url).database or "")


def test_missing_folder(tmp_path: Path) -> None:
    """An archive in a folder that does not exist is unavailable, and no folder is made."""
    with pytest.raises(DatabaseUnavailable, match="folder"):
        Archive(tmp_path / "missing/x.db")
    assert not (tmp_path / "missing").exists()


def test_folder_in_place_of_a_file(tmp_path: Path) -> None:
    """A folder is no archive."""
    with pytest.raises(DatabaseUnavailable):
        Archive(tmp_path)


@pytest.mark.parametrize("content", [b"PNG, or so", b"SQLite format 3\0" + b"\xff" * 4096, os.urandom(9000)])
@pytest.mark.parametrize("read_only", [False, True])
def test_other_kind_of_file(tmp_path: Path, content: bytes, read_only: bool) -> None:  # noqa: FBT001 - a parameter
    """A file that is no SQLite database is refused and left as it is."""
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(DatabaseDamaged, match="no SQLite database, or a damaged one; choose another file"):
        Archive(path, read_only=read_only)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_read_only_file(sqlite_path: Path) -> None:
    """A file without write permission opens to read, and says so when it is to be written."""
    with Archive(sqlite_path) as archive:
        archive.save(some_job())
    sqlite_path.chmod(0o400)
    with unprivileged():
        with pytest.raises(DatabaseReadOnly, match="cannot be written"):
            Archive(sqlite_path)
        with Archive(sqlite_path, read_only=True) as archive:
            assert stored_ids(archive) == {"job"}
            with pytest.raises(DatabaseReadOnly):
                archive.save(some_job("other"))


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Nobody without special rights may write in `folder`."""
    folder.chmod(0o500)
    try:
        with unprivileged():
            yield
    finally:
        folder.chmod(0o700)


def test_read_only_folder(sqlite_path: Path) -> None:
    """A file in WAL mode can be read in a folder where no log can be made; to write there is refused."""
    with Archive(sqlite_path) as archive:
        archive.save(some_job())
    with locked_folder(sqlite_path.parent):
        with pytest.raises(DatabaseReadOnly, match="cannot be written"):
            Archive(sqlite_path)
        with Archive(sqlite_path, read_only=True) as archive:
            assert stored_ids(archive) == {"job"}
            assert stored_ids(archive) == {"job"}


def test_reader_without_locks_sees_the_writer(sqlite_path: Path) -> None:
    """Read without locks is never a mixture: a change between two reads is seen, one within is told."""
    with Archive(sqlite_path) as archive:
        archive.save(some_job())
    with locked_folder(sqlite_path.parent), Archive(sqlite_path, read_only=True) as reader:
        assert stored_ids(reader) == {"job"}
        written_elsewhere(sqlite_path, "second")
        assert stored_ids(reader) == {"job", "second"}
        with (  # noqa: PT012 - the end of the block raises
            pytest.raises(DatabaseBusy, match="while it was read"),
            reader.read() as repository,
        ):
            assert repository.count_jobs() == 2
            written_elsewhere(sqlite_path, "third")
        assert stored_ids(reader) == {"job", "second", "third"}


def written_elsewhere(path: Path, job_id: str) -> None:
    """Somebody who may write there saves a job: another thread, whose rights are whole."""

    def save() -> None:
        path.parent.chmod(0o700)
        with Archive(path) as archive:
            archive.save(some_job(job_id))
        path.parent.chmod(0o500)

    in_a_thread(save)


def in_a_thread(work: Callable[[], None]) -> None:
    """Does `work` in a thread that begins with the process's own rights."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not failures


def test_full_disk(sqlite_path: Path) -> None:
    """A file that may not grow takes nothing of a job, keeps what it had, and goes on when it may again."""
    with Archive(sqlite_path) as archive:
        archive.save(some_job("kept", 100))
    with file_size_limit(sqlite_path.stat().st_size), Archive(sqlite_path) as archive:
        with pytest.raises(DatabaseFull, match="nothing of the transaction"):
            archive.save(some_job("large", 20_000))
        assert stored_ids(archive) == {"kept"}
        raise_limit()
        assert archive.save(some_job("large", 20_000)).added == 20_000
        with archive.read() as repository:
            assert repository.job("kept") == some_job("kept", 100)


def test_a_full_disk_is_told_with_job_and_input(
    sqlite_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever archives many learns which one it was."""
    file = tmp_path / "trainer_state.json"
    file.write_text(json.dumps(trainer_state(log_rows(20_000))))
    with file_size_limit(sqlite_path.stat().st_size):
        code = run(["archive", str(file), "--job-id", "large", "--db", str(sqlite_path)])
    assert code == exit_codes.DATABASE
    assert capsys.readouterr().err.endswith(f"; it was to save job 'large' of {file}\n")


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file grows beyond `size` bytes, which is how a full disk or a quota looks to a program."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def raise_limit() -> None:
    """Files may grow again."""
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    )


def test_full_by_sqlites_own_word(sqlite_path: Path) -> None:
    """SQLITE_FULL, which rolls back by itself, is told as such and leaves nothing of the job."""
    with Archive(sqlite_path) as archive:
        archive.save(some_job("kept"))

        @event.listens_for(archive.engine, "checkout")
        def limit(connection: sqlite3.Connection, *_: object) -> None:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages + 4}")

        with pytest.raises(DatabaseFull):
            archive.save(some_job("large", 20_000))
        assert stored_ids(archive) == {"kept"}


def test_swallowed_full_disk_is_not_committed(sqlite_path: Path) -> None:
    """After SQLite rolled back by itself a caller who goes on writes nothing at all."""
    with Archive(sqlite_path) as archive:

        @event.listens_for(archive.engine, "checkout")
        def limit(connection: sqlite3.Connection, *_: object) -> None:
            connection.execute("PRAGMA max_page_count = 90")

        with pytest.raises(DatabaseError, match="earlier statement"), archive.write() as repository:  # noqa: PT012 - its end raises
            repository.save(some_job("first"))
            with pytest.raises(DatabaseFull):
                repository.save(some_job("large", 20_000))
            repository.save(some_job("second"))
        assert stored_ids(archive) == set()


def test_swallowed_write_error_is_not_committed(sqlite_path: Path) -> None:
    """After an error of the disk SQLite is out of its transaction: what follows must not commit by itself."""
    with Archive(sqlite_path) as archive:
        archive.save(some_job("kept", 100))
        with file_size_limit(sqlite_path.stat().st_size):
            with pytest.raises(DatabaseError, match="earlier statement"), archive.write() as repository:  # noqa: PT012 - what follows an error is the subject
                with pytest.raises(DatabaseFull):
                    repository.save(some_job("large", 60_000))
                raise_limit()
                repository.save(some_job("second"))
            assert stored_ids(archive) == {"kept"}


def test_undecodable_text(sqlite_path: Path) -> None:
    """Text that is no UTF-8 in a damaged file is damage, not a Python error."""
    with Archive(sqlite_path) as archive:
        archive.save(some_job())
        with sqlite3.connect(sqlite_path) as connection:
            connection.execute("UPDATE jobs SET document = CAST(x'ff22' AS TEXT)")
        connection.close()
        with pytest.raises(DatabaseDamaged), archive.read() as repository:
            repository.job("job")


def test_a_file_that_somebody_reads_becomes_wal_afterwards(tmp_path: Path) -> None:
    """The change of mode needs the file alone: a reader is waited for, and one who stays is told of."""
    path = tmp_path / "new.db"
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("CREATE TABLE empty (x)")
    holder.execute("DROP TABLE empty")
    holder.execute("BEGIN")
    holder.execute("SELECT * FROM sqlite_master").fetchall()
    with pytest.raises(DatabaseBusy):
        Archive(path, wait_seconds=0.1)
    release = threading.Timer(0.3, holder.execute, ["COMMIT"])
    release.start()
    with Archive(path, wait_seconds=20) as archive:
        assert archive.save(some_job()).created
        with archive.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    release.join()
    holder.close()


def test_locked_file(sqlite_path: Path) -> None:
    """A lock that somebody keeps is waited for as long as was said, then told as retryable, once."""
    holder = sqlite3.connect(sqlite_path, isolation_level=None)
    with Archive(sqlite_path, wait_seconds=0.5) as archive:
        holder.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(DatabaseBusy) as caught:
            archive.save(some_job())
        assert 0.4 < time.monotonic() - began < 3
        assert caught.value.retryable
        holder.execute("ROLLBACK")
        assert archive.save(some_job()).created
    holder.close()


def test_save_inside_a_write_block_ends(sqlite_path: Path) -> None:
    """Saving beside an open transaction of one's own waits for it once, not once a try."""
    with Archive(sqlite_path, wait_seconds=0.5) as archive, archive.write():
        began = time.monotonic()
        with pytest.raises(DatabaseBusy):
            archive.save(some_job())
        assert time.monotonic() - began < 3


def test_durable_files(sqlite_url: str) -> None:
    """Each commit syncs the log to the disk, unless told to be fast."""
    for durable, expected in ((True, 2), (False, 1)):
        with Archive(sqlite_url, durable=durable) as archive, archive.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == expected
