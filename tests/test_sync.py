"""Files found and archived without the command line in between."""

import json
import os
from pathlib import Path

import pytest

from tuneledger import Archive
from tuneledger.errors import DatabaseBusy, InvalidArgument, InvalidPayload, LimitExceeded, UnknownFormat
from tuneledger.sync import archive_document, archive_paths, found_files, read_document

EXAMPLES = Path(__file__).parents[1] / "src/tuneledger/examples"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, which is the current one, with files, folders and odd names in it."""
    for name in ("b.json", "a.json", "deep/er/c.json", "[x].json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    os.mkfifo(tmp_path / "deep/pipe")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["b.json", "a.json"], [("b.json", True), ("a.json", True)]),
        (["-"], [("-", True)]),
        (["deep"], [("deep/er/c.json", False)]),
        (["?.json"], [("a.json", True), ("b.json", True)]),
        (["[x].json"], [("[x].json", True)]),
        (["**/c.json"], [("deep/er/c.json", True)]),
        (["d*"], [("deep/er/c.json", False)]),
        (["missing.json"], [("missing.json", True)]),
        ([], []),
    ],
)
def test_found_files(tree: Path, paths: list[str], expected: list[tuple[str, bool]]) -> None:
    """Files come in the order named, those of a folder or pattern by name; a name that exists is no pattern.

    Pipes that lie in a folder are left alone, for they might never end.
    """
    assert tree.is_dir()
    assert list(found_files(paths)) == expected


@pytest.mark.parametrize("path", ["", "missing-*.json"])
def test_paths_that_name_nothing(tree: Path, path: str) -> None:
    """An empty path is not the current folder, and a pattern that matches nothing is a mistake."""
    assert tree.is_dir()
    with pytest.raises(InvalidArgument):
        list(found_files([path]))


def test_a_file_of_exactly_the_limit(tmp_path: Path) -> None:
    """The limit is the largest size that is read; one byte more is refused without reading on."""
    (tmp_path / "x").write_bytes(b"12345")
    assert read_document(str(tmp_path / "x"), max_bytes=5).data == b"12345"
    with pytest.raises(LimitExceeded, match="larger than 4 bytes"):
        read_document(str(tmp_path / "x"), max_bytes=4)
    with pytest.raises(LimitExceeded):
        read_document("/dev/zero", max_bytes=1000)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that is not there, or a folder in its place, is told by name and reason."""
    with pytest.raises(InvalidPayload, match=r"none\.json: cannot be read: No such file"):
        read_document(str(tmp_path / "none.json"))
    with pytest.raises(InvalidPayload, match="cannot be read: Is a directory"):
        read_document(str(tmp_path))


def test_outcomes_as_they_happen(database_url: str, tmp_path: Path) -> None:
    """Each input's outcome comes when it is archived, before the next is read."""
    with Archive(database_url) as archive:
        outcomes = archive_paths(
            archive, [str(EXAMPLES / "classifier-job.json"), str(tmp_path / "later.json")]
        )
        first = next(outcomes)
        assert [report.created for report in first.reports] == [True]
        (tmp_path / "later.json").write_text((EXAMPLES / "completion-job.json").read_text())
        assert [report.added for report in next(outcomes).reports] == [20]


def test_outcomes_of_a_folder(sqlite_url: str, tmp_path: Path) -> None:
    """What is unknown is skipped where it lay in a folder; a broken record is an error even there."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/notes.txt").write_text("notes")
    record = {"id": "x", "training_files": [], "created_at": -1, "status": "RUNNING"}
    (tmp_path / "run/record.json").write_text(json.dumps(record))
    with Archive(sqlite_url) as archive:
        notes, broken = archive_paths(archive, [str(tmp_path / "run")])
        (named,) = archive_paths(archive, [str(tmp_path / "run/notes.txt")])
    assert (notes.skipped, broken.skipped, named.skipped) == (True, False, False)
    assert isinstance(named.error, UnknownFormat)
    assert isinstance(broken.error, InvalidPayload)
    assert broken.format == "mistral"


def test_an_unknown_format_is_no_outcome(sqlite_url: str) -> None:
    """A format that does not exist is the caller's mistake, told before anything is read."""
    with Archive(sqlite_url) as archive, pytest.raises(InvalidArgument, match="there are: mistral"):
        next(archive_paths(archive, ["missing.json"], format_name="nonsense"))


def test_the_databases_errors_are_raised(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the database is not one of the input, so it is no outcome."""

    def busy(*_: object, **__: object) -> None:
        raise DatabaseBusy

    with Archive(sqlite_url) as archive:
        monkeypatch.setattr(archive, "save", busy)
        with pytest.raises(DatabaseBusy):
            archive_document(archive, read_document(str(EXAMPLES / "classifier-job.json")))
