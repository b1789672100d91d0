"""What the dashboard asks the archive: one short transaction a view, its answers bounded."""

from __future__ import annotations

import csv
import io
import math
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tuneledger.errors import JobNotFound
from tuneledger.models import CANONICAL_METRIC_NAMES
from tuneledger.pictures import POINTS, numbers
from tuneledger.spreadsheets import marked_as_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuneledger.archive import Archive
    from tuneledger.models import CheckpointOut
    from tuneledger.repository import JobSummary, Series

__all__ = [
    "MOST_CURVES",
    "MOST_JOBS",
    "Choice",
    "Comparison",
    "checkpoints",
    "compared",
    "download",
    "jobs",
    "sorted_by",
]

MOST_JOBS: Final = 1_000
MOST_CURVES: Final = 50
_MOST_CHECKPOINTS: Final = 200
_MOST_POINTS: Final = 10_000
"""Of all curves together: what a browser draws at once without a pause."""


@dataclass(slots=True)
class Choice:
    """What somebody chose to see."""

    job_ids: list[str] = field(default_factory=list)
    metric: str | None = None
    first_step: int | None = None
    last_step: int | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The chosen jobs by the chosen metric."""

    job_ids: list[str]
    """Those of the chosen jobs that there are, `MOST_CURVES` at most."""
    metrics: list[str]
    """What the jobs report, by the names that these stand for."""
    metric: str | None
    """The chosen one, or the first of the metrics where none was chosen that they report."""
    curves: dict[str, Series]
    best: list[dict[str, Any]]
    """A row a job: its last, lowest and highest number in the range, with their steps."""


def jobs(archive: Archive) -> list[JobSummary]:
    """Give the newest jobs, `MOST_JOBS` at most."""
    with archive.read() as repository:
        return repository.jobs(limit=MOST_JOBS).jobs


def compared(archive: Archive, choice: Choice) -> Comparison:
    """Give the curves that were chosen, thinned out in SQL; jobs that are gone are left out."""
    with archive.read() as repository:
        names: dict[str, list[str]] = {}
        for job_id in choice.job_ids[:MOST_CURVES]:
            with suppress(JobNotFound):
                names[job_id] = repository.metric_names(job_id)
        ids = list(names)
        metrics = sorted(
            {CANONICAL_METRIC_NAMES.get(name, name) for found in names.values() for name in found}
        )
        metric = choice.metric if choice.metric in metrics else next(iter(_preferred(metrics)), None)
        points = min(POINTS, _MOST_POINTS // max(1, len(ids)))
        curves = (
            repository.series(
                ids, metric, first_step=choice.first_step, last_step=choice.last_step, points=points
            )
            if metric
            else {}
        )
    return Comparison(ids, metrics, metric, curves, [_summary(series) for series in curves.values()])


def _preferred(metrics: Sequence[str]) -> list[str]:
    return sorted(metrics, key=lambda name: (name != "valid_loss", name != "train_loss", name))


def sorted_by(column: str) -> str:
    """Give the key of the number by which a column of texts is sorted; None, or no such key, comes first."""
    return f"by {column}"


def _summary(series: Series) -> dict[str, Any]:
    steps, values = numbers(series)
    row: dict[str, Any] = {"job": series.job_id, "name": series.metric}
    if steps:
        low, high = min(values), max(values)
        row |= {"last_step": steps[-1], "lowest_step": steps[values.index(low)]}
        row |= {"highest_step": steps[values.index(high)]}
        for name, value in (("last", values[-1]), ("lowest", low), ("highest", high)):
            row |= {name: _shown(value), sorted_by(name): value}
    return row


def checkpoints(archive: Archive, choice: Choice) -> tuple[list[str], list[dict[str, Any]]]:
    """Give the names of a job's metrics and its newest checkpoints in the range, as rows of text and numbers.

    The job is the first that was chosen; without one there are none.
    """
    if not choice.job_ids:
        return [], []
    with archive.read() as repository:
        names = repository.metric_names(choice.job_ids[0])
        found = repository.stream_checkpoints(
            choice.job_ids[0], first_step=choice.first_step, last_step=choice.last_step, newest_first=True
        )
        return names, [
            _row(checkpoint) for checkpoint, _ in zip(found, range(_MOST_CHECKPOINTS), strict=False)
        ]


def _row(checkpoint: CheckpointOut) -> dict[str, Any]:
    values = checkpoint.metrics.named_values()
    row: dict[str, Any] = {"step": checkpoint.step_number, "time": checkpoint.created_at}
    for name, value in values.items():
        row |= {f"metric {name}": _shown(value), sorted_by(f"metric {name}"): _number(value)}
    return row


def _number(value: object) -> float | None:
    # JSON has no NaN.
    return value if type(value) is float and math.isfinite(value) else None


def _shown(value: object) -> str:
    return f"{value:.6g}" if type(value) is float else "" if value is None else str(value)


def download(archive: Archive, choice: Choice) -> bytes:
    """Give all checkpoints of the first chosen job in the range as CSV."""
    with archive.read() as repository:
        names = repository.metric_names(choice.job_ids[0])
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["step_number", "created_at", *map(marked_as_text, names)])
        for checkpoint in repository.stream_checkpoints(
            choice.job_ids[0], first_step=choice.first_step, last_step=choice.last_step
        ):
            values = checkpoint.metrics.named_values()
            cells = [repr(value) if type(value) is float else "" for value in map(values.get, names)]
            writer.writerow([checkpoint.step_number, checkpoint.created_at, *cells])
    return text.getvalue().encode()
