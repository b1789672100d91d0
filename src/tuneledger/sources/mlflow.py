"""MLflow's runs, from the rows of its tracking database or the files of an ``mlruns`` folder.

A pure function of rows: who opens the database or the folder hands them on. Metrics have a millisecond
each; a checkpoint has the second of the latest, and keeps the milliseconds beside it. MLflow stores
infinities as the largest doubles and, in a database, NaN as 0.0 with a flag; both come back as what they
stand for.
"""

from __future__ import annotations

import json
import math
import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tuneledger.errors import InvalidPayload
from tuneledger.models import Job, validated
from tuneledger.sources.steps import checkpoints_of_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["PROVIDER", "Run", "finite_or_not", "flat_yaml", "job", "metric_line"]

PROVIDER = "mlflow"

_STATUSES = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
"""What the numbers in a run's meta.yaml mean."""
_MILLISECONDS = 1000
_FIELDS_OF_LINE = 3
"""The first releases wrote no step."""
_INTEGER = re.compile(r"-?\d+")


@dataclass(slots=True)
class Run:
    """A run as rows."""

    fields: Mapping[str, Any]
    """The row of ``runs``, or what meta.yaml says."""
    metrics: Iterable[tuple[str, float, int, int]]
    """(name, value, UNIX milliseconds, step), in the order they were logged."""
    params: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, Any] = field(default_factory=dict)
    experiment: str | None = None


def job(run: Run, *, source: str, job_id: str | None = None) -> Job:
    """Make a job of a run. Raises `InvalidPayload`."""
    run_id = run.fields.get("run_uuid") or run.fields.get("run_id")
    steps: list[int] = []
    rows: list[dict[str, Any]] = []
    times: list[int] = []
    stamps: dict[int, dict[str, int]] = {}
    for name, value, stamp, step in run.metrics:
        steps.append(step)
        rows.append({name: value})
        times.append(stamp // _MILLISECONDS)
        stamps.setdefault(step, {})[name] = stamp
    checkpoints = checkpoints_of_rows(steps, rows, times)
    for checkpoint in checkpoints:
        at_step = stamps[checkpoint["step_number"]]
        checkpoint["timestamps_ms"] = at_step
        checkpoint["created_at"] = max(at_step.values()) // _MILLISECONDS
    started, ended = run.fields.get("start_time"), run.fields.get("end_time")
    status = run.fields.get("status")
    given = {
        "job_id": run_id if job_id is None else job_id,
        "provider": PROVIDER,
        "status": _STATUSES.get(status, status) if isinstance(status, int) else status,
        "created_at": _second(started) or 0,
        "revision": max((ended or started or 0, *(max(at_step.values()) for at_step in stamps.values()))),
        "finished_at": _second(ended),
        "document": {
            "run": dict(run.fields),
            "experiment": run.experiment,
            "params": dict(run.params),
            "tags": dict(run.tags),
        },
        "checkpoints": checkpoints,
    }
    return validated(Job, given, source=source, position=f"run {run_id}")


def _second(milliseconds: int | None) -> int | None:
    return None if milliseconds is None else milliseconds // _MILLISECONDS


def finite_or_not(value: float, *, is_nan: bool = False) -> float:
    """Give the value that a stored one stands for."""
    if is_nan:
        return math.nan
    if abs(value) == sys.float_info.max:
        return math.copysign(math.inf, value)
    return value


def metric_line(line: str, *, source: str) -> tuple[float, int, int]:
    """Read a line of a metric's file: (value, UNIX milliseconds, step). Raises `InvalidPayload`."""
    parts = line.split()
    try:
        stamp, value, step = parts if len(parts) == _FIELDS_OF_LINE else (*parts, "0")
        return finite_or_not(float(value)), int(stamp), int(step)
    except ValueError:
        raise InvalidPayload(
            source=source, reason=f"not a line of MLflow's (time, value, step): {line!r}"
        ) from None


def flat_yaml(text: str, *, source: str) -> dict[str, Any]:
    """Read a meta.yaml of MLflow's: names with numbers, text, null or an empty list, nothing nested.

    Raises `InvalidPayload` for anything else.
    """
    joined = re.sub(r"\n[ \t]+", " ", text)  # long text goes on in indented lines
    values: dict[str, Any] = {}
    for line in joined.splitlines():
        name, colon, value = line.partition(":")
        if not colon or not re.fullmatch(r"\w+", name) or (value and not value.startswith(" ")):
            raise InvalidPayload(source=source, reason=f"not a line of MLflow's meta.yaml: {line!r}")
        values[name] = _scalar(value.strip(), source)
    return values


def _scalar(text: str, source: str) -> Any:
    if text in {"", "null", "~"}:
        return None
    if text in {"[]", "{}"}:
        return json.loads(text)
    if _INTEGER.fullmatch(text):
        return int(text)
    if text[0] == "'" and text[-1] == "'" and len(text) > 1:
        return text[1:-1].replace("''", "'")
    if text[0] == '"':
        try:
            return str(json.loads(text))
        except ValueError:
            raise InvalidPayload(source=source, reason=f"text that is not understood: {text!r}") from None
    return text
