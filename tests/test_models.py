import copy
import json
import math
import pickle
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tuneledger.errors import InvalidPayload
from tuneledger.models import (
    NOT_EVALUATED,
    CheckpointOut,
    Event,
    Job,
    MetricOut,
    Placeholder,
    is_final,
    validated,
)
from tuneledger.models.job import duration_seconds

CHECKPOINT: dict[str, Any] = {"metrics": {"train_loss": 0.5}, "step_number": 10, "created_at": 1_700_000_000}
JOB: dict[str, Any] = {"job_id": "j", "provider": "p"}


def refusal(model: type[BaseModel], payload: object) -> InvalidPayload:
    """The error that validating ends in."""
    with pytest.raises(InvalidPayload) as caught:
        validated(model, payload, source="dump.json", position="data[3]")
    assert caught.value.source == "dump.json"
    assert caught.value.position.startswith("data[3]")
    return caught.value


NO_INTEGERS = [
    ("12", "not text"),
    (True, "not a boolean"),
    (2.5, "not a number with a fraction"),
    (3.0, "not a number with a fraction"),
    ("1_000", "not text"),
    ([1], "not a list"),
    (-1, "between 0 and"),
]


@pytest.mark.parametrize(("value", "reason"), [*NO_INTEGERS, (None, "not null"), (2**63, "between 0 and")])
def test_step_numbers_are_strict(value: object, reason: str) -> None:
    """A step is an integer from 0 to 2**63-1; whatever else is refused, with the field and the reason."""
    error = refusal(CheckpointOut, CHECKPOINT | {"step_number": value})
    assert error.field == "step_number"
    assert reason in error.reason


@pytest.mark.parametrize("step", [0, 2**31, 2**63 - 1])
def test_every_step_a_big_integer_column_holds_is_taken(step: int) -> None:
    """Steps beyond 32 and 53 bits stay what they are."""
    assert validated(CheckpointOut, CHECKPOINT | {"step_number": step}).step_number == step


@pytest.mark.parametrize(
    ("value", "reason"), [*NO_INTEGERS, (1_700_000_000_000, "looks like milliseconds"), (10**15, "UNIX sec")]
)
def test_times_are_unix_seconds(value: object, reason: str) -> None:
    """Times are whole seconds up to the year 9999; milliseconds are told apart and named."""
    for model, payload in (
        (CheckpointOut, CHECKPOINT),
        (Event, {"name": "e"}),
        (Job, JOB),
    ):
        error = refusal(model, payload | {"created_at": value})
        assert error.field == "created_at"
        assert reason in error.reason


@pytest.mark.parametrize("field", ["revision", "trained_tokens", "finished_at"])
def test_the_other_integers_of_a_job_are_as_strict(field: str) -> None:
    """No integer of ours takes text, a boolean or a fraction."""
    for value, reason in NO_INTEGERS:
        error = refusal(Job, JOB | {field: value})
        assert (error.field, reason in error.reason) == (field, True)


@pytest.mark.parametrize("value", ["0.5", True, [0.5], {}])
def test_declared_metrics_are_numbers_or_null(value: object) -> None:
    """Text, a boolean or an object is no loss, and the place is named."""
    error = refusal(CheckpointOut, CHECKPOINT | {"metrics": {"valid_loss": value}})
    assert error.position == "data[3] metrics"
    assert error.field == "valid_loss"
    assert error.reason == "must be a number or null"


@pytest.mark.parametrize("value", ["12:30:00", True, {"a": [1, None]}, [0.5], 2**53 + 1, 10**400])
def test_undeclared_metrics_may_be_any_json(value: object) -> None:
    """What a trainer writes beside its numbers is kept as it came."""
    metrics = validated(CheckpointOut, CHECKPOINT | {"metrics": {"other": value}}).metrics
    assert metrics.named_values() == {"other": value}
    assert type(metrics.named_values()["other"]) is type(value)


@pytest.mark.parametrize("name", ["train_loss", "other"])
def test_integers_become_the_doubles_they_are(name: str) -> None:
    """3 is stored as 3.0; an integer that no double holds exactly stays an integer."""
    for given, wanted in ((3, 3.0), (2**53, 2.0**53), (2**53 + 1, 2**53 + 1), (10**400, 10**400)):
        value = MetricOut.model_validate({name: given}).named_values()[name]
        assert (value, type(value)) == (wanted, type(wanted))
    for number in (10**4299, -(10**4299)):
        assert refusal(MetricOut, {name: number}).field == name


def test_four_states_of_a_metric_and_the_placeholder_are_kept_apart() -> None:
    """Absent, null, a number, no finite number and "not evaluated" all compare as different."""
    states: list[dict[str, Any]] = [
        {},
        {"valid_loss": None},
        {"valid_loss": 0.0},
        {"valid_loss": -0.0},
        {"valid_loss": NOT_EVALUATED},
        {"valid_loss": math.nan},
        {"valid_loss": math.inf},
        {"valid_loss": -math.inf},
    ]
    models = [MetricOut.model_validate(state) for state in states]
    assert len(set(models)) == len(states)
    for state, model in zip(states, models, strict=True):
        assert repr(model.named_values()) == repr(state)
        assert model == MetricOut.model_validate(state)
        assert model != object()


def test_the_placeholder_is_one_and_reads_as_zero() -> None:
    """However it is copied it stays the mark; as a number and as JSON it is 0.0."""
    checkpoint = validated(CheckpointOut, CHECKPOINT | {"metrics": {"valid_loss": NOT_EVALUATED}})
    for twin in (
        copy.deepcopy(checkpoint),
        pickle.loads(pickle.dumps(checkpoint)),  # noqa: S301 - pickled in this line
        validated(CheckpointOut, checkpoint),
    ):
        assert twin == checkpoint
        assert isinstance(twin.metrics.valid_loss, Placeholder)
    assert NOT_EVALUATED + 1 == 1.0
    assert repr(NOT_EVALUATED) == "NOT_EVALUATED"
    assert json.loads(checkpoint.model_dump_json(exclude_unset=True))["metrics"] == {"valid_loss": 0.0}
    with pytest.raises(TypeError):
        Placeholder(5.0)  # type: ignore[call-arg] # the very thing that must not work


UNFIT_NAMES = [("", "empty"), ("a\0b", "control"), ("a\nb", "control"), ("x" * 513, "512")]


@pytest.mark.parametrize(("name", "reason"), UNFIT_NAMES)
def test_names_have_one_character_set_and_length(name: str, reason: str) -> None:
    """Ids and names are 1 to 512 characters without control characters, the same on both engines."""
    for field in ("job_id", "provider", "model", "status", "fine_tuned_model", "cost_currency"):
        error = refusal(Job, JOB | {field: name})
        assert (error.field, reason in error.reason) == (field, True)
    assert reason in refusal(MetricOut, {name: 0.5}).reason
    assert reason in refusal(Event, {"name": name, "created_at": 1}).reason


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_text_that_one_engine_refuses_is_refused_everywhere(text: str) -> None:
    """NUL and half surrogate pairs are refused in values and in names of unknown fields, at any depth."""
    for model, payload in (
        (CheckpointOut, CHECKPOINT),
        (Event, {"name": "e", "created_at": 1}),
        (Job, JOB),
        (MetricOut, {}),
    ):
        for unfit in ({"x": text}, {text: 1}, {"x": {"y": [text]}}, {"x": [{text: 1}]}):
            assert refusal(model, payload | unfit).reason
    assert refusal(Event, {"name": "e", "created_at": 1, "data": text}).field == "data"
    assert refusal(Job, JOB | {"job_id": text}).field == "job_id"


def test_an_integer_python_cannot_write_is_refused() -> None:
    """Integers of thousands of digits never reach the encoder, which would raise an error of its own."""
    assert "thousands of digits" in refusal(CheckpointOut, CHECKPOINT | {"x": [10**5000]}).reason


def test_deep_nesting_is_refused() -> None:
    """An unknown field may be nested a hundred levels deep and no deeper."""
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    assert "levels deep" in refusal(Job, JOB | {"x": deep}).reason


@pytest.mark.parametrize("cost", [math.nan, math.inf, "1", True, 10**400])
def test_a_cost_is_a_finite_number(cost: object) -> None:
    """A sum of money that is no number is refused."""
    assert refusal(Job, JOB | {"cost": cost}).field == "cost"


def test_a_cost_has_no_negative_zero() -> None:
    """SQLite would drop the sign, and the two engines' digests would differ."""
    assert repr(validated(Job, JOB | {"cost": -0.0}).cost) == "0.0"
    assert validated(Job, JOB | {"cost": 3}).cost == 3.0


def test_unknown_fields_of_a_job_go_into_its_document() -> None:
    """Nothing is lost: what no field declares stands in the document, beside what was there."""
    job = validated(Job, JOB | {"document": {"a": None}, "suffix": "x", "seed": 2**70})
    assert job.document == {"a": None, "suffix": "x", "seed": 2**70}
    assert "stands both in the job" in refusal(Job, JOB | {"document": {"a": 1}, "a": 1}).reason
    assert refusal(Job, JOB | {"document": "x", "a": 1}).field == "document"
    assert refusal(Job, JOB | {5: 1}).reason
    assert refusal(Job, JOB | {"document": {5: 1}, 5: 2}).reason


def test_checkpoints_come_in_step_order_each_step_once() -> None:
    """A step that is repeated with the same content counts once, one that contradicts is refused."""
    second = CHECKPOINT | {"step_number": 2}
    job = validated(Job, JOB | {"checkpoints": [CHECKPOINT, second, CHECKPOINT]})
    assert [checkpoint.step_number for checkpoint in job.checkpoints] == [2, 10]
    error = refusal(Job, JOB | {"checkpoints": [CHECKPOINT, CHECKPOINT | {"created_at": 5}]})
    assert error.reason == "step 10 stands twice, with different content"


def test_events_come_in_order_of_time_and_repeat() -> None:
    """Providers give events newest first or oldest first; equal ones are no mistake."""
    events = [{"name": name, "created_at": at} for name, at in (("b", 2), ("c", 1), ("a", 2), ("c", 1))]
    there, back = validated(Job, JOB | {"events": events}), validated(Job, JOB | {"events": events[::-1]})
    assert there == back
    assert hash(there) == hash(back)
    assert [event.name for event in there.events] == ["c", "c", "a", "b"]


def test_absent_and_null_data_of_an_event_differ() -> None:
    """Mistral's SDK 1.0 left ``data`` out; null is something else."""
    absent = validated(Event, {"name": "e", "created_at": 1})
    null = validated(Event, {"name": "e", "created_at": 1, "data": None})
    assert absent != null
    assert (absent.details(), null.details()) == ({}, {"data": None})


def test_pydantics_own_ways_in_lead_to_the_same_models() -> None:
    """A job may also be made by pydantic's own methods, from a job or from JSON."""
    job = validated(Job, JOB | {"checkpoints": [CHECKPOINT]})
    assert Job.model_validate(job) == job
    text = '{"train_loss": 0.5, "valid_loss": null, "other": 3, "note": "x"}'
    metrics = MetricOut.model_validate_json(text)
    assert metrics == MetricOut.model_validate(json.loads(text))


def test_models_are_frozen() -> None:
    """What was validated stays so."""
    job = validated(Job, JOB)
    with pytest.raises(ValidationError):
        job.status = "x"  # type: ignore[misc] # the very thing that must not work


def test_several_wrong_fields_are_counted() -> None:
    """The first is explained, the rest counted; pydantic's own branches are not shown."""
    error = refusal(Job, JOB | {"created_at": "x", "revision": -1})
    assert error.field == "created_at"
    assert error.reason.endswith("(and 1 more of its fields is wrong)")
    error = refusal(Job, JOB | {"events": [{"name": "", "created_at": "x"}, {"name": "e"}]})
    assert (error.position, error.field) == ("data[3] events[0]", "name")
    assert error.reason.endswith("(and 2 more of its fields are wrong)")


@pytest.mark.parametrize("payload", [[1], "[]", b"3", None, object()])
def test_what_is_no_object_is_refused(payload: object) -> None:
    """A list or a number in place of a job is named as such."""
    assert refusal(Job, payload).reason == "must be an object"


def test_a_missing_field_is_named() -> None:
    """The message says which field, in the source's own words where those are known."""
    assert refusal(CheckpointOut, {"metrics": {}, "created_at": 1}).reason == "is required, but absent"
    with pytest.raises(InvalidPayload, match="field 'id': must be text"):
        validated(Job, JOB | {"job_id": 5}, names={"job_id": "id"})


class SdkMetrics(BaseModel):
    """Shaped as a provider's SDK shapes it: unset is not null."""

    train_loss: float | None = None
    valid_loss: float | None = None


class SdkCheckpoint(BaseModel):
    """With a name of its own for a field, as SDKs have them for reserved words."""

    model_config = ConfigDict(populate_by_name=True)
    metrics: SdkMetrics
    step: int = Field(alias="step_number")
    created_at: int


def test_objects_of_a_providers_sdk_are_taken() -> None:
    """Anything with `model_dump()` counts as the JSON it came from: aliases, and only the fields set."""
    given = SdkCheckpoint(metrics=SdkMetrics(valid_loss=None), step=3, created_at=5)
    assert validated(CheckpointOut, given) == CheckpointOut(
        metrics=MetricOut(valid_loss=None), step_number=3, created_at=5
    )


@pytest.mark.parametrize("of", [bytes, bytearray, memoryview, None])
def test_json_is_taken_as_bytes_or_text(of: Any) -> None:
    """JSON is parsed with the archive's own parser, whatever holds it."""
    text = json.dumps(CHECKPOINT)
    assert validated(CheckpointOut, of(text.encode()) if of else text) == validated(CheckpointOut, CHECKPOINT)
    broken = '{"metrics": {"train_loss": 1e400}, "step_number": 1, "created_at": 1}'
    with pytest.raises(InvalidPayload, match="1e400 is beyond what a double holds"):
        validated(CheckpointOut, of(broken.encode()) if of else broken)


@pytest.mark.parametrize("status", ["SUCCESS", "failed", "Cancelled"])
def test_final_statuses(status: str) -> None:
    """Providers spell them in upper and lower case."""
    assert is_final(status)


@pytest.mark.parametrize("status", [None, "RUNNING", "VALIDATED", "something new"])
def test_open_statuses(status: str | None) -> None:
    """A status nobody knows is not taken for the end."""
    assert not is_final(status)


@pytest.mark.parametrize(
    ("created_at", "finished_at", "status", "seconds"),
    [
        (100, 160, "SUCCESS", 60),
        (100, 100, "failed", 0),
        (100, 160, None, 60),  # a record that gives its end and no status
        (100, 160, "RUNNING", None),  # it goes on since that end
        (100, None, "SUCCESS", None),
        (0, 160, "SUCCESS", None),
        (200, 160, "SUCCESS", None),
    ],
)
def test_how_long_a_job_took(
    created_at: int, finished_at: int | None, status: str | None, seconds: int | None
) -> None:
    """From its creation to its end, where both are known and it is over."""
    assert duration_seconds(created_at, finished_at, status) == seconds
