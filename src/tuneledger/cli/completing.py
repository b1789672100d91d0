"""What the shell completes out of the archive: ids of jobs, and names of their metrics.

Whatever goes wrong there completes nothing: no message belongs between the keys somebody presses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import typer

from tuneledger.cli.choosing import open_archive
from tuneledger.errors import AmbiguousJob, TuneledgerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuneledger.repository import CheckpointRepository

__all__ = ["job_ids", "jobs_and_metrics", "metric_names"]

_MOST: Final = 50


def job_ids(context: typer.Context, incomplete: str) -> list[str]:
    """Give ids that begin so, some of them where there are many; of no letter yet, the newest jobs'."""

    def beginning_so(repository: CheckpointRepository) -> list[str]:
        if not incomplete:
            return [job.job_id for job in repository.jobs(limit=_MOST).jobs]
        try:
            return [repository.job_id(incomplete)]
        except AmbiguousJob as error:
            return list(error.candidates)

    return _asked(context, beginning_so)


def metric_names(context: typer.Context, incomplete: str) -> list[str]:
    """Give the metrics of the jobs named before that begin so."""
    # Where an option waits for its value nothing was parsed, and the words before it stand in `args`.
    words = [*(context.params.get("jobs") or ()), context.params.get("job"), *context.args]
    return _metrics_of(context, words, incomplete)


def jobs_and_metrics(context: typer.Context, incomplete: str) -> list[str]:
    """Give what may follow jobs where a metric comes last: another job, or a metric of those named before."""
    # The last word so far was parsed as the metric.
    words = [*(context.params.get("jobs") or ()), context.params.get("metric")]
    return [*job_ids(context, incomplete), *_metrics_of(context, words, incomplete)]


def _metrics_of(context: typer.Context, words: list[str | None], incomplete: str) -> list[str]:
    def of_jobs(repository: CheckpointRepository) -> list[str]:
        found = {name for job in words if job for name in repository.metric_names(repository.job_id(job))}
        return sorted(name for name in found if name.startswith(incomplete))

    return _asked(context, of_jobs)


def _asked(context: typer.Context, question: Callable[[CheckpointRepository], list[str]]) -> list[str]:
    try:
        with (
            open_archive(context.params.get("db"), context.params.get("schema"), note=False) as archive,
            archive.read() as repository,
        ):
            return question(repository)
    except (TuneledgerError, OSError):
        return []
