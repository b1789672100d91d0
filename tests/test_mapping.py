import json
import math
import random
import struct
from collections import Counter
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import checkpoints, jobs
from tuneledger import json_text
from tuneledger.mapping import (
    CheckpointColumns,
    Kind,
    checkpoint_columns,
    checkpoints_from,
    event_from,
    event_rows,
    events_digest,
    job_content,
    job_digest,
    job_from,
    metric_from,
    metric_values,
    state_digest,
)
from tuneledger.models import NOT_EVALUATED, CheckpointOut, Event, Job, Placeholder, validated
from tuneledger.tables import Base

STATES: list[tuple[Any, float | None, int | None]] = [
    (0.5, 0.5, None),
    (0.0, 0.0, None),
    (-1.7976931348623157e308, -1.7976931348623157e308, None),
    (5e-324, 5e-324, None),
    (None, None, Kind.NULL),
    (math.nan, None, Kind.NAN),
    (math.inf, None, Kind.POSITIVE_INFINITY),
    (-math.inf, None, Kind.NEGATIVE_INFINITY),
    (-0.0, 0.0, Kind.NEGATIVE_ZERO),
    (NOT_EVALUATED, None, Kind.NOT_EVALUATED),
]


@pytest.mark.parametrize(("metric", "value", "kind"), STATES)
def test_kinds(metric: float | None, value: float | None, kind: int | None) -> None:
    """`value` is finite or NULL and never -0.0; `kind` says how to give back what came."""
    assert metric_values(metric) == (value, kind)
    assert math.copysign(1, metric_values(metric)[0] or 0.0) == math.copysign(1, value or 0.0)
    back = metric_from(value, kind)
    assert repr(back) == repr(metric)
    assert isinstance(back, Placeholder) == isinstance(metric, Placeholder)


def test_the_documentation_names_every_table_with_its_key() -> None:
    """docs/schema.md lists each table and what identifies its rows."""
    text = (Path(__file__).parents[1] / "docs/schema.md").read_text()
    for table in Base.metadata.sorted_tables:
        key = ", ".join(column.name for column in table.primary_key)
        assert f"| `{table.name}` | `{key}`" in text
    for kind in Kind:
        assert f"| {kind.value} | " in text


def test_kinds_are_numbered_for_good() -> None:
    """The numbers stand in every archive and in its digests."""
    assert {kind.name: kind.value for kind in Kind} == {
        "NULL": 1,
        "NAN": 2,
        "POSITIVE_INFINITY": 3,
        "NEGATIVE_INFINITY": 4,
        "NEGATIVE_ZERO": 5,
        "NOT_EVALUATED": 6,
    }


# -- digests, byte by byte as docs/schema.md has them --------------------------------------------


def hashed(content: bytes) -> int:
    """63 bits of BLAKE2b."""
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "big") >> 1


def documented_digest(checkpoint: CheckpointOut) -> int:
    """A checkpoint's digest as the documentation describes it, written anew."""
    numbers: dict[str, Any] = {}
    aside: dict[str, Any] = {}
    for name, value in checkpoint.metrics.named_values().items():
        (numbers if value is None or isinstance(value, float) else aside)[name] = value
    content = b"checkpoint\0"
    doubles = b""
    for name in sorted(numbers):
        value, kind = metric_values(numbers[name])
        content += name.encode() + b"\0" + bytes([kind or 0])
        doubles += struct.pack(">d", value or 0.0)
    content += b"\xff" + struct.pack(">qq", checkpoint.step_number, checkpoint.created_at) + doubles
    extra = {"fields": checkpoint.__pydantic_extra__, "metrics": aside}
    extra = {name: members for name, members in extra.items() if members}
    if extra:
        text = json.dumps(extra, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        content += text.encode()
    return hashed(content)


@given(st.lists(checkpoints(), max_size=8, unique_by=lambda checkpoint: checkpoint.step_number))
def test_columns_hold_the_documented_digests(given_checkpoints: list[CheckpointOut]) -> None:
    """The column-wise way comes to the same as the description, for any mixture of metrics."""
    columns = checkpoint_columns(given_checkpoints)
    wanted = {checkpoint.step_number: documented_digest(checkpoint) for checkpoint in given_checkpoints}
    assert {row.step_number: row.digest for row in columns.rows} == wanted
    assert columns.digest == job_digest(*wanted.values())
    assert [row.step_number for row in columns.rows] == sorted(wanted)
    for series in columns.series.values():
        assert series.steps == sorted(series.steps)
        assert len(series.values) == len(series.steps)
        assert series.kinds is None or len(series.kinds) == len(series.steps)


def rows_of(columns: CheckpointColumns) -> list[tuple[int, int, float | None, int | None]]:
    """The rows of ``metrics`` of one job, in no order."""
    rows = [
        (name_id, step, value, kind)
        for name_id, series in enumerate(columns.series.values())
        for step, value, kind in zip(
            series.steps, series.values, series.kinds or [None] * len(series.steps), strict=True
        )
    ]
    random.Random(1).shuffle(rows)  # noqa: S311 - no secret
    return rows


@given(st.lists(checkpoints(), max_size=8, unique_by=lambda checkpoint: checkpoint.step_number))
def test_checkpoints_come_back_from_their_rows(given_checkpoints: list[CheckpointOut]) -> None:
    """Rows to models is the inverse of models to rows; rows of other steps are left alone."""
    columns = checkpoint_columns(given_checkpoints)
    names = dict(enumerate(columns.series))
    metrics = rows_of(columns)
    rows = [(row.step_number, row.created_at, row.extra) for row in columns.rows]
    back = checkpoints_from(rows, metrics, names)
    assert back == sorted(given_checkpoints, key=lambda checkpoint: checkpoint.step_number)
    assert checkpoints_from(rows[:1], metrics, names) == back[:1]


@pytest.mark.parametrize("big", [0.5, 2**53 + 1])
def test_the_ways_of_taking_checkpoints_apart_agree(big: float) -> None:
    """All declared metrics and no other, any order of steps, an integer no double holds: one result."""
    payloads = [
        {
            "metrics": {"train_loss": step / 8, "valid_loss": 1.0, "valid_mean_token_accuracy": big},
            "step_number": step,
            "created_at": step,
        }
        for step in (3, 1, 2)
    ]
    given_checkpoints = [validated(CheckpointOut, payload) for payload in payloads]
    columns = checkpoint_columns(given_checkpoints)
    assert [row.step_number for row in columns.rows] == columns.series["train_loss"].steps == [1, 2, 3]
    assert columns.series["train_loss"].values == [1 / 8, 2 / 8, 3 / 8]
    assert [row.digest for row in columns.rows] == [
        documented_digest(given_checkpoints[index]) for index in (1, 2, 0)
    ]


def test_only_the_metrics_wanted() -> None:
    """With `only` neither numbers nor what is kept aside of other metrics come."""
    rows = [(1, 2, '{"fields":{"id":"x"},"metrics":{"note":"n","time":"t"}}')]
    (checkpoint,) = checkpoints_from(rows, [(0, 1, 0.5, None)], {0: "loss"}, frozenset({"loss", "note"}))
    assert checkpoint.metrics.named_values() == {"loss": 0.5, "note": "n"}
    assert checkpoint.__pydantic_extra__ == {"id": "x"}


GOLDEN_CHECKPOINTS = [
    ({"metrics": {}, "step_number": 0, "created_at": 0}, 2833326185057841798),
    ({"metrics": {"train_loss": 0.5}, "step_number": 10, "created_at": 1700000000}, 3223574254608819023),
    (
        {
            "metrics": {
                "valid_loss": math.nan,
                "train_loss": -0.0,
                "rewards/é": math.inf,
                "a": None,
                "b": -math.inf,
                "valid_mean_token_accuracy": NOT_EVALUATED,
            },
            "step_number": 2**63 - 1,
            "created_at": 253402300799,
        },
        8099351588741307125,
    ),
    (
        {
            "metrics": {"loss": 1, "big": 2**53 + 1, "note": "n"},
            "step_number": 3,
            "created_at": 4,
            "id": "é",
            "x": [math.nan, None, {"b": 1, "a": 1.0}],
        },
        1558070074140274890,
    ),
]


@pytest.mark.parametrize(("payload", "digest"), GOLDEN_CHECKPOINTS)
def test_checkpoint_digests_stay_in_every_release(payload: dict[str, Any], digest: int) -> None:
    """Archives hold these numbers: a release that changes one finds every archive damaged."""
    checkpoint = validated(CheckpointOut, payload)
    assert checkpoint_columns([checkpoint]).digest == digest == documented_digest(checkpoint)
    turned = payload | {"metrics": dict(reversed(payload["metrics"].items()))}
    assert checkpoint_columns([validated(CheckpointOut, turned)]).digest == digest


def test_job_event_and_state_digests_stay_in_every_release() -> None:
    """The other parts of a job's digest are as fixed."""
    assert (
        state_digest(1700000000, "RUNNING") == hashed(b"state\x001700000000\0RUNNING") == 6496119306361423442
    )
    job = validated(
        Job,
        {
            "job_id": "j-é",
            "provider": "mistral",
            "status": "RUNNING",
            "created_at": 5,
            "revision": 7,
            "cost": 2.5,
            "document": {"b": [1, 1.0, None, math.nan], "a": "é"},
        },
    )
    text = (
        '["j-é",{"cost":2.5,"created_at":5,"provider":"mistral","revision":7,"status":"RUNNING"},'
        '{"a":"é","b":[1,1.0,null,NaN]},{}]'
    )
    assert job_content(job).digest == hashed(b"job\0" + text.encode()) == 1831458470147891160
    events = [
        Event(name="status-updated", created_at=9),
        validated(Event, {"name": "e", "created_at": 9, "data": {"b": 1, "a": None}, "level": "info"}),
    ]
    bare, full = (event_rows([event])[0] for event in events)
    assert bare.digest == hashed(b"event\0status-updated\x009\0") == 797960344210510639
    assert full.data == '{"data":{"a":null,"b":1},"level":"info"}'
    assert full.digest == hashed(b"event\0e\x009\0" + full.data.encode()) == 457507456420735399
    assert (
        events_digest([(5, 0), (5, 1)])
        == hashed(b"occurrence\x005\x000") ^ hashed(b"occurrence\x005\x001")
        == 7826996577819183061
    )
    assert events_digest([]) == job_digest() == 0


@given(jobs())
def test_a_job_comes_back_from_its_rows(job: Job) -> None:
    """Columns, document and events give the same job again."""
    row = job_content(job).values()
    events = [event_from(*event[2:]) for event in event_rows(job.events)]
    assert job_from(row, events, job.checkpoints) == job
    assert job_content(row).digest == job_content(job).digest
    older = job_content(row)
    older.older_fields = {"suffix": 3}
    assert job_content(older.values()).older_fields == {"suffix": 3}
    assert older.digest != job_content(job).digest


@given(jobs())
def test_equal_events_are_numbered(job: Job) -> None:
    """Equal events differ by their occurrence alone, counted from 0, so no digest cancels out."""
    rows = event_rows([*job.events, *reversed(job.events)])
    assert rows == sorted(rows)
    counts = Counter(event.canonical_text() for event in job.events)
    assert len(rows) == 2 * sum(counts.values())
    for digest, times in Counter(row.digest for row in rows).items():
        assert sorted(row.occurrence for row in rows if row.digest == digest) == list(range(times))


def test_canonical_text_is_what_rows_hold() -> None:
    """The texts in the rows are canonical JSON, so that equal content is equal bytes."""
    checkpoint = validated(
        CheckpointOut,
        {"metrics": {"note": {"b": 1, "a": 2}}, "step_number": 1, "created_at": 1, "z": 1, "y": 2},
    )
    (row,) = checkpoint_columns([checkpoint]).rows
    assert row.extra == '{"fields":{"y":2,"z":1},"metrics":{"note":{"a":2,"b":1}}}'
    assert row.extra == json_text.canonical(json_text.load(row.extra))
