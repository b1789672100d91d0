import json
import math
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, text

from tuneledger import Archive, Job
from tuneledger.errors import DatabaseDamaged, DatabaseReadOnly, InvalidPayload, UnknownFormat
from tuneledger.sources import exported
from tuneledger.sources.mlflow import flat_yaml, metric_lines
from tuneledger.sync import Outcome, archive_paths, databases

# The tables of MLflow's tracking store, as far as they are read; {nan} and {step} came with later releases.
MLFLOW = """
CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name VARCHAR(256) NOT NULL);
CREATE TABLE runs (run_uuid VARCHAR(32) PRIMARY KEY, name VARCHAR(250), status VARCHAR(9), start_time BIGINT,
    end_time BIGINT, lifecycle_stage VARCHAR(20), experiment_id INTEGER);
CREATE TABLE metrics (key VARCHAR(250) NOT NULL, value DOUBLE PRECISION NOT NULL, timestamp BIGINT NOT NULL,
    run_uuid VARCHAR(32) NOT NULL{step}{nan});
CREATE TABLE params (key VARCHAR(250), value VARCHAR(8000), run_uuid VARCHAR(32));
CREATE TABLE tags (key VARCHAR(250), value VARCHAR(8000), run_uuid VARCHAR(32));
INSERT INTO experiments VALUES (1, 'first');
INSERT INTO runs VALUES ('aaaa', 'one', 'FINISHED', 1700000000123, 1700000009456, 'active', 1);
INSERT INTO runs VALUES ('bbbb', 'two', 'RUNNING', 1700000001000, NULL, 'active', 7);
INSERT INTO params VALUES ('lr', '0.1', 'aaaa');
INSERT INTO tags VALUES ('team', 'a', 'aaaa');
"""
STEP, NAN = ", step BIGINT DEFAULT 0 NOT NULL", ", is_nan BOOLEAN DEFAULT FALSE NOT NULL"
VALUES = [
    ("loss", 0.5, 1_700_000_001_000, "aaaa", 1, False),
    ("loss", 0.25, 1_700_000_002_500, "aaaa", 2, False),
    ("acc", sys.float_info.max, 1_700_000_002_600, "aaaa", 2, False),
    ("acc", -sys.float_info.max, 1_700_000_003_000, "aaaa", 3, False),
    ("loss", 0.0, 1_700_000_003_000, "aaaa", 3, True),
    ("loss", 7.0, 1_700_000_004_000, "aaaa", 1, False),
]


def mlflow_database(url: str, *, step: str = STEP, nan: str = NAN) -> None:
    """A tracking database of a release with these columns."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        for statement in MLFLOW.format(step=step, nan=nan).split(";"):
            if statement.strip():
                connection.execute(text(statement))
        columns = [
            "key",
            "value",
            "timestamp",
            "run_uuid",
            *(["step"] if step else []),
            *(["is_nan"] if nan else []),
        ]
        for row in VALUES:
            given = dict(zip(columns, row, strict=False))
            names = ", ".join(f":{column}" for column in columns)
            connection.execute(text(f"INSERT INTO metrics ({', '.join(columns)}) VALUES ({names})"), given)
    engine.dispose()


def archived(location: str, *paths: Path | str, **options: Any) -> list[Outcome]:
    """The outcomes of archiving these."""
    with Archive(location) as archive:
        return list(archive_paths(archive, list(map(str, paths)), **options))


def stored(location: str, job_id: str) -> Job:
    """A job of an archive."""
    with Archive(location, read_only=True) as archive, archive.read() as repository:
        return repository.job(job_id)


@pytest.fixture(params=["sqlite", "postgresql"])
def tracking(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an MLflow database is to be, on either engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'mlflow.sqlite'}"
    url: str = request.getfixturevalue("empty_postgres_url")
    return url


def test_a_tracking_database(tracking: str, sqlite_url: str) -> None:
    """Each run is a job: values, NaN, infinities, times, parameters, tags; a second time nothing changes."""
    mlflow_database(tracking)
    (outcome,) = archived(sqlite_url, tracking)
    assert outcome.error is None
    assert (outcome.format, [report.job_id for report in outcome.reports]) == ("mlflow", ["aaaa", "bbbb"])
    job = stored(sqlite_url, "aaaa")
    assert (job.provider, job.status, job.created_at, job.finished_at) == (
        "mlflow",
        "FINISHED",
        1_700_000_000,
        1_700_000_009,
    )
    first, second, third = job.checkpoints
    assert first.metrics.named_values() == {"loss": 7.0}
    assert first.__pydantic_extra__ == {
        "earlier_values": {"loss": [0.5]},
        "timestamps_ms": {"loss": 1_700_000_004_000},
    }
    assert second.metrics.named_values() == {"loss": 0.25, "acc": math.inf}
    assert second.created_at == 1_700_000_002
    assert third.metrics.named_values()["acc"] == -math.inf
    assert math.isnan(third.metrics.named_values()["loss"])
    assert (job.document["experiment"], job.document["params"], job.document["tags"]) == (
        "first",
        {"lr": "0.1"},
        {"team": "a"},
    )
    assert stored(sqlite_url, "bbbb").document["experiment"] is None
    again = archived(sqlite_url, tracking)
    assert not any(report.wrote for outcome in again for report in outcome.reports)


def test_a_database_of_others_is_only_read(
    tracking: str, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even a mistake of ours could not write into it, on either engine."""
    mlflow_database(tracking)

    def writing(connection: Connection, *_: object) -> Iterator[Job]:
        connection.execute(text("DELETE FROM metrics"))
        return iter(())

    monkeypatch.setattr(databases, "_mlflow_runs", writing)
    (outcome,) = archived(sqlite_url, tracking)
    assert isinstance(outcome.error, DatabaseReadOnly)


def test_one_id_names_one_run(tmp_path: Path, sqlite_url: str) -> None:
    """MLflow's runs name themselves, as newer ones of Trackio's do; several are never made one job."""
    mlflow_database(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (outcome,) = archived(sqlite_url, tmp_path / "mlflow.db", job_id="bbbb")
    assert [report.job_id for report in outcome.reports] == ["bbbb"]
    assert "run aaaa: is not the job id that was asked for" in str(outcome.error)
    trackio_database(tmp_path / "project.db", run_id=False)
    (outcome,) = archived(sqlite_url, tmp_path / "project.db", job_id="mine")
    assert [report.job_id for report in outcome.reports] == ["mine"]
    with sqlite3.connect(tmp_path / "project.db") as connection:
        connection.execute("UPDATE metrics SET run_name = 'second' WHERE step = 2")
    connection.close()
    (outcome,) = archived(sqlite_url, tmp_path / "project.db", job_id="mine")
    assert outcome.reports == []
    assert "holds several runs, and --job-id names one job" in str(outcome.error)


def test_schemas_of_other_releases(tmp_path: Path, sqlite_url: str) -> None:
    """The first ones with steps had no mark for NaN; without steps there is nothing to archive by."""
    folder = tmp_path / "dbs"
    folder.mkdir()
    mlflow_database(f"sqlite:///{folder / 'a.db'}", nan="")
    (outcome,) = archived(sqlite_url, folder)
    assert len(outcome.reports) == 2
    assert stored(sqlite_url, "aaaa").checkpoints[2].metrics.named_values()["loss"] == 0.0
    mlflow_database(f"sqlite:///{tmp_path / 'old.db'}", step="", nan="")
    (outcome,) = archived(sqlite_url, tmp_path / "old.db")
    assert "older than MLflow 1.0" in str(outcome.error)


def test_a_run_that_is_refused_stops_no_other(tmp_path: Path, sqlite_url: str) -> None:
    """Its error is told and the others are archived; a conflict is told too."""
    path = tmp_path / "mlflow.sqlite"
    mlflow_database(f"sqlite:///{path}")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE metrics SET step = -5 WHERE step = 3")
    connection.close()
    (outcome,) = archived(sqlite_url, path)
    assert "run aaaa" in str(outcome.error)
    assert [report.job_id for report in outcome.reports] == ["bbbb"]
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE runs SET status = 'FAILED', end_time = 1700000009999")
        connection.execute("DELETE FROM metrics")
    connection.close()
    (outcome,) = archived(sqlite_url, path, on_conflict="error")
    assert "is stored as" in str(outcome.error)


def trackio_database(path: Path, *, run_id: bool) -> None:
    """A project of Trackio's."""
    column = "run_id TEXT, " if run_id else ""
    connection = sqlite3.connect(path)
    connection.executescript(
        f"CREATE TABLE metrics (id INTEGER PRIMARY KEY, {column}timestamp TEXT, run_name TEXT, step INTEGER,"
        f" metrics TEXT); CREATE TABLE configs (id INTEGER PRIMARY KEY, {column}run_name TEXT, config TEXT);"
    )
    names = ["run_id"] * run_id + ["timestamp", "run_name", "step", "metrics"]
    for step, values in ((0, {"loss": 0.5}), (1, {"loss": "NaN", "note": "x"}), (2, {"loss": "-Infinity"})):
        row = ["id-1"] * run_id + [f"2024-01-01T00:00:0{step}", "first", step, json.dumps(values)]
        connection.execute(
            f"INSERT INTO metrics ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", row
        )
    where = "run_id, run_name, config" if run_id else "run_name, config"
    given = ("'id-1', " if run_id else "") + "'first', '{\"lr\": 1}'"
    connection.execute(f"INSERT INTO configs ({where}) VALUES ({given})")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("run_id", [True, False])
def test_a_project_of_trackio_s(tmp_path: Path, sqlite_url: str, *, run_id: bool) -> None:
    """Runs are told apart by their id, in older releases by their name."""
    path = tmp_path / "project.db"
    trackio_database(path, run_id=run_id)
    (outcome,) = archived(sqlite_url, path)
    assert outcome.error is None
    (report,) = outcome.reports
    assert report.job_id == ("id-1" if run_id else f"{path}/first")
    job = stored(sqlite_url, report.job_id)
    assert (job.provider, job.created_at) == ("trackio", 1_704_067_200)
    assert job.document == {"run_name": "first", "config": {"lr": 1}}
    assert job.checkpoints[0].metrics.named_values() == {"loss": 0.5}
    assert math.isnan(job.checkpoints[1].metrics.named_values()["loss"])
    assert job.checkpoints[1].metrics.named_values()["note"] == "x"
    assert job.checkpoints[2].metrics.named_values()["loss"] == -math.inf
    assert exported(job)
    assert not archived(sqlite_url, path)[0].reports[0].wrote


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [("metrics", "[1]", "must be an object"), ("timestamp", "noon", "ISO 8601"), ("metrics", "{", "JSON")],
)
def test_a_trackio_row_that_is_none(
    tmp_path: Path, sqlite_url: str, column: str, value: str, reason: str
) -> None:
    """The run is refused with the reason."""
    path = tmp_path / "project.db"
    trackio_database(path, run_id=True)
    connection = sqlite3.connect(path)
    connection.execute(f"UPDATE metrics SET {column} = ?", (value,))
    connection.execute("DELETE FROM configs")
    connection.commit()
    connection.close()
    (outcome,) = archived(sqlite_url, path)
    assert reason in str(outcome.error)


def test_other_databases_are_refused(tmp_path: Path, sqlite_url: str) -> None:
    """An archive is copied instead; a damaged file is told; in a folder both are skipped or told."""
    (outcome,) = archived(sqlite_url, sqlite_url)
    assert isinstance(outcome.error, UnknownFormat)
    assert "tuneledger copy" in str(outcome.error)
    folder = tmp_path / "folder"
    folder.mkdir()
    sqlite3.connect(folder / "empty.db").close()
    connection = sqlite3.connect(folder / "other.db")
    connection.execute("CREATE TABLE x (y)")
    connection.close()
    whole = (folder / "other.db").read_bytes()
    (folder / "torn.db").write_bytes(whole[:100] + b"\xff" * 3000)
    outcomes = {Path(found.name).name: found for found in archived(sqlite_url, folder)}
    assert outcomes["other.db"].skipped
    assert isinstance(outcomes["torn.db"].error, InvalidPayload)


META = """artifact_uri: file:///x
end_time: 1700000009456
run_id: cccc
run_name: 'it''s "one": a name that is so long that
  it goes on in the next line'
start_time: 1700000000123
status: 3
tags: []
user_id: "a\\tb"
name:
"""


def mlruns(folder: Path) -> Path:
    """A folder with one run."""
    run = folder / "mlruns/1/cccc"
    for name, content in {
        "../meta.yaml": "name: exp\nexperiment_id: '1'\n",
        "meta.yaml": META,
        "metrics/eval/loss": "1700000002000 0.5 1\n1700000003000 0.25 2\n",
        "metrics/loss": "1700000002500 NaN 1\n",
        "params/lr": "0.1",
        "tags/team": "a\nb",
    }.items():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(content)
    return run


def test_an_mlruns_folder(tmp_path: Path, sqlite_url: str) -> None:
    """A run as files is the job that it would be from a database."""
    run = mlruns(tmp_path)
    told = [outcome for outcome in archived(sqlite_url, tmp_path / "mlruns") if not outcome.skipped]
    assert [(outcome.name, outcome.format) for outcome in told] == [(str(run), "mlflow")]
    job = stored(sqlite_url, "cccc")
    assert (job.status, job.finished_at, job.document["experiment"]) == ("FINISHED", 1_700_000_009, "exp")
    assert job.document["run"] == {
        "artifact_uri": "file:///x",
        "end_time": 1_700_000_009_456,
        "run_id": "cccc",
        "run_name": 'it\'s "one": a name that is so long that it goes on in the next line',
        "start_time": 1_700_000_000_123,
        "status": 3,
        "tags": [],
        "user_id": "a\tb",
        "name": None,
    }
    assert (job.document["params"], job.document["tags"]) == ({"lr": "0.1"}, {"team": "a\nb"})
    first, second = job.checkpoints
    assert first.metrics.named_values()["eval/loss"] == 0.5
    assert math.isnan(first.metrics.named_values()["loss"])
    assert second.created_at == 1_700_000_003
    (run / "../meta.yaml").unlink()
    (run / "metrics/loss").write_text("oops\n")
    told = [outcome for outcome in archived(sqlite_url, run) if not outcome.skipped]
    assert "not a line of MLflow's" in str(told[0].error)


@given(
    st.text(st.sampled_from("ab \"':#\n-\\{[.~\t\x07é日🙂"), max_size=12)
    | st.lists(st.sampled_from(["word", " ", "  ", "\n", "🙂", "\t"]), min_size=10, max_size=60).map("".join)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x85\u2028\u2029"), max_size=20)
)
def test_any_name_comes_out_of_a_meta_file(name: str) -> None:
    """However long or odd the name of a run is, it is what was written, by the writer that MLflow uses.

    But for the three line ends that YAML alone takes for such.
    """
    meta: dict[str, Any] = {"end_time": None, "run_name": name, "start_time": -5, "tags": []}
    written = yaml.safe_dump(meta, default_flow_style=False, allow_unicode=True)
    assert flat_yaml(written, source="x") == meta
    assert flat_yaml(written.replace("\n", "\r\n"), source="x") == meta


@pytest.mark.parametrize(
    "content",
    [
        "a:b\n",
        "- x\n",
        'a: "x\n',
        "a b: c\n",
        "a: [b]\n",
        "a: &b c\n",
        'a: "\\q"\n',
        'a: "\\UFFFFFFFF"\n',
        "a: 'b' c\n",
    ],
)
def test_a_meta_file_that_is_not_flat(content: str) -> None:
    """What is not understood is refused, not guessed."""
    with pytest.raises(InvalidPayload):
        flat_yaml(content, source="meta.yaml")


def test_lines_of_every_release_of_mlflow_s() -> None:
    """The first ones had no step, which is then 0; MLflow 3 adds a data set and its digest."""
    text = "1700000002000 0.5\n1700000003000 0.25 7\r\n1700000004000 nan 8 my data abc123\n"
    first, second, third = metric_lines(text, source="x")
    assert (first, second) == ((0.5, 1_700_000_002_000, 0, None), (0.25, 1_700_000_003_000, 7, None))
    assert (math.isnan(third[0]), third[1:]) == (True, (1_700_000_004_000, 8, "my data abc123"))


def test_a_metric_keeps_its_data_set(tmp_path: Path, sqlite_url: str) -> None:
    """It stands beside the times of the metrics."""
    (mlruns(tmp_path) / "metrics/loss").write_text("1700000002500 0.75 1 train abc123\n")
    archived(sqlite_url, tmp_path / "mlruns")
    first, second = stored(sqlite_url, "cccc").checkpoints
    assert (first.__pydantic_extra__ or {})["data_sets"] == {"loss": "train abc123"}
    assert "data_sets" not in (second.__pydantic_extra__ or {})


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_line_that_was_cut_is_no_value(cut: int) -> None:
    """Of a file that is being written, or whose writer was killed, the lines that have their end count."""
    whole, last = "1700000002000 0.5 10\n", "1700000003000 0.25 200\n"
    found = list(metric_lines(whole + last[:-cut], source="x"))
    assert found == [(0.5, 1_700_000_002_000, 10, None)]


def test_a_pattern_may_match_an_mlruns_folder(tmp_path: Path, sqlite_url: str) -> None:
    """It is then what it would be by its name."""
    mlruns(tmp_path)
    told = [outcome for outcome in archived(sqlite_url, tmp_path / "mlrun*") if not outcome.skipped]
    assert [outcome.format for outcome in told] == ["mlflow"]


@pytest.mark.parametrize("tables", [databases._MLFLOW, databases._TRACKIO])
def test_a_database_with_tables_of_the_same_names(
    tmp_path: Path, sqlite_url: str, tables: dict[str, set[str]]
) -> None:
    """It is told by its columns, skipped where it lay beside others, and those are archived."""
    folder = tmp_path / "folder"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "a.db")) as connection:
        for table in tables:
            connection.execute(f"CREATE TABLE {table} (step, other)")
    (folder / "b.json").write_text('{"log_history": [{"step": 1, "loss": 0.5}]}')
    impostor, other = archived(sqlite_url, folder)
    assert (impostor.skipped, "neither MLflow's nor Trackio's" in str(impostor.error)) == (True, True)
    assert [report.created for report in other.reports] == [True]


def test_values_of_one_moment_have_an_order(tmp_path: Path, sqlite_url: str) -> None:
    """In whatever order the database gives them the highest stands last, which MLflow too shows."""
    path = tmp_path / "mlflow.sqlite"
    mlflow_database(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        for value in (0.3, 0.9, 0.1):
            row = ("acc", value, 1_700_000_002_000, "bbbb", 5, False)
            connection.execute("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", row)
        connection.commit()
    archived(sqlite_url, path)
    (checkpoint,) = stored(sqlite_url, "bbbb").checkpoints
    assert checkpoint.metrics.named_values() == {"acc": 0.9}
    assert (checkpoint.__pydantic_extra__ or {})["earlier_values"] == {"acc": [0.1, 0.3]}


def test_damage_of_the_archive_is_not_said_of_what_is_read(tmp_path: Path, sqlite_url: str) -> None:
    """It ends the run, as with any other input."""
    path = tmp_path / "mlflow.sqlite"
    mlflow_database(f"sqlite:///{path}")
    archived(sqlite_url, path)
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        connection.execute("DELETE FROM job_digests")
        connection.commit()
    with pytest.raises(DatabaseDamaged):
        archived(sqlite_url, path)
