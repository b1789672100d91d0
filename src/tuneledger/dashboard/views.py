"""What the dashboard asks the archive: one short transaction a view, its answers bounded."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tuneledger.models import CANONICAL_METRIC_NAMES
from tuneledger.pictures import POINTS, numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuneledger.archive import Archive
    from tuneledger.models import CheckpointOut
    from tuneledger.repository import JobSummary, Series

__all__ = ["MOST_JOBS", "Choice", "Comparison", "checkpoints", "compared", "download", "jobs"]

MOST_JOBS: Final = 1_000
_MOST_CHECKPOINTS: Final = 200


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
        there = {job.job_id for job in repository.jobs(limit=MOST_JOBS).jobs}
        ids = [job_id for job_id in choice.job_ids if job_id in there]
        names = {name for job_id in ids for name in repository.metric_names(job_id)}
        metrics = sorted({CANONICAL_METRIC_NAMES.get(name, name) for name in names})
        metric = choice.metric if choice.metric in metrics else next(iter(_preferred(metrics)), None)
        curves = (
            repository.series(
                ids, metric, first_step=choice.first_step, last_step=choice.last_step, points=POINTS
            )
            if metric
            else {}
        )
    return Comparison(metrics, metric, curves, [_summary(series) for series in curves.values()])


def _preferred(metrics: Sequence[str]) -> list[str]:
    return sorted(metrics, key=lambda name: (name != "valid_loss", name != "train_loss", name))


def _summary(series: Series) -> dict[str, Any]:
    steps, values = numbers(series)
    row: dict[str, Any] = {"job": series.job_id, "name": series.metric}
    if steps:
        low, high = min(values), max(values)
        row |= {
            "last": _shown(values[-1]),
            "last_step": steps[-1],
            "lowest": _shown(low),
            "lowest_step": steps[values.index(low)],
            "highest": _shown(high),
            "highest_step": steps[values.index(high)],
        }
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
    shown = {f"metric {name}": _shown(value) for name, value in values.items()}
    return {"step": checkpoint.step_number, "time": checkpoint.created_at, **shown}


def _shown(value: object) -> str:
    return f"{value:.6g}" if type(value) is float else "" if value is None else str(value)


def download(archive: Archive, choice: Choice) -> bytes:
    """Give all checkpoints of the first chosen job in the range as CSV."""
    with archive.read() as repository:
        names = repository.metric_names(choice.job_ids[0])
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        # A spreadsheet would run such a name as a formula.
        safe = [f"'{name}" if name.startswith(("=", "+", "-", "@")) else name for name in names]
        writer.writerow(["step_number", "created_at", *safe])
        for checkpoint in repository.stream_checkpoints(
            choice.job_ids[0], first_step=choice.first_step, last_step=choice.last_step
        ):
            values = checkpoint.metrics.named_values()
            cells = [repr(value) if type(value) is float else "" for value in map(values.get, names)]
            writer.writerow([checkpoint.step_number, checkpoint.created_at, *cells])
    return text.getvalue().encode()
