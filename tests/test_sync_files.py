import gc
import gzip
import io
import json
import math
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from source_records import (
    RESULT_HEADER,
    mistral_job,
    openai_checkpoint,
    openai_event,
    openai_job,
    page,
    trainer_state,
)
from stored_content import stored_ids
from tuneledger import Archive
from tuneledger.cli import exit_codes, run
from tuneledger.errors import DatabaseReadOnly, InvalidArgument, InvalidPayload, LimitExceeded, UnknownFormat
from tuneledger.sources import Document
from tuneledger.sync import Outcome, archive_document, archive_paths, read_document
from tuneledger.sync import inputs as sync_inputs
from unprivileged import unprivileged

STATE = json.dumps(trainer_state([{"loss": 1.0, "step": 1}])).encode()


def archived(location: str, *paths: Path | str, **options: Any) -> dict[str, Outcome]:
    """The outcomes of archiving these, by name."""
    with Archive(location) as archive:
        outcomes = list(archive_paths(archive, list(map(str, paths)), **options))
    assert len({outcome.name for outcome in outcomes}) == len(outcomes)
    return {outcome.name: outcome for outcome in outcomes}


def job_ids(location: str) -> set[str]:
    """The ids of the jobs in an archive."""
    with Archive(location) as archive:
        return stored_ids(archive)


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file of these."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.mkdir("empty")
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    """A tar file of these, and of a link that leads outside."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def test_the_files_of_a_folder_are_joined(tmp_path: Path, database_url: str) -> None:
    """Job, checkpoints, events and result file become one job, told of once; then nothing changes."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "1-job.json").write_text(json.dumps(openai_job()))
    (folder / "2-events.json").write_text(json.dumps(page([openai_event(5, 9, train_loss=0.1)])))
    (folder / "3-checkpoints.json").write_text(json.dumps(page([openai_checkpoint(12, train_loss=0.2)])))
    (folder / "metrics.csv").write_text(RESULT_HEADER + "1,0.9,0.5,,\n")
    (folder / "broken.json").write_text(json.dumps(page([openai_checkpoint(12) | {"step_number": "x"}])))
    outcomes = archived(database_url, folder)
    first = outcomes[str(folder / "1-job.json")]
    (report,) = first.reports
    assert (report.job_id, report.added, report.events_added) == (openai_job()["id"], 3, 1)
    for name in ("2-events.json", "3-checkpoints.json", "metrics.csv"):
        joined = outcomes[str(folder / name)]
        assert (joined.joined_to, joined.reports, joined.error) == (first.name, [], None)
    refused = outcomes[str(folder / "broken.json")].error
    assert isinstance(refused, InvalidPayload)
    assert "step_number" in str(refused)
    with Archive(database_url) as archive, archive.read() as repository:
        inputs = repository.inputs(openai_job()["id"])
    assert [Path(given.name).name for given in inputs] == [
        "1-job.json",
        "2-events.json",
        "3-checkpoints.json",
        "metrics.csv",
    ]
    again = archived(database_url, folder)
    assert not any(report.wrote for outcome in again.values() for report in outcome.reports)


def test_folders_are_joined_each_by_itself(tmp_path: Path, sqlite_url: str) -> None:
    """Files named one by one are joined by their folder, and with those of no other."""
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
    (tmp_path / "1" / "job.json").write_text(json.dumps(openai_job()))
    (tmp_path / "2" / "events.json").write_text(json.dumps(page([openai_event(1)])))
    (tmp_path / "1" / "events.json").write_text(json.dumps(page([openai_event(2)])))
    archived(
        sqlite_url,
        tmp_path / "1" / "job.json",
        tmp_path / "2" / "events.json",
        tmp_path / "1" / "events.json",
    )
    assert job_ids(sqlite_url) == {openai_job()["id"], str(tmp_path / "2" / "events.json")}


def test_a_conflict_of_joined_files_is_told(tmp_path: Path, sqlite_url: str) -> None:
    """What the archive refuses stands in the outcome of the first of the files."""
    file = tmp_path / "job.json"
    file.write_text(json.dumps(openai_job("running", None)))
    archived(sqlite_url, file)
    file.write_text(json.dumps(openai_job()))
    (outcome,) = archived(sqlite_url, file, on_conflict="error").values()
    assert outcome.error is not None


def test_nothing_joins_when_all_are_refused(tmp_path: Path, sqlite_url: str) -> None:
    """Each refused file has its own reason."""
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps(openai_job() | {"created_at": "now"}))
    outcomes = archived(sqlite_url, tmp_path / "a.json", tmp_path / "b.json")
    assert all(outcome.error is not None for outcome in outcomes.values())


@pytest.mark.parametrize("name", ["runs.zip", "runs.tar", "runs.tar.gz", "runs.zip.gz"])
def test_archives_of_files_are_opened(name: str, tmp_path: Path, sqlite_url: str) -> None:
    """Each file in them is taken as if it lay in a folder of that name; links lead nowhere."""
    files = {
        "a/trainer_state.json": STATE,
        "a/checkpoint-1/trainer_state.json": STATE,
        "b/job.json": json.dumps(openai_job()).encode(),
        "b/events.json.gz": gzip.compress(json.dumps(page([openai_event(1)])).encode()),
        "README": b"not a record",
    }
    data = tarred(files) if "tar" in name else zipped(files)
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    outcomes = archived(sqlite_url, path)
    place = str(path).removesuffix(".gz")
    assert job_ids(sqlite_url) == {f"{place}/a", openai_job()["id"]}
    assert outcomes[f"{path}/README"].skipped
    assert outcomes[f"{path}/b/events.json.gz"].format == "openai"
    assert f"{path}/link" not in outcomes


def test_a_gzip_file_is_its_content(tmp_path: Path, sqlite_url: str) -> None:
    """A compressed file is the same run as the plain one."""
    (tmp_path / "trainer_state.json.gz").write_bytes(gzip.compress(STATE))
    (tmp_path / "trainer_state.json").write_bytes(STATE)
    archived(sqlite_url, tmp_path)
    assert job_ids(sqlite_url) == {str(tmp_path)}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (gzip.compress(STATE)[:40], "a damaged gzip file"),
        (zipped({"a": STATE})[:60], "a damaged archive"),
        (tarred({"a": STATE})[:700], "a damaged archive"),
        (zipped({"a": STATE}, zipfile.ZIP_STORED).replace(b"loss", b"l0ss"), "a damaged archive"),
    ],
    ids=["short-gzip", "short-zip", "short-tar", "altered-zip"],
)
def test_a_damaged_archive_is_refused(data: bytes, reason: str, tmp_path: Path, sqlite_url: str) -> None:
    """With the reason, whatever way it is damaged."""
    path = tmp_path / "x"
    path.write_bytes(data)
    outcomes = archived(sqlite_url, path)
    errors = [outcome.error for outcome in outcomes.values() if outcome.error is not None]
    assert any(reason in str(error) for error in errors)


def test_a_parquet_table_is_the_table_in_it(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A history of W&B's as Parquet is the job that it is as CSV, with all digits, NaN and null."""
    columns = {"_step": [1, 2], "_timestamp": [1_700_000_000.5, None], "loss": [0.1 + 0.2, math.nan]}
    path = tmp_path / "history.parquet"
    pq.write_table(pa.table(columns), path)
    (outcome,) = archived(sqlite_url, path).values()
    assert (outcome.format, outcome.error) == ("wandb", None)
    with Archive(sqlite_url) as archive, archive.read() as repository:
        first, second = repository.checkpoints(str(path))
    assert first.metrics.named_values() == {"_timestamp": 1_700_000_000.5, "loss": 0.1 + 0.2}
    assert math.isnan(second.metrics.named_values()["loss"])
    assert "_timestamp" not in second.metrics.named_values()
    (outcome,) = archived(sqlite_url, path, max_bytes=path.stat().st_size).values()
    assert outcome.error is None
    pq.write_table(pa.table({"a": [0.5] * 1_000_000}), tmp_path / "bomb.parquet")
    size = (tmp_path / "bomb.parquet").stat().st_size
    pq.write_table(pa.table({"a": pa.array([[b"1"], [b"2"]])}), tmp_path / "nested.parquet")
    (tmp_path / "torn.parquet").write_bytes(path.read_bytes()[:50])
    bomb, nested, torn = archived(
        sqlite_url, *(tmp_path / f"{name}.parquet" for name in ("bomb", "nested", "torn")), max_bytes=size
    ).values()
    assert isinstance(bomb.error, LimitExceeded)
    assert "can be read" in str(nested.error)
    assert "can be read" in str(torn.error)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (outcome,) = archived(sqlite_url, path).values()
    assert "tuneledger[parquet]" in str(outcome.error)


@pytest.mark.parametrize(
    "data", [zipped({}), tarred({}), gzip.compress(zipped({}))], ids=["zip", "tar", "gz"]
)
def test_an_archive_without_files_says_so(tmp_path: Path, sqlite_url: str, data: bytes) -> None:
    """Named, it is refused for what it is; in a folder it is skipped as other files of no use are."""
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder/empty"
    path.write_bytes(data)
    for place, skipped in ((path, False), (path.parent, True)):
        (outcome,) = archived(sqlite_url, place).values()
        assert outcome.skipped == skipped
        assert isinstance(outcome.error, UnknownFormat)
        assert str(outcome.error) == f"{path}: an archive with no file in it"
        assert run(["archive", str(place), "--db", sqlite_url]) == exit_codes.REFUSED


def test_more_values_than_allowed_are_refused(tmp_path: Path, sqlite_url: str) -> None:
    """They are counted in the bytes, before anything is parsed; as many as allowed pass."""
    path = tmp_path / "trainer_state.json"
    path.write_bytes(STATE)
    count = sum(map(STATE.count, (b",", b"[", b"{")))
    (outcome,) = archived(sqlite_url, path, max_values=count - 1).values()
    assert isinstance(outcome.error, LimitExceeded)
    assert "--max-values" in str(outcome.error)
    (outcome,) = archived(sqlite_url, path, max_values=count).values()
    assert outcome.error is None


def test_an_encrypted_zip_is_refused(tmp_path: Path, sqlite_url: str) -> None:
    """Not with a traceback, but with a reason."""
    data = bytearray(zipped({"a": STATE}))
    for signature, flags_at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.rindex(signature) + flags_at
        data[at] |= 1
    (tmp_path / "x.zip").write_bytes(data)
    (outcome,) = archived(sqlite_url, tmp_path / "x.zip").values()
    assert "encrypted" in str(outcome.error)


@pytest.mark.parametrize(
    "pack", [gzip.compress, lambda data: zipped({"a": data, "b": data})], ids=["gzip", "zip"]
)
def test_what_unpacks_to_more_than_allowed_is_refused(pack: object, tmp_path: Path, sqlite_url: str) -> None:
    """A small file that would fill the memory is stopped at the limit, all its files counted together."""
    assert callable(pack)
    path = tmp_path / "bomb"
    path.write_bytes(pack(b" " * 300_000))
    assert path.stat().st_size < 10_000
    outcomes = archived(sqlite_url, path, max_bytes=500_000 if path.read_bytes()[:2] == b"PK" else 200_000)
    assert any(isinstance(outcome.error, LimitExceeded) for outcome in outcomes.values())


def test_an_archive_of_too_many_files_is_refused(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of files in one archive is bounded."""
    monkeypatch.setattr(sync_inputs, "MAX_MEMBERS", 2)
    (tmp_path / "x.zip").write_bytes(zipped({str(number): b"" for number in range(3)}))
    outcomes = archived(sqlite_url, tmp_path / "x.zip")
    assert isinstance(outcomes[str(tmp_path / "x.zip")].error, LimitExceeded)


def test_a_folder_of_files_that_belong_together_is_bounded(tmp_path: Path, sqlite_url: str) -> None:
    """What is held in memory for joining has the limit of one file."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.json").write_text(json.dumps(openai_job()))
    size = len(json.dumps(openai_job()))
    outcomes = list(archived(sqlite_url, folder, max_bytes=2 * size).values())
    assert [isinstance(outcome.error, LimitExceeded) for outcome in outcomes].count(True) == 1


def test_files_that_belong_together_meet_a_database_that_fails(tmp_path: Path, sqlite_url: str) -> None:
    """What the database refuses is no fault of the files: it ends the archiving, and no file is blamed."""
    (tmp_path / "job.json").write_text(json.dumps(openai_job()))
    with Archive(sqlite_url, read_only=True) as archive, pytest.raises(DatabaseReadOnly):
        list(archive_paths(archive, [str(tmp_path / "job.json")]))


def test_unknown_files_are_errors_where_they_were_named(tmp_path: Path, sqlite_url: str) -> None:
    """And skipped where they lie in a folder."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "notes.txt").write_text("hello")
    (named,) = archived(sqlite_url, folder / "notes.txt").values()
    assert isinstance(named.error, UnknownFormat)
    assert not named.skipped
    (found,) = archived(sqlite_url, folder).values()
    assert found.skipped


def test_a_format_nobody_has_is_refused_at_once(tmp_path: Path, sqlite_url: str) -> None:
    """Before any file is looked at; so is a pattern that matches nothing."""
    with pytest.raises(InvalidArgument, match="no format 'nope'"):
        archived(sqlite_url, tmp_path, format_name="nope")
    with pytest.raises(InvalidArgument, match="no file matches"):
        archived(sqlite_url, tmp_path / "*.json")
    (outcome,) = archived(sqlite_url, tmp_path / "missing").values()
    assert "cannot be read" in str(outcome.error)
    assert "cannot be read" in str(archived(sqlite_url, "a\0b")["a\0b"].error)


def test_a_closed_folder_is_told(tmp_path: Path, sqlite_url: str) -> None:
    """What is in it is not left out without a word, and what lies beside it is archived."""
    closed = tmp_path / "runs" / "closed"
    closed.mkdir(parents=True)
    (closed / "trainer_state.json").write_bytes(STATE)
    (tmp_path / "runs" / "trainer_state.json").write_bytes(STATE)
    closed.chmod(0)
    try:
        with unprivileged():
            outcomes = archived(sqlite_url, tmp_path / "runs")
    finally:
        closed.chmod(0o700)
    assert "cannot be read: Permission denied" in str(outcomes[str(closed)].error)
    assert job_ids(sqlite_url) == {str(tmp_path / "runs")}


def test_a_pattern_finds_files(tmp_path: Path, sqlite_url: str) -> None:
    """A pattern is what a shell would make of it; a format that is named is not asked for."""
    (tmp_path / "a.json").write_text(json.dumps(mistral_job("RUNNING", 5, [10])))
    (outcome,) = archived(sqlite_url, tmp_path / "*.json", format_name="mistral").values()
    assert outcome.reports[0].added == 1


def test_one_document_by_itself(sqlite_url: str, tmp_path: Path) -> None:
    """A document that was read elsewhere is archived like a file, joined or not."""
    with Archive(sqlite_url) as archive:
        job = Document("job", json.dumps(openai_job()).encode())
        assert archive_document(archive, job).reports[0].created
        state = Document("state", STATE)
        assert archive_document(archive, state, job_id="mine").reports[0].created
        assert archive_document(archive, Document("x", b"?")).error is not None
    (tmp_path / "big").write_bytes(b"12345")
    with pytest.raises(LimitExceeded):
        read_document(str(tmp_path / "big"), max_bytes=4)


def test_the_collector_is_left_as_it_was(sqlite_url: str) -> None:
    """Reading suspends cyclic collection, and only where it was on."""
    with Archive(sqlite_url) as archive:
        archive_document(archive, Document("state", STATE), job_id="mine")
        assert gc.isenabled()
        gc.disable()
        try:
            archive_document(archive, Document("state", STATE), job_id="mine")
            assert not gc.isenabled()
        finally:
            gc.enable()


def test_standard_input(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is one document; a run in it needs a name."""

    class Stdin:
        buffer = io.BytesIO(STATE)

    monkeypatch.setattr("sys.stdin", Stdin)
    (outcome,) = archived(sqlite_url, "-").values()
    assert (outcome.name, "--job-id" in str(outcome.error)) == ("<stdin>", True)


def test_the_command_says_what_was_joined(
    tmp_path: Path, sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of files that are one job the first tells what became of it, the others name the first."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "events.json").write_text(json.dumps(page([openai_event(5, 9, train_loss=0.1)])))
    (folder / "job.json").write_text(json.dumps(openai_job()))
    assert run(["archive", str(folder), "--db", sqlite_url]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(f"events.json: openai: with {folder / 'job.json'}")
    assert second.endswith(f"openai: job {openai_job()['id']}, new, 1 checkpoint added, 1 event added")
    assert run(["archive", str(folder), "--db", sqlite_url, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["inputs"]
    assert [given["joined_to"] for given in told] == [str(folder / "job.json"), None]
    assert run(["best", openai_job()["id"], "train_loss", "--db", sqlite_url]) == 0
    assert "kept no checkpoint at step 9" in capsys.readouterr().err


def test_a_wrong_way_to_treat_conflicts_is_refused(tmp_path: Path) -> None:
    """By an error of ours, before anything is read."""
    with Archive("sqlite://") as archive, pytest.raises(InvalidArgument, match="on_conflict is one of"):
        next(archive_paths(archive, [str(tmp_path)], on_conflict="ask"))


def states(folder: Path, *runs: str) -> None:
    """A trainer state in each of these folders, of as many steps as the last number in its name."""
    for name in runs:
        (folder / name).mkdir(parents=True)
        rows = [{"step": step, "loss": 1.0} for step in range(1, int(name.rpartition("-")[2]) + 1)]
        (folder / name / "trainer_state.json").write_text(json.dumps(trainer_state(rows)))


def test_files_come_in_the_order_in_which_people_count(tmp_path: Path, sqlite_url: str) -> None:
    """So that what a run grew by is told as it grew; in an archive of files too."""
    states(tmp_path / "runs", "b/checkpoint-4", "b/checkpoint-20", "b/checkpoint-100", "a/checkpoint-5")
    packed = tmp_path / "runs.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in sorted((tmp_path / "runs").rglob("*.json"), reverse=True):
            archive.write(file, file.relative_to(tmp_path / "runs"))
    for place in (tmp_path / "runs", packed):
        found = archived(sqlite_url, place)
        assert [Path(name).parent.name for name in found] == [
            "checkpoint-5", "checkpoint-4", "checkpoint-20", "checkpoint-100",
        ]  # fmt: skip
        assert [outcome.reports[0].added for outcome in found.values()] == [5, 4, 16, 80]


def test_a_job_that_is_named_is_one_run(tmp_path: Path, sqlite_url: str) -> None:
    """Of several runs under one id nothing could tell the steps apart: one is taken, all others refused."""
    states(tmp_path, "a/checkpoint-1", "a/checkpoint-2", "b/checkpoint-3")
    (tmp_path / "a" / "all_results.json").write_text('{"train_runtime": 1.0}')
    (tmp_path / "b" / "v").mkdir()
    for version in ("a", "b/v"):
        (tmp_path / version / "metrics.csv").write_text("epoch,step,loss\n0,1,0.5\n")
    for format_name, refused in (("huggingface", "b/checkpoint-3"), ("lightning", "b/v")):
        found = archived(sqlite_url, tmp_path, job_id=format_name, format_name=format_name)
        (told,) = [name for name, outcome in found.items() if outcome.error and not outcome.skipped]
        assert Path(told).parent == tmp_path / refused
        assert f"is of another run than what lies in {tmp_path / 'a'}" in str(found[told].error)
    with Archive(sqlite_url) as archive, archive.read() as repository:
        assert repository.count_checkpoints("huggingface") == 2
    one_more = archived(sqlite_url, tmp_path / "b", job_id="huggingface", format_name="huggingface")
    assert [outcome.reports[0].added for outcome in one_more.values() if outcome.reports] == [1]


def test_a_format_that_is_named_skips_others_in_a_folder(tmp_path: Path, sqlite_url: str) -> None:
    """A trainer's folder holds much else, event files for one; what was named itself is still refused."""
    folder = tmp_path / "outputs"
    states(folder, "run-2")
    (folder / "optimizer.pt").write_bytes(b"\x80\x02")
    (folder / "job.json").write_text(json.dumps(mistral_job("RUNNING", 5, [10])))
    found = archived(sqlite_url, folder, format_name="huggingface")
    assert {Path(name).name for name, outcome in found.items() if outcome.skipped} == {
        "optimizer.pt", "job.json",
    }  # fmt: skip
    assert job_ids(sqlite_url) == {str(folder / "run-2")}
    (named,) = archived(sqlite_url, folder / "job.json", format_name="huggingface").values()
    assert "not a trainer's record" in str(named.error)
    assert not named.skipped
