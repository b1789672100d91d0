"""Options that commands share, and how what they say is read."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tuneledger.cli.choosing import DATABASE_VARIABLE
from tuneledger.cli.completing import job_ids, metric_names
from tuneledger.errors import InvalidArgument, JobNotFound

if TYPE_CHECKING:
    from tuneledger.repository import CheckpointRepository

__all__ = [
    "AsCsv",
    "AsJson",
    "ConflictMode",
    "CreatedFrom",
    "CreatedTo",
    "Db",
    "JobName",
    "JobNames",
    "Metric",
    "Model",
    "Provider",
    "Schema",
    "SomeJobNames",
    "Status",
    "Yes",
    "confirmed",
    "named_job",
    "one_format",
    "unix_seconds",
]

Db = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="URL|PATH",
        help=f"The archive: an SQLite file or postgresql://…; else {DATABASE_VARIABLE}, "
        "else a file in your data folder.",
    ),
]
Schema = Annotated[
    str | None,
    typer.Option(
        "--schema", metavar="NAME", help="The PostgreSQL schema it is in, `tuneledger` if not given."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Comma-separated rows on standard output.")]
Provider = Annotated[str | None, typer.Option(metavar="NAME", help="Only this provider's.")]
Model = Annotated[str | None, typer.Option(metavar="NAME", help="Only of this base model.")]
Status = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Only of this status, spelt as the provider does.")
]
CreatedFrom = Annotated[
    str | None, typer.Option(metavar="TIME", help="Created then or later: a date, or UNIX seconds.")
]
CreatedTo = Annotated[
    str | None, typer.Option(metavar="TIME", help="Created then or earlier; of a date the whole day.")
]
ConflictMode = Literal["merge", "keep", "error", "replace"]
"""The values of `tuneledger.OnConflict`, which would bring SQLAlchemy with it."""
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
JobName = Annotated[
    str,
    typer.Argument(
        metavar="JOB", help="A job's id, its beginning if unique, or a run's path.", autocompletion=job_ids
    ),
]
_JOB_NAMES = typer.Argument(
    metavar="JOB", help="Ids, beginnings that are unique, or runs' paths.", autocompletion=job_ids
)
JobNames = Annotated[list[str], _JOB_NAMES]
SomeJobNames = Annotated[list[str] | None, _JOB_NAMES]
"""Where ``--all`` may stand in their place."""
Metric = Annotated[
    str,
    typer.Argument(
        metavar="METRIC", help="A metric's name, as `show` lists them.", autocompletion=metric_names
    ),
]


def one_format(*, as_json: bool, as_csv: bool) -> None:
    """Raise `InvalidArgument` where both are asked for: standard output carries one."""
    if as_json and as_csv:
        raise InvalidArgument("--json and --csv exclude each other")


def named_job(repository: CheckpointRepository, job: str) -> str:
    """Give the id of the job that is meant: by the id, its beginning, or the path of a run on this machine.

    A run whose records do not name it has its absolute path for an id. Raises as
    `CheckpointRepository.job_id` does, naming jobs that may have been meant.
    """
    with suppress(JobNotFound):
        return repository.job_id(job)
    path = Path(job)
    if not path.is_absolute() and path.exists():
        job = str(path.absolute())
        with suppress(JobNotFound):
            return repository.job_id(job)
    raise JobNotFound(job, _similar(repository, job))


def _similar(repository: CheckpointRepository, job: str) -> tuple[str, ...]:
    """Give ids of jobs that are named almost so, or whose last part is; of the newest jobs."""
    from difflib import get_close_matches

    ids = [found.job_id for found in repository.jobs(limit=_LOOKED_THROUGH).jobs]
    last_parts = {job_id: job_id.rpartition("/")[2] for job_id in ids}
    wanted = job.rstrip("/").rpartition("/")[2]
    exact = [job_id for job_id in ids if last_parts[job_id] == wanted]
    close = set(get_close_matches(wanted, last_parts.values(), n=_MOST_SIMILAR))
    return tuple((exact or [job_id for job_id in ids if last_parts[job_id] in close])[:_MOST_SIMILAR])


_LOOKED_THROUGH = 1_000
_MOST_SIMILAR = 3


def unix_seconds(text: str | None, *, end: bool = False) -> int | None:
    """Read a time: UNIX seconds, or a date or time in ISO 8601, UTC where it names no zone.

    A date alone is its first second, or its last where it is the ``end`` of a range.
    """
    if text is None:
        return None
    from tuneledger.models import LAST_SECOND

    if text.isdecimal():
        if int(text) > LAST_SECOND:
            raise InvalidArgument(f"not a time: {text}; give UNIX seconds, not milliseconds")
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgument(
            f"not a time: {text!r}; give UNIX seconds, 2025-01-31 or 2025-01-31T12:00:00+01:00"
        ) from None
    if end and re.fullmatch(r"[\d-]+", text):
        moment = moment.replace(hour=23, minute=59, second=59)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def confirmed(question: str, *, yes: bool) -> bool:
    """Tell whether to go on: ``--yes``, or the answer of whoever sits at the terminal."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise InvalidArgument("nobody is there to be asked; --yes does it without asking")
    return typer.confirm(question, err=True)
