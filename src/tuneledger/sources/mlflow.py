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
from tuneledger.sources.source import OTHER_JOB
from tuneledger.sources.steps import checkpoints_of_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["PROVIDER", "Run", "finite_or_not", "flat_yaml", "job", "metric_lines"]

PROVIDER = "mlflow"

_STATUSES = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
"""What the numbers in a run's meta.yaml mean."""
_MILLISECONDS = 1000
_LINE = re.compile(
    r"(-?\d{1,19}) ([+-]?(?:\d++(?:\.\d*+)?(?:e[+-]?\d+)?|nan|inf|infinity))(?: (-?\d{1,19})(?: (.+ \S+))?)?",
    re.IGNORECASE | re.ASCII,
)
"""Time, value, step, and since MLflow 3 a data set with its digest; the first releases wrote no step."""
_INTEGER = re.compile(r"-?\d{1,19}")

# A name and its value in YAML, which goes on in indented lines, or up to the closing quote.
_ENTRY = re.compile(
    r"""(?P<name>\w+):
    (?:[ ]+(?:'(?P<single>(?:[^']|'')*+)'
             |"(?P<double>(?:[^"\\]|\\.)*+)"
             |(?P<plain>[^\s'"][^\n]*(?:\n[ ][^\n]*)*)))?
    [ ]*(?:\n|\Z)""",
    re.DOTALL | re.VERBOSE,
)
_FOLD = re.compile(r"[ \t]*+\n(?:[ \t]*+\n)*+[ \t]*+|[ \t]++")
"""Line ends with the blanks around them; other blanks too, or they were looked at again from each of them."""
_ESCAPE_OR_FOLD = re.compile(
    rf"\\(?P<escape>\n[ \t]*|x[0-9a-fA-F]{{2}}|u[0-9a-fA-F]{{4}}|U[0-9a-fA-F]{{8}}|.)|{_FOLD.pattern}",
    re.DOTALL,
)
_ESCAPES = {
    "0": "\0", "a": "\a", "b": "\b", "t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "e": "\x1b",
    " ": " ", '"': '"', "/": "/", "\\": "\\", "N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029",
}  # fmt: skip
_OTHER_KINDS = "[]{}|>&*!%@`#,"
"""What begins no plain text in YAML, but a list, an object or something else that MLflow does not write."""


@dataclass(slots=True)
class Run:
    """A run as rows."""

    fields: Mapping[str, Any]
    """The row of ``runs``, or what meta.yaml says."""
    metrics: Iterable[tuple[str, float, int, int, str | None]]
    """(name, value, UNIX milliseconds, step, the data set it was measured on, if that is told), in the order
    they were logged."""
    params: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, Any] = field(default_factory=dict)
    experiment: str | None = None


def job(run: Run, *, source: str, job_id: str | None = None) -> Job:
    """Make a job of a run. Raises `InvalidPayload`, also for one of another id than ``job_id``."""
    run_id = run.fields.get("run_uuid") or run.fields.get("run_id")
    if job_id not in {None, run_id}:
        raise InvalidPayload(source=source, position=f"run {run_id}", reason=OTHER_JOB)
    steps: list[int] = []
    rows: list[dict[str, Any]] = []
    times: list[int] = []
    stamps: dict[int, dict[str, int]] = {}
    data_sets: dict[int, dict[str, str]] = {}
    for name, value, stamp, step, data_set in run.metrics:
        steps.append(step)
        rows.append({name: value})
        times.append(stamp // _MILLISECONDS)
        stamps.setdefault(step, {})[name] = stamp
        if data_set is not None:
            data_sets.setdefault(step, {})[name] = data_set
    checkpoints = checkpoints_of_rows(steps, rows, times)
    for checkpoint in checkpoints:
        at_step = stamps[checkpoint["step_number"]]
        checkpoint["timestamps_ms"] = at_step
        if checkpoint["step_number"] in data_sets:
            checkpoint["data_sets"] = data_sets[checkpoint["step_number"]]
        checkpoint["created_at"] = max(at_step.values()) // _MILLISECONDS
    started, ended = run.fields.get("start_time"), run.fields.get("end_time")
    status = run.fields.get("status")
    given = {
        "job_id": run_id,
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


def metric_lines(text: str, *, source: str) -> Iterator[tuple[float, int, int, str | None]]:
    """Read a metric's file: (value, UNIX milliseconds, step, data set with its digest).

    MLflow ends each line as it writes it: a last one without an end was cut, and what it says is not what was
    measured. It is left out. Raises `InvalidPayload` with the line for any other that is not MLflow's.
    """
    *lines, _ = text.split("\n")
    for number, line in enumerate(lines, 1):
        found = _LINE.fullmatch(line.rstrip())
        if found is None:
            raise InvalidPayload(
                source=source,
                position=f"line {number}",
                reason=f"not a line of MLflow's (time, value, step): {line!r}",
            )
        yield finite_or_not(float(found[2])), int(found[1]), int(found[3] or 0), found[4]


def flat_yaml(text: str, *, source: str) -> dict[str, Any]:
    """Read a meta.yaml of MLflow's: names with numbers, text, null or an empty list, nothing nested.

    Raises `InvalidPayload` for anything else.
    """
    values: dict[str, Any] = {}
    text, at = text.replace("\r\n", "\n"), 0
    while at < len(text):
        try:
            entry = _entry(text, at)
            values[entry["name"]] = _scalar(entry)
        except (KeyError, ValueError, OverflowError):
            line = text[at:].partition("\n")[0]
            raise InvalidPayload(
                source=source, reason=f"not a line of MLflow's meta.yaml: {line!r}"
            ) from None
        at = entry.end()
    return values


def _entry(text: str, at: int) -> re.Match[str]:
    found = _ENTRY.match(text, at)
    if found is None:
        raise ValueError(text)
    return found


def _scalar(entry: re.Match[str]) -> Any:
    """Give what an entry says. Raises `ValueError`, `KeyError`, `OverflowError` where it is not MLflow's."""
    if entry["single"] is not None:
        return _FOLD.sub(_folded, entry["single"]).replace("''", "'")
    if entry["double"] is not None:
        return _ESCAPE_OR_FOLD.sub(_unescaped, entry["double"])
    text = _FOLD.sub(_folded, (entry["plain"] or "").strip())
    if text in {"", "null", "~"}:
        return None
    if text in {"[]", "{}"}:
        return json.loads(text)
    if text[0] in _OTHER_KINDS:
        raise ValueError(text)
    return int(text) if _INTEGER.fullmatch(text) else text


def _folded(found: re.Match[str]) -> str:
    """Give what a line end stands for in YAML: a space, and of several in a row all but the first."""
    ends = found[0].count("\n")
    return "\n" * (ends - 1) or " " if ends else found[0]


def _unescaped(found: re.Match[str]) -> str:
    escape = found["escape"]
    if escape is None:
        return _folded(found)
    if escape[0] in "xuU":
        return chr(int(escape[1:], 16))
    return "" if escape[0] == "\n" else _ESCAPES[escape]
