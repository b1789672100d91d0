import math
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from source_records import NEPTUNE_HEADER, document
from tuneledger import Archive, Job
from tuneledger.errors import InvalidPayload
from tuneledger.sources import Hints, named
from tuneledger.sync import archive_paths

# The schema that the exporter's README gives.
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("project_id", "run_id", "attribute_path", "attribute_type")),
        ("step", pa.decimal128(18, 6)),
        ("timestamp", pa.timestamp("ms", tz="UTC")),
        ("int_value", pa.int64()),
        ("float_value", pa.float64()),
        ("string_value", pa.string()),
        ("bool_value", pa.bool_()),
        ("datetime_value", pa.timestamp("ms", tz="UTC")),
        ("string_set_value", pa.list_(pa.string())),
        ("file_value", pa.struct([("path", pa.string())])),
        (
            "histogram_value",
            pa.struct(
                [("type", pa.string()), ("edges", pa.list_(pa.float64())), ("values", pa.list_(pa.float64()))]
            ),
        ),
    ]
)
NOON = datetime(2024, 1, 1, 12, 0, 0, 500_000, tzinfo=UTC)
NOON_SECONDS = 1_704_110_400


def row(path: str, kind: str, run: str = "RUN-1", **values: Any) -> dict[str, Any]:
    """A row of the exporter's."""
    given = {"project_id": "team/llm", "run_id": run, "attribute_path": path, "attribute_type": kind}
    return dict.fromkeys(SCHEMA.names) | given | values


def point(path: str, step: str, **values: Any) -> dict[str, Any]:
    """A row of a series of numbers."""
    return row(path, "float_series", step=Decimal(step), timestamp=NOON, **values)


def test_a_time_without_an_offset_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the reader is: what is stored depends on the bytes alone."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        text = f"{NEPTUNE_HEADER}team,RUN-1,loss,float_series,1.000000,2024-01-01 12:00:00.500,,0.5,,,,,,\n"
        (job,) = named("neptune").read(document("x.csv", text), Hints())
    finally:
        monkeypatch.undo()
        time.tzset()
    assert (job.created_at, job.checkpoints[0].created_at) == (NOON_SECONDS, NOON_SECONDS)


def archived(archive: Archive, path: Path, rows: list[dict[str, Any]]) -> list[Job]:
    """The jobs that these rows are as a Parquet file."""
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    (outcome,) = archive_paths(archive, [str(path)])
    assert (outcome.format, outcome.error) == ("neptune", None)
    with archive.read() as repository:
        return [repository.job(report.job_id) for report in outcome.reports]


def test_a_file_of_the_exporter(tmp_path: Path, database_url: str) -> None:
    """Every type of value comes back: series as steps, the rest as the run's attributes."""
    histogram = {"type": "COUNTING", "edges": [0.0, 0.5], "values": [3.0]}
    rows = [
        row("sys/name", "string", string_value='the "first", \n run'),
        row("sys/creation_time", "datetime", datetime_value=NOON),
        row("params/lr", "float", float_value=0.1 + 0.2),
        row("params/seed", "int", int_value=2**60 + 1),
        row("params/fp16", "bool", bool_value=False),
        row("params/absent", "float"),
        row("params/absent_too", "int"),
        row("sys/tags", "string_set", string_set_value=["a,b", "é"]),
        row("model", "file", file_value={"path": "team_llm/RUN-1/model"}),
        point("train/loss", "10.000000", float_value=0.5),
        point("train/loss", "20", float_value=math.nan),
        point("eval/loss", "20") | {"timestamp": None},
        row("log", "string_series", step=Decimal(20), timestamp=NOON, string_value="done"),
        row("weights", "histogram_series", step=Decimal(20), timestamp=NOON, histogram_value=histogram),
        row("other", "int", run="RUN-2", int_value=5),
    ]
    with Archive(database_url) as archive:
        job, other = archived(archive, tmp_path / "RUN-1_part_0.parquet", rows)
    assert (job.job_id, job.provider, job.created_at) == ("team/llm/RUN-1", "neptune", NOON_SECONDS)
    assert job.document == {
        "project_id": "team/llm",
        "run_id": "RUN-1",
        "attribute.sys/name": 'the "first", \n run',
        "attribute.sys/creation_time": "2024-01-01 12:00:00.500Z",
        "attribute.params/lr": 0.1 + 0.2,
        "attribute.params/seed": 2**60 + 1,
        "attribute.params/fp16": False,
        "attribute.sys/tags": ["a,b", "é"],
        "attribute.model": {"path": "team_llm/RUN-1/model"},
    }
    first, second = job.checkpoints
    assert first.metrics.named_values() == {"train/loss": 0.5}
    assert (first.step_number, first.created_at) == (10, NOON_SECONDS)
    assert first.__pydantic_extra__ == {"timestamp_ms.train/loss": NOON_SECONDS * 1000 + 500}
    values = second.metrics.named_values()
    assert math.isnan(values.pop("train/loss"))
    assert values == {"eval/loss": None, "log": "done", "weights": histogram}
    assert (other.job_id, other.document["attribute.other"], other.checkpoints) == ("team/llm/RUN-2", 5, [])


def test_the_parts_of_a_run_come_together(tmp_path: Path, sqlite_url: str) -> None:
    """The exporter rolls files over, so that one run and one step of it may lie in several."""
    parts = [[point("a", "1", float_value=0.5)], [point("b", "1", float_value=0.25)]]
    with Archive(sqlite_url) as archive:
        for number, rows in enumerate(parts):
            (job,) = archived(archive, tmp_path / f"RUN-1_part_{number}.parquet", rows)
    (checkpoint,) = job.checkpoints
    assert checkpoint.metrics.named_values() == {"a": 0.5, "b": 0.25}


@pytest.mark.parametrize(
    ("line", "refusal"),
    [
        ("p,r,a,float_series,0.500000,,,1,,,,,,", "line 2, field 'step': must be a whole number"),
        ("p,r,a,float_series,,,,1,,,,,,", "line 2, field 'step': is required, but absent"),
        ("p,r,a,float_series,1,noon,,1,,,,,,", "line 2, field 'timestamp': must be an ISO 8601 time"),
        ("p,r,a,complex,,,,1,,,,,,", "line 2, field 'attribute_type': no type of Neptune's"),
        ("p,r,a,int,,,1.5,,,,,,,", "line 2, field 'int_value': must be of type int"),
        ("p,r,a,bool,,,,,,maybe,,,,", "line 2, field 'bool_value': must be of type bool"),
        ("p,r,a,string_set,,,,,,,,[,,", "line 2, field 'string_set_value': must be of type string_set"),
        (",,a,float_series,-1,,,1,,,,,,", "field 'step'"),
    ],
)
def test_a_row_that_is_not_the_exporter_s_is_refused(line: str, refusal: str) -> None:
    """With its line and column."""
    with pytest.raises(InvalidPayload) as refused:
        list(named("neptune").read(document("x.csv", f"{NEPTUNE_HEADER}{line}\n"), Hints()))
    assert refusal in str(refused.value)


def test_a_run_may_be_given_another_name() -> None:
    """By the caller, where the file is of one run; a creation time that is none is only kept."""
    lines = (
        "p,r,sys/creation_time,string,,,,,then,,,,,\n"
        "p,r,a,float_series,1,2024-01-01 12:00:00+00:00,,1,,,,,,\n"
    )
    (job,) = named("neptune").read(document("x.csv", NEPTUNE_HEADER + lines), Hints(job_id="mine"))
    assert (job.job_id, job.created_at) == ("mine", NOON_SECONDS)
    two = f"{NEPTUNE_HEADER}{lines}p,s,a,int,,,1,,,,,,,\n"
    with pytest.raises(InvalidPayload, match="several runs"):
        list(named("neptune").read(document("x.csv", two), Hints(job_id="mine")))
