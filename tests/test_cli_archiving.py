"""`archive`: what is taken, what is said of it, and what the exit code is."""

import json
import os
import pty
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from sample_files import sample_files, sample_id
from source_records import mistral_job, trainer_state
from tuneledger import OnConflict
from tuneledger.cli import exit_codes
from tuneledger.cli.options import ConflictMode

TUNELEDGER = Path(sys.executable).with_name("tuneledger")
EXAMPLES = Path(__file__).parents[1] / "src/tuneledger/examples"
COMPLETION, CLASSIFIER = EXAMPLES / "completion-job.json", EXAMPLES / "classifier-job.json"
RECORDS = sample_files("mistral/**/*")

Run = Callable[..., Any]


def changed(path: Path, **fields: object) -> bytes:
    """A record with some fields of another value."""
    return json.dumps(json.loads(path.read_text()) | fields).encode()


# -- what is said -------------------------------------------------------------------------------


def test_what_an_older_input_tells_otherwise_is_not_called_kept_of_it(
    sqlite_url: str, command: Run, tmp_path: Path
) -> None:
    """What stays is what is stored; values of steps that differ may be another run's, which is hinted at."""

    def archived(steps: int, loss: float, *options: str) -> Any:
        rows = [{"step": step, "loss": loss / step} for step in range(1, steps + 1)]
        path = tmp_path / "trainer_state.json"
        path.write_text(json.dumps(trainer_state(rows)))
        return command("archive", path, "--db", sqlite_url, *options)

    hint = "if that is another run, --job-id gives it an id of its own"
    assert hint not in archived(4, 1.0).err
    other = archived(3, 2.0)
    assert other.out.endswith("unchanged, 4 stored values kept where this input is older\n")
    assert hint in other.err
    beginning = archived(3, 1.0)  # of the same run
    assert beginning.out.endswith("unchanged, 1 stored value kept where this input is older\n")
    assert hint not in beginning.err
    kept = archived(5, 2.0, "--on-conflict", "keep")
    assert "stored values kept where this input differs" in kept.out
    assert hint not in kept.err


# -- what is taken ------------------------------------------------------------------------------


def test_a_folder(database_url: str, command: Run) -> None:
    """A folder stands for all files below it; a line each says what it was taken for and what it added."""
    ended = command("archive", EXAMPLES, "--db", database_url)
    assert ended.code == 0
    classifier, completion, page = ended.out.splitlines()
    assert classifier == (
        f"{CLASSIFIER}: mistral: job c1a55f1e-8c47-4b02-b1d3-7f5e90a2d648, new, "
        "12 checkpoints added, 4 events added"
    )
    assert completion == (
        f"{COMPLETION}: mistral: job 5e1a7c52-0b3d-4f7e-9a61-2d84c0f3b916, new, "
        "20 checkpoints added, 6 events added"
    )
    assert page == f"{EXAMPLES / 'list-page.json'}: mistral: 3 jobs, 2 new, 1 unchanged"
    again = command("archive", EXAMPLES, "--db", database_url)
    assert (again.code, again.out.count("unchanged"), again.out.count("added")) == (0, 3, 0)


def test_patterns_files_and_standard_input(sqlite_url: str, command: Run) -> None:
    """Patterns the shell left alone, files and - may be mixed; they are archived in that order."""
    ended = command(
        "archive", EXAMPLES / "c*-job.json", EXAMPLES / "list-page.json", "-", "--db", sqlite_url, "--json",
        stdin=changed(CLASSIFIER, id="from-stdin"),
    )  # fmt: skip
    assert ended.code == 0
    names = [Path(answer["name"]).name for answer in ended.json["inputs"]]
    assert names == ["classifier-job.json", "completion-job.json", "list-page.json", "<stdin>"]
    assert command("show", "from-stdin", "--db", sqlite_url).code == 0


def test_checkpoints_alone_need_their_job(sqlite_url: str, command: Run) -> None:
    """A bare list of checkpoints does not name its job; --job-id does."""
    checkpoints = json.dumps(json.loads(CLASSIFIER.read_text())["checkpoints"]).encode()
    refused = command("archive", "-", "--db", sqlite_url, stdin=checkpoints)
    assert refused.code == exit_codes.REFUSED
    assert "say which with --job-id" in refused.err
    taken = command("archive", "-", "--job-id", "mine", "--db", sqlite_url, stdin=checkpoints)
    assert (taken.code, taken.out) == (0, "<stdin>: mistral: job mine, new, 12 checkpoints added\n")


def test_a_format_by_name(sqlite_url: str, command: Run) -> None:
    """--format says what an input is that cannot be told by its content; an unknown one is a usage error."""
    lean = json.dumps({"id": "lean", "created_at": 1}).encode()
    assert command("archive", "-", "--db", sqlite_url, stdin=lean).code == exit_codes.REFUSED
    assert command("archive", "-", "--format", "mistral", "--db", sqlite_url, stdin=lean).code == 0
    unknown = command("archive", "-", "--format", "nonsense", "--db", sqlite_url, stdin=lean)
    assert unknown.code == exit_codes.USAGE
    assert "mistral" in unknown.err


def test_an_input_without_jobs(sqlite_url: str, command: Run) -> None:
    """An empty list is what it is said to be, and adds nothing."""
    ended = command("archive", "-", "--format", "mistral", "--db", sqlite_url, stdin=b"[]")
    assert (ended.code, ended.out) == (0, "<stdin>: mistral: no jobs\n")


def test_a_name_that_is_no_text(sqlite_url: str, command: Run, tmp_path: Path) -> None:
    """A file's name may be any bytes; the record of where a job came from is text."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\x1b[31m.json"))
    path.write_bytes(CLASSIFIER.read_bytes())
    ended = command("archive", path, "--db", sqlite_url)
    assert ended.code == 0
    assert "/??[31m.json: mistral" in ended.out
    (record,) = command("show", "c1a5", "--db", sqlite_url, "--json").json["inputs"]
    assert record["name"] == f"{tmp_path}/\\udcff\x1b[31m.json"


@pytest.mark.parametrize(
    ("path", "told"), [("", "empty path"), ("no-such.json", "No such file"), ("no-*.json", "no file matches")]
)
def test_what_is_not_there(sqlite_url: str, command: Run, path: str, told: str) -> None:
    """A path that names nothing is not passed over."""
    ended = command("archive", path, "--db", sqlite_url)
    assert ended.code in {exit_codes.USAGE, exit_codes.REFUSED}
    assert told in ended.err


# -- what is refused ----------------------------------------------------------------------------


def test_a_refused_input_stops_no_other(database_url: str, command: Run, tmp_path: Path) -> None:
    """Each input stands for itself: the good ones are archived, the bad one is named with its reason."""
    (tmp_path / "a-broken.json").write_text(CLASSIFIER.read_text()[:-9])
    (tmp_path / "b-wrong.json").write_bytes(changed(CLASSIFIER, created_at=1748086400000))
    (tmp_path / "c-good.json").write_bytes(COMPLETION.read_bytes())
    names = sorted(tmp_path.glob("?-*.json"))
    ended = command("archive", *names, "--db", database_url)
    assert ended.code == exit_codes.REFUSED
    assert [line.split(":")[0] for line in ended.out.splitlines()] == [str(names[2])]
    _, broken, wrong = ended.err.splitlines()
    assert str(names[0]) in broken
    assert f"{names[1]}: field 'created_at': must be between" in wrong
    assert "milliseconds" in wrong
    answer = command("archive", *names, "--db", database_url, "--json").json["inputs"]
    assert [bool(item["error"]) for item in answer] == [True, True, False]


def test_part_of_an_input(sqlite_url: str, command: Run) -> None:
    """Of a list whose second job is wrong the first is archived, and both are told."""
    jobs = [json.loads(changed(CLASSIFIER, id="good")), json.loads(changed(CLASSIFIER, id="bad", cost={}))]
    jobs[1]["created_at"] = "now"
    ended = command("archive", "-", "--db", sqlite_url, stdin=json.dumps(jobs).encode())
    assert ended.code == exit_codes.REFUSED
    assert "job good, new" in ended.out
    assert "<stdin>: [1], field 'created_at'" in ended.err


def test_unknown_files_in_a_folder_are_skipped(sqlite_url: str, command: Run, tmp_path: Path) -> None:
    """A run's folder holds much else; only a folder of nothing else is an error."""
    folder = tmp_path / "run"
    (folder / "deep").mkdir(parents=True)
    (folder / "notes.md").write_text("# Notes")
    nothing = command("archive", folder, "--db", sqlite_url)
    assert nothing.code == exit_codes.REFUSED
    assert "nothing was archived" in nothing.err
    (folder / "deep/job.json").write_bytes(COMPLETION.read_bytes())
    ended = command("archive", folder, "--db", sqlite_url)
    assert (ended.code, len(ended.out.splitlines())) == (0, 1)
    assert "skipped 1 file of no known format" in ended.err
    assert "notes" not in ended.err
    unknown = command("--quiet", "archive", folder / "notes.md", "--db", sqlite_url)
    assert unknown.code == exit_codes.REFUSED
    assert "--format says which it is meant to be (mistral, openai, " in unknown.err
    assert len(unknown.err) < 300 + len(str(folder))


def test_a_broken_record_in_a_folder_is_named(sqlite_url: str, command: Run, tmp_path: Path) -> None:
    """It is no reason to fail, but whoever rescues records learns which of them was cut, and where."""
    (tmp_path / "job.json").write_text(json.dumps(mistral_job("RUNNING", 5, [10])))
    (tmp_path / "cut.json").write_text('{"id": "x", "status": ')
    ended = command("archive", str(tmp_path), "--db", sqlite_url)
    assert ended.code == 0
    assert f"skipped {tmp_path / 'cut.json'}: line 1 column 23: not valid JSON" in ended.err
    assert "so it is of no format that is known here, and may have been cut short\n" in ended.err


def test_too_large_an_input(sqlite_url: str, command: Run) -> None:
    """An input beyond the limit is refused unread; the message names the option that raises it."""
    size = CLASSIFIER.stat().st_size
    refused = command("archive", CLASSIFIER, "--max-bytes", size - 1, "--db", sqlite_url)
    assert refused.code == exit_codes.REFUSED
    assert "--max-bytes raises the limit" in refused.err
    assert command("archive", CLASSIFIER, "--max-bytes", size, "--db", sqlite_url).code == 0
    refused = command("archive", CLASSIFIER, "--max-values", 20, "--db", sqlite_url)
    assert refused.code == exit_codes.REFUSED
    assert "--max-values raises the limit" in refused.err


def test_a_source_that_is_away_ends_nothing(sqlite_url: str, command: Run, tmp_path: Path) -> None:
    """The other inputs are archived, and the exit code says that it is worth another try."""
    away = f"sqlite:///{tmp_path}/missing/mlflow.db"
    ended = command("--quiet", "archive", away, COMPLETION, "--db", sqlite_url)
    assert ended.code == exit_codes.DATABASE
    assert "20 checkpoints added" in ended.out
    assert ended.err.startswith(f"tuneledger: error: {tmp_path}/missing/mlflow.db: ")


def test_a_conflict_names_the_input(sqlite_url: str, command: Run, tmp_path: Path) -> None:
    """Which of many it was."""
    (tmp_path / "state.json").write_text('{"log_history": [{"step": 1, "loss": 0.5}]}')
    command("archive", tmp_path, "--job-id", "run", "--db", sqlite_url)
    (tmp_path / "metrics.csv").write_text("epoch,step,loss\n0,1,0.5\n")
    ended = command("--quiet", "archive", tmp_path, "--job-id", "run", "--db", sqlite_url)
    assert ended.code == exit_codes.REFUSED
    assert f"error: {tmp_path / 'metrics.csv'}: job 'run' is stored as one of huggingface" in ended.err


def test_a_database_that_fails_ends_it(sqlite_url: str, command: Run, tmp_path: Path) -> None:
    """What every further input would meet too is told once, by its own exit code."""
    command("archive", CLASSIFIER, "--db", sqlite_url)
    text = (tmp_path / "ledger.db").read_bytes()
    (tmp_path / "ledger.db").write_bytes(b"not a database" + text[14:])
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"ledger.db{suffix}").unlink(missing_ok=True)
    ended = command("--quiet", "archive", COMPLETION, CLASSIFIER, "--db", sqlite_url)
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (exit_codes.DATABASE, "", 1)


# -- what changed -------------------------------------------------------------------------------


def test_changed_values_are_told(database_url: str, command: Run) -> None:
    """A re-sync says which values it changed, from what to what; beyond some it counts."""
    command("archive", CLASSIFIER, "--db", database_url)
    later = json.loads(CLASSIFIER.read_text())
    later |= {"modified_at": later["modified_at"] + 60, "status": "FAILED", "suffix": "late"}
    del later["validation_files"]
    later["checkpoints"][0]["metrics"]["train_loss"] = 0.5
    ended = command("archive", "-", "--db", database_url, stdin=json.dumps(later).encode())
    assert ended.out.startswith("<stdin>: mistral: job c1a55f1e-8c47-4b02-b1d3-7f5e90a2d648, updated, ")
    assert '  status: "SUCCESS" -> "FAILED"' in ended.out
    for checkpoint in later["checkpoints"]:
        checkpoint["metrics"]["grad_norm"] = 1.0
    later["modified_at"] += 60
    answer = command("archive", "-", "--db", database_url, "--json", stdin=json.dumps(later).encode()).json
    (report,) = answer["inputs"][0]["jobs"]
    added = [change for change in report["changed"] if change["field"] == "metrics.grad_norm"]
    assert added[0] == {"step_number": 10, "field": "metrics.grad_norm", "new": 1.0}
    assert len(added) == 12
    for checkpoint in later["checkpoints"]:
        checkpoint["metrics"]["grad_norm"] = float("nan")
    later["modified_at"] += 60
    told = command("archive", "-", "--db", database_url, stdin=json.dumps(later).encode()).out
    assert "more changed values; --json gives them all" in told
    assert len(told.splitlines()) == 7


def test_changes_of_several_jobs_name_theirs(sqlite_url: str, command: Run) -> None:
    """Where an input holds several jobs each change says whose it is; what was absent is told from null."""
    jobs = [json.loads(changed(CLASSIFIER, id=name)) for name in ("one", "two")]
    command("archive", "-", "--db", sqlite_url, stdin=json.dumps(jobs).encode())
    for job in jobs:
        job["modified_at"] += 1
        job["checkpoints"][3]["metrics"]["grad_norm"] = None
    out = command("archive", "-", "--db", sqlite_url, stdin=json.dumps(jobs).encode()).out
    assert "<stdin>: mistral: 2 jobs, 2 updated" in out
    assert "  job one step 40 metrics.grad_norm: absent -> null" in out


@pytest.mark.parametrize(
    ("mode", "code", "loss"),
    [("merge", 0, 0.5), ("keep", 0, 0.960811), ("error", 1, 0.960811), ("replace", 0, 0.5)],
)
def test_on_conflict(database_url: str, command: Run, mode: str, code: int, loss: float) -> None:
    """The four ways of meeting a stored value that differs are those of the library."""
    command("archive", CLASSIFIER, "--db", database_url)
    later = json.loads(CLASSIFIER.read_text())
    later["modified_at"] += 60
    later["checkpoints"] = later["checkpoints"][:2]
    later["checkpoints"][0]["metrics"]["train_loss"] = 0.5
    ended = command(
        "archive", "-", "--on-conflict", mode, "--db", database_url, stdin=json.dumps(later).encode()
    )
    assert ended.code == code
    found = command("checkpoints", "c1a5", "--db", database_url, "--json").json["checkpoints"]
    assert found[0]["metrics"]["train_loss"] == loss
    assert len(found) == (2 if mode == "replace" else 12)


def test_on_conflict_offers_what_there_is() -> None:
    """The option's choices are the library's, which it does not import for its help."""
    assert get_args(ConflictMode) == tuple(mode.value for mode in OnConflict)


# -- where it goes, and how it looks ------------------------------------------------------------


def test_the_default_place(command: Run) -> None:
    """Without --db and environment the archive is a file in the data folder, private and named."""
    ended = command("archive", EXAMPLES)
    place = Path(os.environ["XDG_DATA_HOME"]) / "tuneledger/archive.db"
    assert ended.code == 0
    assert f"archive: {place} (the default; --db names another)" in ended.err
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700


def test_the_environments_place(command: Run, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """TUNELEDGER_DATABASE_URL goes before the default, --db before both; an empty one is none."""
    monkeypatch.setenv("TUNELEDGER_DATABASE_URL", sqlite_url)
    assert "(TUNELEDGER_DATABASE_URL)" in command("jobs").err
    assert "(--db)" in command("jobs", "--db", sqlite_url).err
    monkeypatch.setenv("TUNELEDGER_DATABASE_URL", "")
    assert "the default" in command("jobs").err


def test_reading_makes_no_archive(command: Run) -> None:
    """A reader that finds no archive says so, and leaves neither folder nor file."""
    ended = command("jobs")
    assert ended.code == exit_codes.DATABASE
    assert "there is no archive at" in ended.err
    assert f"at x.db in {Path.cwd()};" in command("jobs", "--db", "x.db").err  # one may stand elsewhere
    assert not Path(os.environ["XDG_DATA_HOME"]).exists()


def test_progress_on_a_terminal(sqlite_url: str, tmp_path: Path) -> None:
    """On a terminal a bar counts the inputs, and is gone in the end; the lines stay."""
    folder = tmp_path / "records"
    folder.mkdir()
    for record in EXAMPLES.glob("*.json"):
        (folder / record.name).write_bytes(record.read_bytes())
    master, slave = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "200"}
    with subprocess.Popen(
        [TUNELEDGER, "archive", folder, "--db", sqlite_url],
        stdin=slave, stdout=slave, stderr=slave, env=environment,
    ) as process:  # fmt: skip
        os.close(slave)
        shown = b""
        while True:
            try:
                read = os.read(master, 65536)
            except OSError:  # Linux says so that the other end is closed
                break
            shown += read
        os.close(master)
        assert process.wait() == 0
    assert b"3/?" in shown
    assert shown.count(b"completion-job.json: mistral: job") == 1


# -- real records -------------------------------------------------------------------------------


@pytest.mark.samples
@pytest.mark.parametrize("record", RECORDS, ids=sample_id)
def test_real_records(database_url: str, command: Run, record: Path, tmp_path: Path) -> None:
    """Each is archived, and exported equal to what it was, or refused with the place and nothing written."""
    ended = command("archive", record, "--db", database_url)
    if record.suffix == ".txt":
        assert ended.code == exit_codes.REFUSED
        assert f"error: {record}: " in ended.err
        assert command("jobs", "--db", database_url, "--json").json["jobs"] == []
        return
    assert ended.code == 0
    given = json.loads(record.read_text())
    jobs = given.get("data", [given])
    out = tmp_path / "exported.json"
    assert command("export", *(job["id"] for job in jobs), "-o", out, "--db", database_url).code == 0
    exported = json.loads(out.read_text())
    assert [_ordered(job) for job in (exported if len(jobs) > 1 else [exported])] == list(map(_ordered, jobs))


def _ordered(job: dict[str, Any]) -> dict[str, Any]:
    """A job with its checkpoints in step order and its events as a multiset: their order is not archived."""
    ordered = dict(job)
    if job.get("checkpoints"):
        ordered["checkpoints"] = sorted(job["checkpoints"], key=lambda checkpoint: checkpoint["step_number"])
    if job.get("events"):
        ordered["events"] = sorted(json.dumps(event, sort_keys=True) for event in job["events"])
    return ordered


@pytest.mark.samples
@pytest.mark.parametrize("order", ["as they came", "reversed", "mixed"])
def test_real_polls_in_any_order(database_url: str, command: Run, samples: Path, order: str) -> None:
    """Ten polls of one job end in the same job, whatever order they are archived in, and once is enough."""
    polls = sorted(samples.glob("mistral/completion-20178c3c/poll-*.json"))
    ordered = {
        "as they came": polls,
        "reversed": polls[::-1],
        "mixed": [polls[i] for i in (6, 2, 9, 0, 4, 8, 1, 7, 3, 5)],
    }[order]
    assert len(ordered) == 10
    command("archive", *ordered, "--db", database_url)
    shown = command("show", "20178c3c", "--db", database_url, "--json").json
    final = json.loads(polls[-1].read_text())
    exported = json.loads(command("export", "20178c3c", "--db", database_url).out)
    assert _ordered(exported) == _ordered(final)
    assert (shown["status"], shown["checkpoint_count"]) == ("SUCCESS", 1)
    assert [state["status"] for state in shown["states"]][-1] == "SUCCESS"
    again = command("archive", *polls, "--db", database_url)
    assert again.out.count(", unchanged") == 10


@pytest.mark.samples
def test_best_of_the_real_job_without_validation(database_url: str, command: Run, samples: Path) -> None:
    """`best 9def64f2 valid_loss` says that no step was evaluated, rather than step 1 at 0.0."""
    command("archive", samples / "mistral/completion-pixtral-9def64f2.json", "--db", database_url)
    ended = command("best", "9def64f2", "valid_loss", "--db", database_url)
    assert (ended.code, ended.out) == (exit_codes.NOT_EVALUATED, "")
    assert "no step was evaluated" in ended.err
    assert command("best", "9def64f2", "train_loss", "--db", database_url).code == 0
