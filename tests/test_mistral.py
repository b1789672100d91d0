"""Mistral's jobs: what goes in comes out, placeholders are told from values, real records included."""

import itertools
import json
import math
import os
import random
import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sample_files import sample_files, sample_id
from stored_content import content, recomputed_digest, rows_written, stored_digest
from strategies import DOUBLES, JSON, NAMES, SECONDS, checkpoint_payloads, event_payloads, unknown_fields
from tuneledger import Archive, Job
from tuneledger.errors import InvalidPayload
from tuneledger.models import Placeholder
from tuneledger.repository import StateRecord
from tuneledger.sources import mistral


@pytest.fixture
def archive(database_url: str) -> Iterator[Archive]:
    """An empty archive."""
    with Archive(database_url, durable=False) as opened:
        yield opened


def comparable(value: Any) -> Any:
    """JSON as it compares: numbers by value and sign, NaN equal to NaN, true not 1."""
    if isinstance(value, dict):
        return {name: comparable(member) for name, member in value.items()}
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if isinstance(value, float) or type(value) is int:
        exact = value if type(value) is int or not math.isfinite(value) else int(value)
        return ("number", str(exact) if exact == value else repr(value), math.copysign(1, value))
    return value


def in_order(payload: Any) -> Any:
    """A job as it compares: checkpoints by step, events as a multiset."""
    told = comparable(payload)
    if isinstance(payload, list):
        return sorted(told, key=lambda checkpoint: float(checkpoint["step_number"][1]))
    for name in ("checkpoints", "events"):
        if isinstance(told.get(name), list):
            told[name] = Counter(json.dumps(item, sort_keys=True) for item in told[name])
    return told


def archived(archive: Archive, data: bytes, job_id: str | None = None) -> list[Any]:
    """Archive a payload and give what its jobs are exported as."""
    exported = []
    for job in mistral.jobs(data, source="dump.json", job_id=job_id):
        archive.save(job)
        assert stored_digest(archive, job.job_id) == recomputed_digest(archive, job.job_id)
        with archive.read() as repository:
            exported.append(mistral.SOURCE.export(repository.job(job.job_id)))
    return exported


METRIC = st.none() | DOUBLES | st.integers(-5, 5) | st.just(0.0)


@st.composite
def mistral_checkpoints(draw: st.DrawFn) -> dict[str, Any]:
    """A checkpoint whose metrics are Mistral's three, each present or not, often 0.0."""
    checkpoint = draw(checkpoint_payloads())
    names = ("train_loss", "valid_loss", "valid_mean_token_accuracy")
    checkpoint["metrics"] = {name: draw(METRIC) for name in names if draw(st.booleans())}
    return checkpoint


@st.composite
def mistral_jobs(draw: st.DrawFn) -> dict[str, Any]:
    """A job as Mistral's API or one of its SDKs could have written it."""
    payload: dict[str, Any] = {
        "id": secrets.token_hex(8),
        "created_at": draw(SECONDS),
        "modified_at": draw(SECONDS),
        "status": draw(st.sampled_from(["QUEUED", "RUNNING", "SUCCESS", "FAILED"])),
        "model": draw(NAMES),
        "training_files": draw(st.lists(NAMES, max_size=2)),
        "hyperparameters": draw(st.dictionaries(NAMES, JSON, max_size=2)),
    }
    optional: dict[str, st.SearchStrategy[Any]] = {
        "fine_tuned_model": st.none() | NAMES,
        "trained_tokens": st.none() | st.integers(0, 2**63 - 1),
        "metadata": st.none()
        | st.fixed_dictionaries(
            {"cost": st.none() | st.floats(allow_nan=False, allow_infinity=False), "cost_currency": NAMES}
        ),
        "events": st.none() | st.lists(event_payloads(), max_size=3),
        "checkpoints": st.none()
        | st.lists(mistral_checkpoints(), max_size=3, unique_by=lambda item: item["step_number"]),
    }
    for name, values in optional.items():
        if draw(st.booleans()):
            payload[name] = draw(values)
    return payload | draw(unknown_fields(*payload, *optional, "metadata"))


@given(payload=mistral_jobs())
def test_export_gives_back_what_was_archived(archive: Archive, payload: dict[str, Any]) -> None:
    """Unknown fields, nulls, absent keys, NaN, -0.0 and 0.0 placeholders: all of it comes out again."""
    data = json.dumps(payload).encode()
    (exported,) = archived(archive, data)
    assert in_order(exported) == in_order(json.loads(data))


@given(page=st.lists(mistral_jobs(), max_size=2), of=st.sampled_from([None, "data"]))
def test_pages_and_lists_give_each_of_their_jobs(
    archive: Archive, page: list[dict[str, Any]], of: str | None
) -> None:
    """A list page and a bare list of jobs are as many jobs."""
    data = json.dumps(page if of is None else {of: page, "object": "list", "total": 9}).encode()
    assert list(map(in_order, archived(archive, data))) == list(map(in_order, json.loads(json.dumps(page))))


def test_a_bare_list_of_checkpoints_needs_its_job(archive: Archive) -> None:
    """Such a list does not name its job; under the id that was given it comes back as the list."""
    data = json.dumps(
        [
            {
                "metrics": {"valid_loss": 0.0, "valid_mean_token_accuracy": 0},
                "step_number": 2,
                "created_at": 1,
            },
            {"metrics": {}, "step_number": 1, "created_at": 1},
        ]
    ).encode()
    with pytest.raises(InvalidPayload, match="does not name its job; say which with --job-id"):
        archived(archive, data)
    (exported,) = archived(archive, data, "named-by-hand")
    assert in_order(exported) == in_order(json.loads(data))
    (job,) = mistral.jobs(b'{"id": "x", "created_at": 1}', job_id="x")
    assert job.job_id == "x"
    with pytest.raises(InvalidPayload, match="field 'id': is not the job id that was asked for"):
        archived(archive, b'{"id": "x", "created_at": 1}', "y")


@pytest.mark.parametrize(
    ("metrics", "marked"),
    [
        ({"valid_loss": 0.0, "valid_mean_token_accuracy": 0.0}, True),
        ({"valid_loss": 0, "valid_mean_token_accuracy": 0, "train_loss": 0.0}, True),
        ({"valid_loss": 0.0, "valid_mean_token_accuracy": 1.0}, False),
        ({"valid_loss": 0.0, "valid_mean_token_accuracy": -0.0}, False),
        ({"valid_loss": 0.0, "valid_mean_token_accuracy": None}, False),
        ({"valid_loss": 0.0, "valid_mean_token_accuracy": False}, None),
        ({"valid_loss": 0.0}, False),
    ],
)
def test_placeholders(metrics: dict[str, Any], marked: bool | None) -> None:  # noqa: FBT001 - a parameter
    """Only the pair 0.0/0.0 says "not evaluated"; a real accuracy is 2 ** loss, so at least 1."""
    checkpoint = {"metrics": metrics, "step_number": 1, "created_at": 1}
    payload = {"id": "x", "created_at": 1, "checkpoints": [checkpoint]}
    if marked is None:
        with pytest.raises(InvalidPayload, match="must be a number or null"):
            next(mistral.jobs(payload))
        return
    (job,) = mistral.jobs(payload)
    found = job.checkpoints[0].metrics
    assert isinstance(found.valid_loss, Placeholder) == marked
    assert isinstance(found.valid_mean_token_accuracy, Placeholder) == marked
    assert not isinstance(found.train_loss, Placeholder)


@pytest.mark.parametrize(
    ("payload", "position", "field", "reason"),
    [
        ({}, "", "id", "is required"),
        ([{"id": "x"}], "[0]", "created_at", "is required"),
        ({"data": [{"id": "x", "created_at": 1}, 5]}, "data[1]", "", "must be an object"),
        ("5", "", "", "must be an object"),
        ({"id": 5, "created_at": 1}, "", "id", "must be text"),
        ({"id": "x", "created_at": 1, "modified_at": None}, "", "modified_at", "not null"),
        ({"id": "x", "created_at": 1, "status": "FAILED", "modified_at": "1"}, "", "modified_at", "not text"),
        ({"id": "x", "created_at": 1, "metadata": {"cost": "1"}}, "", "metadata.cost", "a number"),
        ({"id": "x", "created_at": 1, "metadata": 5, "events": {}}, "", "events", "must be a list"),
        ({"id": "x", "created_at": 1, "checkpoints": ""}, "", "checkpoints", "must be a list"),
        ({"id": "x", "created_at": 1, "checkpoints": [5]}, "checkpoints[0]", "", "must be an object"),
    ],
)
def test_refusals_are_in_mistrals_words(payload: object, position: str, field: str, reason: str) -> None:
    """What is wrong is named as Mistral names it, with its place in the input."""
    with pytest.raises(InvalidPayload) as caught:
        list(mistral.jobs(payload, source="dump.json"))
    error = caught.value
    assert reason in error.reason
    if position == "checkpoints[0]":
        assert (error.position, error.field) in {("checkpoints", ""), (position, "")}
    else:
        assert (error.position, error.field) == (position, field)


class SdkObject:
    """As a class of Mistral's SDK behaves."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields

    def model_dump(self, **_options: object) -> dict[str, Any]:
        """Give the fields."""
        return self.fields


def test_objects_of_the_sdk_are_read() -> None:
    """One job, or a list of them, straight from the SDK."""
    jobs = [SdkObject(id=name, created_at=1, status="SUCCESS", modified_at=7) for name in "ab"]
    assert [job.job_id for job in mistral.jobs(jobs)] == ["a", "b"]
    (job,) = mistral.jobs(jobs[0])
    assert (job.provider, job.revision, job.finished_at) == ("mistral", 7, 7)


def test_drawn_fields() -> None:
    """What queries need is drawn out of the payload; a running job is not finished."""
    payload = {
        "id": "x",
        "created_at": 5,
        "modified_at": 9,
        "status": "RUNNING",
        "model": "open-mistral-7b",
        "trained_tokens": 12,
        "metadata": {"cost": 2.5, "cost_currency": "USD"},
    }
    (job,) = mistral.jobs(payload)
    assert job == Job(
        job_id="x",
        provider="mistral",
        model="open-mistral-7b",
        status="RUNNING",
        created_at=5,
        revision=9,
        trained_tokens=12,
        cost=2.5,
        cost_currency="USD",
        document=payload,
    )
    (bare,) = mistral.jobs({"id": "x", "created_at": 5})
    assert bare.revision == 5


# -- real records ---------------------------------------------------------------------------------

ORDERS = 200 if os.environ.get("TUNELEDGER_LONG") == "1" else 10
RECORDS = [path for path in sample_files("mistral/**/*") if path.suffix == ".json"]
CUT = [path for path in sample_files("mistral/**/*") if path.suffix == ".txt"]


@pytest.mark.samples
@pytest.mark.parametrize("path", RECORDS, ids=sample_id)
def test_real_records_come_back(archive: Archive, path: Path) -> None:
    """Every real record is archived and exported as it was; archived twice it writes no row."""
    data = path.read_bytes()
    given_jobs = json.loads(data)
    wanted = given_jobs.get("data", [given_jobs])
    assert list(map(in_order, archived(archive, data))) == list(map(in_order, wanted))
    for job in mistral.jobs(data):
        assert rows_written(archive, lambda repository, job=job: repository.save(job)) == 0  # type: ignore[misc] # bound now


@pytest.mark.samples
@pytest.mark.parametrize("path", CUT, ids=sample_id)
def test_what_is_no_json_is_refused_with_its_place(archive: Archive, path: Path) -> None:
    """Notebook outputs that were cut or are Python's repr are refused whole, saying where."""
    with pytest.raises(InvalidPayload, match=r"line \d+ column \d+: not valid JSON"):
        archived(archive, path.read_bytes())
    with archive.read() as repository:
        assert repository.count_jobs() == 0


@pytest.mark.samples
def test_ten_polls_in_any_order_end_in_one_state(archive: Archive, samples: Path) -> None:
    """Real polls of one job, in a dozen orders: the same rows and digest, one checkpoint, every status."""
    polls = [
        next(mistral.jobs(path.read_bytes()))
        for path in sorted(samples.glob("mistral/completion-20178c3c/poll-*.json"))
    ]
    assert len(polls) == 10
    shuffler = random.Random(20178)  # noqa: S311 - no secret
    orders = [polls, polls[::-1], *(shuffler.sample(polls, len(polls)) for _ in range(ORDERS))]
    ends: list[Any] = []
    for order in orders:
        for job in order:
            archive.save(job)
        ends.append(content(archive, polls[0].job_id))
        assert stored_digest(archive, polls[0].job_id) == recomputed_digest(archive, polls[0].job_id)
        for job in order:
            assert rows_written(archive, lambda repository, job=job: repository.save(job)) == 0  # type: ignore[misc] # bound now
        with archive.write() as repository:
            states = repository.states(polls[0].job_id)
            stored = repository.job(polls[0].job_id)
            repository.delete_job(polls[0].job_id)
    assert all(end == ends[0] for end in ends)
    assert [checkpoint.step_number for checkpoint in stored.checkpoints] == [10]
    assert stored.status == "SUCCESS"
    assert states == sorted(
        {StateRecord(job.revision, str(job.status)) for job in polls},
        key=lambda state: (state.revision, state.status),
    )
    assert {state.status for state in states} == {"RUNNING", "SUCCESS"}
    assert len(list(itertools.groupby(states))) == len(states)


@pytest.mark.samples
def test_a_job_that_was_never_evaluated_has_no_best(archive: Archive, samples: Path) -> None:
    """0.0/0.0 on every step of a real job is no lowest loss; the train loss has a best."""
    (job,) = mistral.jobs((samples / "mistral/completion-pixtral-9def64f2.json").read_bytes())
    archive.save(job)
    with archive.read() as repository:
        assert repository.best_checkpoint(job.job_id, "valid_loss") is None
        assert repository.best_checkpoint(job.job_id, "train_loss") is not None
        assert repository.checkpoints(job.job_id)[0].metrics.valid_loss == 0.0
