"""Trackio's runs, from the rows of a project's database: a pure function of rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tuneledger import json_text
from tuneledger.errors import InvalidPayload
from tuneledger.models import Job, validated
from tuneledger.sources.steps import checkpoints_of_rows
from tuneledger.sources.times import unix_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PROVIDER", "job"]

PROVIDER = "trackio"

_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""How Trackio writes what JSON has no number for."""


def job(
    job_id: str,
    rows: Iterable[tuple[str, int, str]],
    *,
    source: str,
    name: str,
    config: str | None = None,
) -> Job:
    """Make a job of a run's rows (ISO time, step, metrics as JSON), in the order they were logged.

    ``config`` is the run's configuration as JSON. Raises `InvalidPayload`.
    """
    steps: list[int] = []
    metrics: list[dict[str, Any]] = []
    times: list[int] = []
    for written_at, step, text in rows:
        values = json_text.parse(text, source=source)
        if not isinstance(values, dict):
            raise InvalidPayload(
                source=source, position=f"run {name!r} step {step}", reason="metrics must be an object"
            )
        steps.append(step)
        times.append(_seconds(written_at, source))
        metrics.append({metric: _value(value) for metric, value in values.items()})
    given = {
        "job_id": job_id,
        "provider": PROVIDER,
        "created_at": min(times, default=0),
        "revision": max(times, default=0),
        "document": {
            "run_name": name,
            "config": None if config is None else json_text.parse(config, source=source),
        },
        "checkpoints": checkpoints_of_rows(steps, metrics, times),
    }
    return validated(Job, given, source=source, position=f"run {name!r}")


def _value(value: Any) -> Any:
    return _WORDS.get(value, value) if isinstance(value, str) else value


def _seconds(written_at: str, source: str) -> int:
    try:
        return unix_seconds(written_at) or 0
    except ValueError as error:
        raise InvalidPayload(source=source, field="timestamp", reason=str(error)) from None
