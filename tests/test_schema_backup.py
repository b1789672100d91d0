"""An SQLite file is copied before its schema changes, and the copy is what the file was."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from alembic import command
from sqlalchemy import Engine

from schema_archives import catalog_of, contents, jobs_in, load, opened, revision_of
from test_schema_doors import configured
from tuneledger import Archive, schema
from tuneledger.engine import copy_file
from tuneledger.errors import DatabaseDamaged, DatabaseFull


class Old(NamedTuple):
    """A filled file at the first revision, and its engine."""

    engine: Engine
    path: Path


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Old]:
    """A filled file at the first revision."""
    path = tmp_path / "history.db"
    load(f"sqlite:///{path}", "0001")
    with opened(f"sqlite:///{path}") as engine:
        yield Old(engine, path)


def copies(path: Path) -> list[str]:
    """The backups beside a file, without their time."""
    names = (file.name for file in path.parent.glob("*.backup"))
    return sorted(f"{name[: name.index('-')]}" for name in names)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Every file and folder that is synced to the disk from here on: its inode, and its size then."""
    found: list[tuple[int, int]] = []
    sync = os.fsync

    def noted(handle: int) -> None:
        sync(handle)
        seen = os.fstat(handle)
        found.append((seen.st_ino, seen.st_size))

    monkeypatch.setattr(os, "fsync", noted)
    return found


@pytest.mark.parametrize("kind", ["upgrade", "backup"])
def test_a_backup_outlives_the_power(old: Old, synced: list[tuple[int, int]], kind: str) -> None:
    """The whole copy is synced, and after it the folder that its name stands in."""
    if kind == "upgrade":
        schema.upgrade(old.engine)
        (copy,) = old.path.parent.glob("*.backup")
    else:
        schema.upgrade(old.engine, backup=False)
        copy = old.path.with_name("copy.db")
        with Archive(old.path) as archive:
            archive.backup(copy)
    file = copy.stat().st_ino, copy.stat().st_size
    assert file in synced
    assert copy.parent.stat().st_ino in [inode for inode, _ in synced[synced.index(file) :]]


def test_an_upgrade_makes_a_backup(old: Old) -> None:
    """It stands beside the file, whole by itself, private, and is at the revision it came from."""
    before = contents(old.engine), catalog_of(old.engine)
    told: list[Path] = []
    schema.upgrade(old.engine, tell_backup=told.append)
    (copy,) = old.path.parent.glob("*.backup")
    assert told == [copy]
    assert copies(old.path) == ["history.db.0001"]
    assert copy.stat().st_mode & 0o777 == 0o600
    with opened(f"sqlite:///{copy}") as engine:
        assert (contents(engine), catalog_of(engine)) == before
    schema.upgrade(old.engine)
    assert [told, copies(old.path)] == [[copy], ["history.db.0001"]]


def test_going_back_to_the_backup(old: Old) -> None:
    """Copied over the file, it is the archive again."""
    schema.upgrade(old.engine)
    jobs = jobs_in(f"sqlite:///{old.path}")
    old.engine.dispose()
    (copy,) = old.path.parent.glob("*.backup")
    shutil.copy(copy, old.path)
    assert revision_of(old.engine) == "0001"
    schema.upgrade(old.engine)
    assert jobs_in(f"sqlite:///{old.path}") == jobs


def test_without_a_backup(old: Old) -> None:
    """It can be left away; a new archive and one in memory have nothing to copy."""
    schema.upgrade(old.engine, backup=False)
    with opened(f"sqlite:///{old.path}.new") as engine:
        schema.upgrade(engine)
    with opened("sqlite://") as engine:
        schema.upgrade(engine, "0001")
        schema.upgrade(engine)
    assert copies(old.path) == []


def test_where_nothing_changes_there_is_no_backup(old: Old) -> None:
    """Asked for the revision that a file is at, by whichever door, an upgrade copies nothing."""
    command.upgrade(configured(old.engine), "0001")
    schema.upgrade(old.engine, "0001")
    schema.downgrade(old.engine, "0001")
    assert copies(old.path) == []


def test_old_backups_go(old: Old) -> None:
    """Of each revision the newest is kept, and of those the ones of the three newest revisions."""
    other = old.path.with_name("other.history.db.0001-20200101T000000Z.backup")
    notes = old.path.with_name("history.db.0001-notes.backup")
    unrelated = [other, notes]
    for file in unrelated:
        file.touch()
    for revision in ("0000", "0001", "0001", "0002"):
        number = len(list(old.path.parent.iterdir()))
        old.path.with_name(f"history.db.{revision}-202001{number:02}T000000Z.backup").touch()
    schema.upgrade(old.engine)
    schema.downgrade(old.engine, "0002")
    schema.upgrade(old.engine)
    assert all(file.exists() for file in unrelated)
    assert copies(old.path) == [
        "history.db.0001",
        "history.db.0001",  # the notes
        "history.db.0002",
        f"history.db.{schema.head()}",
        "other.history.db.0001",
    ]
    made = sorted(file.name for file in old.path.parent.glob("history.db.0*Z.backup"))
    assert not [name for name in made if "-2020" in name]


def test_no_room_for_a_backup(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room is looked for first; without it nothing is changed and the way on is told."""
    before = contents(old.engine)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(DatabaseFull, match=r"needs [\d,]+ bytes and 1 are free.*--no-backup"):
        schema.upgrade(old.engine)
    assert revision_of(old.engine) == "0001"
    assert contents(old.engine) == before
    assert schema.upgrade(old.engine, backup=False) == schema.head()


def test_the_log_needs_room_too(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the file's log comes into the copy, and counts."""
    with old.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE jobs SET model = 'other'")
    free = old.path.stat().st_size + 2**20
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(free, 0, free))
    with pytest.raises(DatabaseFull, match="--no-backup"):
        schema.upgrade(old.engine)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE metrics SET value = value + 1e-9 WHERE step_number = 100 AND value > 0",
        "DELETE FROM inputs",
        "DROP VIEW points",
    ],
)
def test_a_backup_that_differs_stops_the_upgrade(
    old: Old, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """One changed value or view in the copy is found, the copy is thrown away, and nothing is changed."""

    def damaged(source: Path, target: Path) -> None:
        copy_file(source, target)
        with sqlite3.connect(target) as copy:
            copy.execute(damage)
        copy.close()

    monkeypatch.setattr("tuneledger.schema.backup.copy_file", damaged)
    with pytest.raises(DatabaseDamaged, match="does not hold what the file holds"):
        schema.upgrade(old.engine)
    assert revision_of(old.engine) == "0001"
    assert list(old.path.parent.glob("*backup*")) == []


def test_what_a_killed_backup_left_is_replaced(old: Old) -> None:
    """Half a copy of an earlier try is in nobody's way and does not stay."""
    old.path.with_name("history.db.backup.partial").write_bytes(b"half")
    schema.upgrade(old.engine)
    assert list(old.path.parent.glob("*.partial")) == []


def test_nobody_writes_between_backup_and_migration(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backup is made under the lock: who would write at that moment has to wait."""
    refused: list[Any] = []

    def watched(source: Path, target: Path) -> None:
        copy_file(source, target)
        other = sqlite3.connect(source, timeout=0)
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            refused.append(error.sqlite_errorname)
        other.close()

    monkeypatch.setattr("tuneledger.schema.backup.copy_file", watched)
    schema.upgrade(old.engine)
    assert refused == ["SQLITE_BUSY"]
