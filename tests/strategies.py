"""Hypothesis' strategies for what an archive holds: jobs, checkpoints, payloads as providers send them."""

import math
from typing import Any

from hypothesis import strategies as st

from tuneledger.models import LAST_SECOND, NOT_EVALUATED, CheckpointOut, Job, validated

# Every character an archive takes in a name; few enough that names meet each other.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6)
SECONDS = st.integers(0, 5) | st.integers(0, LAST_SECOND)
STEPS = st.integers(0, 12) | st.integers(0, 2**63 - 1)
DOUBLES = st.sampled_from([0.0, -0.0, 0.1, 16777217.0, 5e-324, math.nan, math.inf, -math.inf]) | st.floats()
BIG = st.integers(-(2**70), 2**70)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | BIG | DOUBLES | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
METRIC_NAMES = (
    st.sampled_from(["train_loss", "valid_loss", "valid_mean_token_accuracy", "loss", "eval_loss"]) | NAMES
)
_DECLARED = frozenset(["train_loss", "valid_loss", "valid_mean_token_accuracy"])


def _metric(name: str) -> st.SearchStrategy[Any]:
    number = st.none() | DOUBLES | st.just(NOT_EVALUATED) | BIG
    return number if name in _DECLARED else number | JSON


@st.composite
def metrics(draw: st.DrawFn) -> dict[str, Any]:
    """Metrics as a payload holds them."""
    names = draw(st.lists(METRIC_NAMES, unique=True, max_size=5))
    return {name: draw(_metric(name)) for name in names}


def unknown_fields(*known: str) -> st.SearchStrategy[dict[str, Any]]:
    """Fields that no model declares."""
    return st.dictionaries(TEXT.filter(lambda name: name not in known), JSON, max_size=2)


@st.composite
def checkpoint_payloads(draw: st.DrawFn, steps: st.SearchStrategy[int] = STEPS) -> dict[str, Any]:
    """A checkpoint as a provider could send it."""
    known = {"metrics": draw(metrics()), "step_number": draw(steps), "created_at": draw(SECONDS)}
    return known | draw(unknown_fields(*known))


def checkpoints(steps: st.SearchStrategy[int] = STEPS) -> st.SearchStrategy[CheckpointOut]:
    """Checkpoints of any content."""
    return checkpoint_payloads(steps).map(lambda payload: validated(CheckpointOut, payload))


@st.composite
def event_payloads(draw: st.DrawFn) -> dict[str, Any]:
    """An event as a provider could send it; drawn from few, so that equal ones meet."""
    event: dict[str, Any] = {
        "name": draw(st.sampled_from(["a", "b"]) | NAMES),
        "created_at": draw(SECONDS),
    }
    if draw(st.booleans()):
        event["data"] = draw(st.none() | JSON)
    return event | draw(unknown_fields("name", "created_at", "data"))


@st.composite
def job_payloads(draw: st.DrawFn, job_ids: st.SearchStrategy[str] = NAMES) -> dict[str, Any]:
    """The fields of a `Job`, some of them absent or null."""
    payload: dict[str, Any] = {"job_id": draw(job_ids), "provider": draw(NAMES)}
    for name, values in {
        "model": NAMES,
        "status": st.sampled_from(["RUNNING", "SUCCESS"]) | NAMES,
        "finished_at": SECONDS,
        "fine_tuned_model": NAMES,
        "trained_tokens": st.integers(0, 2**63 - 1),
        "cost": st.floats(allow_nan=False, allow_infinity=False),
        "cost_currency": NAMES,
    }.items():
        if draw(st.booleans()):
            payload[name] = draw(st.none() | values)
    payload["created_at"] = draw(SECONDS)
    payload["revision"] = draw(st.integers(0, 3) | st.integers(0, 2**63 - 1))
    payload["document"] = draw(st.dictionaries(TEXT, JSON, max_size=3))
    events = draw(st.lists(event_payloads(), max_size=3))
    repeat = draw(st.booleans())
    events += events[:1] if repeat else []
    payload["events"] = events
    payload["checkpoints"] = draw(
        st.lists(checkpoint_payloads(), max_size=4, unique_by=lambda checkpoint: checkpoint["step_number"])
    )
    return payload


def jobs(job_ids: st.SearchStrategy[str] = NAMES) -> st.SearchStrategy[Job]:
    """Jobs of any content."""
    return job_payloads(job_ids).map(lambda payload: validated(Job, payload))
