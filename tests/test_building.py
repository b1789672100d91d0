import copy
import gc
import pickle
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from strategies import checkpoints
from tuneledger.errors import DatabaseDamaged
from tuneledger.mapping import checkpoint_columns, checkpoints_from, quiet_collector
from tuneledger.models import CheckpointOut, MetricOut

NAMES = {1: "train_loss", 2: "learning_rate"}


def built(given_checkpoints: list[CheckpointOut]) -> list[CheckpointOut]:
    """The checkpoints as they come back from their rows."""
    columns = checkpoint_columns(given_checkpoints)
    metrics = [
        (name_id, step, value, kind)
        for name_id, series in enumerate(columns.series.values())
        for step, value, kind in zip(
            series.steps, series.values, series.kinds or [None] * len(series.steps), strict=True
        )
    ]
    rows = [(row.step_number, row.created_at, row.extra) for row in columns.rows]
    return checkpoints_from(rows, metrics, dict(enumerate(columns.series)))


def everything_of(model: BaseModel) -> list[Any]:
    """All that a caller can see of a model, as text where NaN would not equal itself."""
    fields = {name: type(value) for name, value in model.__dict__.items()}
    return [
        type(model),
        repr(model),
        list(fields.items()),
        model.model_fields_set,
        repr(sorted((model.__pydantic_extra__ or {}).items())),
        model.__pydantic_private__,
        repr(model.model_dump()),
        model.model_dump_json(exclude_unset=True),
        hash(model),
    ]


@given(st.lists(checkpoints(), min_size=1, max_size=6, unique_by=lambda checkpoint: checkpoint.step_number))
def test_built_models_are_as_validated_ones(given_checkpoints: list[CheckpointOut]) -> None:
    """Nothing tells a checkpoint built of rows from one that was validated: not its fields, dumps, copies."""
    for made in built(given_checkpoints):
        # Extra metrics in another order are the same metrics, so both are made in the same order.
        metrics = made.metrics.named_values()
        payload = {"metrics": metrics, "step_number": made.step_number, "created_at": made.created_at}
        validated = CheckpointOut.model_validate(payload | (made.__pydantic_extra__ or {}))
        assert made == validated
        assert everything_of(made) == everything_of(validated)
        assert everything_of(made.metrics) == everything_of(validated.metrics)
        for copied in (
            pickle.loads(pickle.dumps(made)),  # noqa: S301 - our own
            copy.copy(made),
            copy.deepcopy(made),
            made.model_copy(),
        ):
            assert everything_of(copied)[:2] == everything_of(made)[:2]
            assert copied == made
        assert everything_of(made.model_copy(update={"step_number": 7})) == everything_of(
            validated.model_copy(update={"step_number": 7})
        )
        with pytest.raises(ValidationError):
            made.step_number = 8  # type: ignore[misc]  # it is refused, that is the point


def test_built_models_share_nothing_that_changes() -> None:
    """What a caller does to one checkpoint's inner sets and dicts is refused, or no other one sees it."""
    rows = [(1, 10, None), (2, 20, None)]
    metrics = [(1, 1, 0.5, None), (2, 1, 0.1, None), (1, 2, 0.5, None), (2, 2, 0.1, None)]
    one, other = checkpoints_from(rows, metrics, NAMES)
    for changed in (one, one.metrics):
        with pytest.raises(TypeError, match="model_copy"):
            changed.model_fields_set.add("changed")
        own = changed.model_copy(update={"changed": 1.0})
        own.model_fields_set.add("also")
        assert own.model_fields_set == changed.model_fields_set | {"changed", "also"}
    unknown, undeclared = one.model_extra, one.metrics.model_extra
    assert unknown is not None
    assert undeclared is not None
    with pytest.raises(TypeError, match="model_copy"):
        unknown["changed"] = 1.0
    undeclared["learning_rate"] = 1.0
    assert other == CheckpointOut(
        metrics=MetricOut.model_validate({"train_loss": 0.5, "learning_rate": 0.1}),
        step_number=2,
        created_at=20,
    )
    assert other.model_fields_set == {"metrics", "step_number", "created_at"}
    assert other.metrics.model_fields_set == {"train_loss", "learning_rate"}


@pytest.mark.parametrize(
    ("row", "metric", "names"),
    [
        ((-1, 10, None), (1, -1, 0.5, None), NAMES),
        ((1.5, 10, None), (1, 1.5, 0.5, None), NAMES),
        ((1, -10, None), (1, 1, 0.5, None), NAMES),
        ((1, 253_402_300_800, None), (1, 1, 0.5, None), NAMES),
        ((1, "10", None), (1, 1, 0.5, None), NAMES),
        ((1, 10, None), (1, 1, "0.5", None), NAMES),
        ((1, 10, None), (1, 1, b"", None), NAMES),
        ((1, 10, None), (1, 1, 0.5, 7), NAMES),
        ((1, 10, None), (1, 1, 0.5, None), {1: "a\nb"}),
        ((1, 10, None), (3, 1, 0.5, None), NAMES),
        ((1, 10, "{"), (1, 1, 0.5, None), NAMES),
    ],
)
def test_damaged_rows_are_told(row: Any, metric: Any, names: dict[int, str]) -> None:
    """What no validation would let through does not come back as a checkpoint."""
    with pytest.raises(DatabaseDamaged):
        checkpoints_from([row], [metric], names)


def test_collector_is_quiet_for_one_window() -> None:
    """It is off inside and on afterwards, also after an error; a thread beside does not prolong that."""
    assert gc.isenabled()
    seen = []

    def fail() -> None:
        with quiet_collector():
            seen.append(gc.isenabled())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert gc.isenabled()

    def beside() -> None:
        with quiet_collector():
            seen.append(gc.isenabled())

    with quiet_collector():
        thread = threading.Thread(target=beside)
        thread.start()
        thread.join(10)
        assert seen == [False, False]
        assert not gc.isenabled()
    assert gc.isenabled()


def test_collector_stays_off_where_it_was_off() -> None:
    """A program that does without the collector does not get it back."""
    gc.disable()
    try:
        with quiet_collector():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
