"""`jobs`, `show`, `checkpoints`, `best` and `latest` on the bundled examples and on values of all kinds."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuneledger import NOT_EVALUATED, Archive, CheckpointOut, Job, MetricOut
from tuneledger.cli import exit_codes
from tuneledger.errors import MetricNotFound

EXAMPLES = Path(__file__).parents[1] / "src/tuneledger/examples"
COMPLETION = "5e1a7c52-0b3d-4f7e-9a61-2d84c0f3b916"
CLASSIFIER = "c1a55f1e-8c47-4b02-b1d3-7f5e90a2d648"

Run = Callable[..., Any]


@pytest.fixture
def filled(database_url: str, command: Run) -> str:
    """An archive of the bundled examples, on either engine."""
    assert command("archive", EXAMPLES, "--db", database_url).code == 0
    return database_url


@pytest.fixture
def odd(sqlite_url: str) -> str:
    """An archive of jobs with every kind of value, and text that a terminal or a spreadsheet would obey."""
    metrics: list[dict[str, Any]] = [
        {"eval_loss": 2.0, "=odd": "=1+1"},
        {"eval_loss": float("nan"), "=odd": [1, {"a": float("inf")}]},
        {"eval_loss": None, "=odd": float("-inf")},
        {"eval_loss": NOT_EVALUATED, "train_loss": -0.5},
    ]
    checkpoints = [
        CheckpointOut(metrics=MetricOut(**values), step_number=step, created_at=step)
        for step, values in enumerate(metrics)
    ]
    with Archive(sqlite_url) as archive:
        archive.save(Job(job_id="=cmd", provider="[red]", model="m\u202e", checkpoints=checkpoints))
        archive.save(Job(job_id="bare", provider="p"))
    return sqlite_url


# -- which job ----------------------------------------------------------------------------------


def test_a_run_is_named_by_its_path(
    sqlite_url: str, command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path that was archived is a name of its job, seen from where one stands; an id goes before it."""
    monkeypatch.chdir(tmp_path)
    for name, step in (("run", 1), ("run-2", 2)):
        Path("outputs", name).mkdir(parents=True)
        state = {"global_step": step, "log_history": [{"step": step, "loss": 0.5}]}
        Path("outputs", name, "trainer_state.json").write_text(json.dumps(state))
    assert command("archive", "outputs", "--db", sqlite_url).code == 0
    for said in ("outputs/run", "outputs/run/", f"{tmp_path}/outputs/run"):
        answer = command("show", said, "--db", sqlite_url, "--json").json
        assert answer["job_id"] == f"{tmp_path}/outputs/run", said
    answer = command("compare", "outputs/run", "outputs/run-2", "-m", "loss", "--db", sqlite_url)
    assert answer.code == 0, answer.err
    missing = command("latest", "outputs/none", "--db", sqlite_url)
    assert missing.code == exit_codes.REFUSED
    assert "no job 'outputs/none' in this archive" in missing.err
    unknown = command("latest", "outputs/run/trainer_state.json", "--db", sqlite_url)
    assert f"no job '{tmp_path}/outputs/run/trainer_state.json' in" in unknown.err
    for said, meant in (("run-2", ["run-2"]), ("runs", ["run", "run-2"]), ("./other/run", ["run"])):
        listed = " or ".join(f"{tmp_path}/outputs/{name}" for name in meant)
        assert f"; is {listed} meant? `" in command("show", said, "--db", sqlite_url).err
    with Archive(sqlite_url) as archive:
        archive.save(Job(job_id="outputs/run", provider="p"))
    assert command("show", "outputs/run", "--db", sqlite_url, "--json").json["provider"] == "p"


# -- jobs ---------------------------------------------------------------------------------------


def test_jobs_newest_first(filled: str, command: Run) -> None:
    """The newest job stands first, with its fields as JSON."""
    answer = command("jobs", "--db", filled, "--json").json
    assert [job["job_id"][:8] for job in answer["jobs"]] == ["d84b2e05", "a3d07f6b", "c1a55f1e", "5e1a7c52"]
    assert answer["next_page"] is None
    assert answer["jobs"][3] == {
        "job_id": COMPLETION,
        "provider": "mistral",
        "model": "open-mistral-7b",
        "status": "SUCCESS",
        "created_at": 1748000000,
        "revision": 1748001060,
        "finished_at": 1748001060,
        "fine_tuned_model": "ft:open-mistral-7b:example:20250523:5e1a7c52",
        "trained_tokens": 13107200,
        "cost": 4.2,
        "cost_currency": "EUR",
        "last_step": 100,
    }


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["--provider", "mistral"], "d84b2e05 a3d07f6b c1a55f1e 5e1a7c52"),
        (["--provider", "openai"], ""),
        (["--model", "ministral-3b-latest"], "c1a55f1e"),
        (["--status", "RUNNING"], "d84b2e05"),
        (["--created-from", "2025-05-25"], "d84b2e05 a3d07f6b"),
        (["--created-to", "2025-05-24"], "c1a55f1e 5e1a7c52"),
        (["--created-from", "1748086400", "--created-to", "1748086400"], "c1a55f1e"),
        (["--created-from", "2025-05-24T11:33:20Z", "--created-to", "2025-05-24T13:33:20+02:00"], "c1a55f1e"),
        (["--input", str(EXAMPLES / "completion-job.json")], "5e1a7c52"),
        (["--input", "4fb440fc3244"], ""),
    ],
)
def test_jobs_filtered(sqlite_url: str, command: Run, filters: list[str], expected: str) -> None:
    """Each filter keeps the jobs it describes; bounds of time are inclusive, a date is its whole day."""
    command("archive", EXAMPLES, "--db", sqlite_url)
    answer = command("jobs", "--db", sqlite_url, "--json", *filters).json
    assert " ".join(job["job_id"][:8] for job in answer["jobs"]) == expected


def test_jobs_of_an_input_by_its_digest(filled: str, command: Run) -> None:
    """The digest that `show` gives of an input finds the jobs that came from it."""
    (record,) = command("show", COMPLETION, "--db", filled, "--json").json["inputs"]
    answer = command("jobs", "--input", record["sha256"], "--db", filled, "--json").json
    assert [job["job_id"] for job in answer["jobs"]] == [COMPLETION]


def test_jobs_in_pages(filled: str, command: Run) -> None:
    """Pages follow each other by what each tells of the next; --all gives them at once, in the same order."""
    first = command("jobs", "--db", filled, "--limit", "3", "--json").json
    second = command("jobs", "--db", filled, "--limit", "3", "--page", first["next_page"], "--json").json
    assert (len(first["jobs"]), len(second["jobs"]), second["next_page"]) == (3, 1, None)
    together = command("jobs", "--db", filled, "--limit", "1", "--all", "--json").json
    assert together == {"jobs": first["jobs"] + second["jobs"], "next_page": None}
    told = command("jobs", "--db", filled, "--limit", "3")
    assert f"--page {first['next_page']}" in told.err
    assert len(told.out.splitlines()) == 4


def test_jobs_as_rows(filled: str, command: Run) -> None:
    """A table for people and CSV for machines hold the same jobs; the table has no trailing spaces."""
    rows = list(csv.DictReader(io.StringIO(command("jobs", "--db", filled, "--csv").out)))
    lines = command("jobs", "--db", filled).out.splitlines()
    assert lines[0].split() == [
        "job",
        "provider",
        "model",
        "status",
        "created",
        "(UTC)",
        "last",
        "step",
        "cost",
    ]
    assert [row["job_id"] for row in rows] == [line.split()[0] for line in lines[1:]]
    assert "2025-05-23 11:33:20        100  4.2 EUR" in lines[4]
    assert not any(line.endswith(" ") for line in lines)
    assert rows[1]["last_step"] == ""


def test_no_jobs(sqlite_url: str, command: Run) -> None:
    """An empty answer is said on standard error, and is empty JSON for a machine."""
    assert "no job matches" in command("jobs", "--db", sqlite_url).err
    assert command("jobs", "--db", sqlite_url, "--json").json == {"jobs": [], "next_page": None}


@pytest.mark.parametrize(
    "wrong",
    [
        ["--json", "--csv"],
        ["--created-from", "yesterday"],
        ["--created-to", "1748086400000"],
        ["--limit", "0"],
        ["--page", "2"],
    ],
)
def test_jobs_refuses_nonsense(sqlite_url: str, command: Run, wrong: list[str]) -> None:
    """What cannot be answered is a usage error of one line, and nothing is printed."""
    ended = command("--quiet", "jobs", "--db", sqlite_url, *wrong)
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (exit_codes.USAGE, "", 1)


# -- show ---------------------------------------------------------------------------------------


def test_show(filled: str, command: Run) -> None:
    """A job's fields, curves, states, events and inputs stand on one screen."""
    out = command("show", "5e1a", "--db", filled).out
    for shown in (
        f"job {COMPLETION}",
        "trained tokens    13,107,200",
        "cost              4.2 EUR",
        "checkpoints       20",
        "valid_loss                  1.2094    1.0231    0.9548       75   1.2094       25  █▁▁▃",
        "1748001060  SUCCESS",
        '2025-05-23 11:34:20  status-updated  {"status":"VALIDATED"}',
        "completion-job.json  mistral   5768  ",
    ):
        assert shown in out


@pytest.mark.parametrize(
    ("status", "told"),
    [("FAILED", "finished (UTC) 2023-11-14 22:13:20"), ("RUNNING", "last ended (UTC) 2023-11-14 22:13:20")],
)
def test_show_of_a_job_that_goes_on(sqlite_url: str, command: Run, status: str, told: str) -> None:
    """The end of a failure is not taken for the end of a job that runs again."""
    with Archive(sqlite_url) as archive:
        archive.save(Job(job_id="j", provider="p", revision=1, status="FAILED", finished_at=1_700_000_000))
        archive.save(Job(job_id="j", provider="p", revision=2, status=status))
    assert f"status {status} {told}" in " ".join(command("show", "j", "--db", sqlite_url).out.split())


def test_show_as_json(filled: str, command: Run) -> None:
    """A machine gets everything but the checkpoints, which it can ask for by step."""
    shown = command("show", CLASSIFIER, "--db", filled, "--json").json
    assert shown["job_id"] == CLASSIFIER
    assert shown["document"]["job_type"] == "classifier"
    assert shown["checkpoint_count"] == 12
    assert [(m["metric"], m["number_count"]) for m in shown["metrics"]] == [
        ("train_loss", 12),
        ("valid_loss", 0),
        ("valid_mean_token_accuracy", 0),
    ]
    assert shown["states"] == [{"revision": 1748086800, "status": "SUCCESS"}]
    assert len(shown["events"]) == 4
    (record,) = shown["inputs"]
    assert (record["format"], record["size_bytes"]) == ("mistral", 4044)


def test_show_says_where_there_is_no_number(filled: str, command: Run) -> None:
    """A metric that was never evaluated has no curve at 0.0."""
    lines = command("show", CLASSIFIER, "--db", filled).out.splitlines()
    (line,) = [line for line in lines if line.startswith("  valid_loss")]
    assert line.split(maxsplit=1)[1] == "no step has a number"


def test_show_of_a_bare_job(odd: str, command: Run) -> None:
    """What a job does not have takes no room, and a time it does not have is not 1970."""
    out = command("--quiet", "show", "bare", "--db", odd).out
    assert " ".join(out.split()) == "job bare provider p checkpoints 0"


def test_show_draws_the_finite_numbers_alone(odd: str, command: Run) -> None:
    """NaN, null and placeholders leave no mark on a curve."""
    shown, _, _ = command("show", "=cmd", "--db", odd).out.partition("\nnotes")
    (line,) = [line for line in shown.splitlines() if "eval_loss" in line]
    assert line.split() == ["eval_loss", "2", "2", "2", "0", "2", "0", "▁"]


def test_events_in_short(sqlite_url: str, command: Run, tmp_path: Path) -> None:
    """An event's data is shown in a line: whole if it fits, nothing where there is none, other fields too."""
    job = json.loads((EXAMPLES / "classifier-job.json").read_text())
    job["events"] = [
        {"name": "bare", "created_at": 1},
        {"name": "null", "created_at": 2, "data": None},
        {"name": "long", "created_at": 3, "data": {"text": "x" * 500}},
        {"name": "other", "created_at": 4, "level": "info"},
    ]
    (tmp_path / "job.json").write_text(json.dumps(job))
    command("archive", tmp_path / "job.json", "--db", sqlite_url)
    lines = command("show", CLASSIFIER, "--db", sqlite_url).out.splitlines()
    shown = {line.split()[2]: line.split()[3:] for line in lines if line.startswith("  1970-01-01")}
    assert (shown["bare"], shown["null"]) == ([], [])
    assert shown["long"][0].endswith("x…")
    assert shown["other"] == ['{"level":"info"}']


# -- checkpoints --------------------------------------------------------------------------------


def test_checkpoints_by_step(filled: str, command: Run) -> None:
    """Both bounds are inclusive, the order is that of steps, or its reverse."""

    def steps(*arguments: str) -> list[int]:
        answer = command("checkpoints", COMPLETION, "--db", filled, "--json", *arguments).json
        assert answer["job_id"] == COMPLETION
        return [checkpoint["step_number"] for checkpoint in answer["checkpoints"]]

    assert steps("--from", "40", "--to", "55") == [40, 45, 50, 55]
    assert steps("--from", "96") == [100]
    assert steps("--to", "5") == [5]
    assert steps("--newest-first", "--limit", "2") == [100, 95]
    assert steps("--from", "101") == []


def test_checkpoints_of_some_metrics(filled: str, command: Run) -> None:
    """Only the metrics asked for come, in the order asked for, also by a name that stands for another."""
    out = command("checkpoints", COMPLETION, "--db", filled, "--csv", "-m", "eval_loss", "-m", "loss").out
    rows = list(csv.reader(io.StringIO(out)))
    assert rows[0] == ["step_number", "created_at", "valid_loss", "train_loss"]
    assert rows[5] == ["25", "1748000345", "1.2094", "1.019081"]
    assert rows[6][2] == ""  # not evaluated


def test_checkpoints_of_a_metric_that_is_not_there(filled: str, command: Run) -> None:
    """A misspelt metric is told, with those there are."""
    ended = command("checkpoints", COMPLETION, "-m", "val_los", "--db", filled)
    assert (ended.code, ended.out) == (exit_codes.REFUSED, "")
    assert "train_loss, valid_loss" in ended.err


def test_checkpoints_as_a_table(filled: str, command: Run) -> None:
    """People see where nothing was evaluated rather than 0.0, and are told when nothing matches."""
    out = command("checkpoints", COMPLETION, "--from", "70", "--to", "75", "--db", filled).out
    assert [line.split()[3:] for line in out.splitlines()[1:]] == [
        ["0.798789", "not", "evaluated", "not", "evaluated"],
        ["0.858012", "0.9548", "1.93831"],
    ]
    assert "no checkpoint matches" in command("checkpoints", COMPLETION, "--from", "101", "--db", filled).err


def test_odd_values_as_json(odd: str, command: Run) -> None:
    """JSON is strict: what is no JSON number is a word in quotes, what was not evaluated is null."""
    found = command("checkpoints", "=cmd", "--db", odd, "--json").json["checkpoints"]
    assert [checkpoint["metrics"] for checkpoint in found] == [
        {"eval_loss": 2.0, "=odd": "=1+1"},
        {"eval_loss": "NaN", "=odd": [1, {"a": "Infinity"}]},
        {"eval_loss": None, "=odd": "-Infinity"},
        {"eval_loss": None, "train_loss": -0.5},
    ]


def test_odd_values_as_csv(odd: str, command: Run) -> None:
    """A spreadsheet runs no text as a formula; numbers stay numbers."""
    rows = list(csv.reader(io.StringIO(command("checkpoints", "=cmd", "--db", odd, "--csv").out)))
    assert rows == [
        ["step_number", "created_at", "'=odd", "eval_loss", "train_loss"],
        ["0", "0", "'=1+1", "2.0", ""],
        ["1", "1", '[1, {"a": "Infinity"}]', "NaN", ""],
        ["2", "2", "-Infinity", "", ""],
        ["3", "3", "", "", "-0.5"],
    ]
    assert command("jobs", "--db", odd, "--csv").out.splitlines()[1].startswith("'=cmd,[red],")


def test_odd_values_in_a_table(odd: str, command: Run) -> None:
    """People see each of null, NaN, not evaluated and absent as what it is."""
    out = command("checkpoints", "=cmd", "-m", "eval_loss", "--db", odd).out
    assert [line.split()[-1] for line in out.splitlines()] == ["eval_loss", "2", "nan", "null", "evaluated"]


def test_odd_text_on_a_terminal(odd: str, command: Run) -> None:
    """Text from a provider neither styles nor steers the terminal."""
    out = command("jobs", "--db", odd).out
    assert "[red]" in out
    assert "\u202e" not in out


def test_a_long_table_is_one_table(sqlite_url: str, command: Run) -> None:
    """Checkpoints beyond those printed at once stay below the same titles, in line with the others."""
    checkpoints = [
        CheckpointOut(metrics=MetricOut(train_loss=1 / (step + 1)), step_number=step, created_at=0)
        for step in range(2_500)
    ]
    with Archive(sqlite_url) as archive:
        archive.save(Job(job_id="long", provider="p", checkpoints=checkpoints))
    lines = command("checkpoints", "long", "--db", sqlite_url).out.splitlines()
    assert len(lines) == 2_501
    assert [int(line.split()[0]) for line in lines[1:]] == list(range(2_500))
    assert lines[1_500].index("1499") + 4 == lines[999].index("998") + 3


# -- best and latest ----------------------------------------------------------------------------


def test_best_ignores_placeholders(filled: str, command: Run) -> None:
    """The best step is an evaluated one; the 0.0 of the others is no value."""
    (best,) = command("best", "5e1a7c52", "valid_loss", "--db", filled, "--json").json["checkpoints"]
    assert (best["job_id"], best["metric"]) == (COMPLETION, "valid_loss")
    assert (best["step_number"], best["metrics"]["valid_loss"]) == (75, 0.9548)


def test_best_says_that_no_step_was_evaluated(filled: str, command: Run) -> None:
    """A job whose every value is a placeholder has no best step; the message and the exit code say so."""
    ended = command("best", "c1a55f1e", "valid_loss", "--db", filled)
    assert (ended.code, ended.out) == (exit_codes.NOT_EVALUATED, "")
    assert f"job {CLASSIFIER}: no step was evaluated" in ended.err


def test_best_of_a_metric_that_is_not_there(filled: str, command: Run) -> None:
    """A metric that the job never reported is another thing than one without a number."""
    ended = command("best", "c1a55f1e", "accuracy", "--db", filled)
    assert ended.code == exit_codes.REFUSED
    assert "has no metric 'accuracy'" in ended.err
    assert "; it has: a, b" in str(MetricNotFound("job", "x", ("a", "b")))
    assert "k, l, and 3 more that `tuneledger show` lists" in str(
        MetricNotFound("job", "x", tuple("abcdefghijklmno"))
    )


def test_best_by_the_highest(filled: str, command: Run) -> None:
    """--goal max turns the order round."""
    rows = command("best", "5e1a", "valid_loss", "--goal", "max", "--db", filled).out.splitlines()
    assert rows[1].split()[:2] == [COMPLETION, "25"]


def test_leaderboard(filled: str, command: Run) -> None:
    """Several jobs, or all, come the best one first, by whatever name each has the metric."""
    both = command("best", "5e1a", "c1a5", "loss", "--db", filled, "--csv").out.splitlines()
    assert [row.split(",")[:2] for row in both[1:]] == [[CLASSIFIER, "120"], [COMPLETION, "95"]]
    everything = command("best", "--all", "loss", "--db", filled, "--csv")
    assert everything.out.splitlines() == both
    assert "2 more have no step with a number for loss" in everything.err
    alone = command("best", "5e1a", "c1a5", "valid_loss", "--db", filled)
    assert "1 more has no step with a number for valid_loss" in alone.err
    none = command("best", "c1a5", "d84b", "valid_loss", "--db", filled)
    assert none.code == exit_codes.REFUSED  # the second never reported it
    nowhere = command("best", "--all", "no_such_loss", "--db", filled)
    assert nowhere.code == exit_codes.NOT_EVALUATED


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["best", "5e1a7c52"], "say which jobs, before the metric '5e1a7c52': one or more ids, or --all"),
        (["best", "x", "valid_loss", "--all"], "--all is every job; leave it out, or the ids"),
        (["latest"], "say which jobs: one or more ids, or --all"),
    ],
)
def test_which_jobs_must_be_said(sqlite_url: str, command: Run, wrong: list[str], said: str) -> None:
    """Neither no job nor a job beside --all is guessed at; the one word after `best` is the metric."""
    ended = command(*wrong, "--db", sqlite_url)
    assert ended.code == exit_codes.USAGE
    assert said in ended.err


def test_latest(filled: str, command: Run) -> None:
    """The highest step of each job; a job without any says so."""
    found = command("latest", "c1a5", "5e1a", "--db", filled, "--json").json["checkpoints"]
    assert [(c["job_id"], c["step_number"]) for c in found] == [(CLASSIFIER, 120), (COMPLETION, 100)]
    assert len(command("latest", "--all", "--db", filled).out.splitlines()) == 3
    none = command("latest", "d84b", "--db", filled)
    assert none.code == exit_codes.REFUSED
    assert "no checkpoints yet: d84b2e05" in none.err


def test_latest_of_an_empty_archive(sqlite_url: str, command: Run) -> None:
    """There is nothing to be the latest."""
    assert "the archive holds none" in command("latest", "--all", "--db", sqlite_url).err


# -- jobs by the beginning of their id ----------------------------------------------------------


@pytest.mark.parametrize("name", ["show", "checkpoints", "latest", "export", "delete"])
def test_a_prefix_must_be_unique(odd: str, command: Run, name: str) -> None:
    """A beginning that several ids share is refused with these, one that none has is not found."""
    with Archive(odd) as archive:
        archive.save(Job(job_id="barely", provider="p"))
    several = command(name, "bar", "--db", odd)
    assert (several.code, several.out) == (exit_codes.REFUSED, "")
    assert "bare, barely" in several.err
    missing = command(name, "nothing", "--db", odd)
    assert (missing.code, missing.out) == (exit_codes.REFUSED, "")
    assert "no job 'nothing'" in missing.err
