"""``copy``: from one archive to another."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from tuneledger.cli import exit_codes
from tuneledger.cli.choosing import existing, location, log
from tuneledger.cli.options import (
    AsJson,
    ConflictMode,
    CreatedFrom,
    CreatedTo,
    Model,
    Provider,
    Status,
    named_job,
    unix_seconds,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tuneledger.copying import CopyReport

__all__ = ["app", "copy_value", "told"]

app = typer.Typer()


@app.command()
def copy(
    source: Annotated[
        str, typer.Argument(metavar="FROM", help="An archive: an SQLite file or postgresql://….")
    ],
    target: Annotated[
        str, typer.Argument(metavar="TO", help="Another; an SQLite file that is not there is made.")
    ],
    *,
    jobs: Annotated[
        list[str] | None,
        typer.Option(
            "--job", metavar="JOB", help="Only this one, by its id or a unique beginning; repeatable."
        ),
    ] = None,
    provider: Provider = None,
    model: Model = None,
    status: Status = None,
    created_from: CreatedFrom = None,
    created_to: CreatedTo = None,
    on_conflict: Annotated[
        ConflictMode,
        typer.Option(help="Where TO holds a job with other content: as `archive` does."),
    ] = "merge",
    prove: Annotated[
        bool, typer.Option("--prove/--no-prove", help="Compute every digest again from what TO then holds.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Copy jobs from one archive to another, with all that belongs to them, exactly.

    Labels and inputs add up where TO holds the job; `--on-conflict replace` alone takes any away.
    Stopped in whatever way, it goes on when it is started again. A URL names a schema by ?schema=NAME.
    """
    from tuneledger.archive import Archive
    from tuneledger.cli import presenting
    from tuneledger.copying import copy_jobs

    with (
        Archive(existing(location(source, None, note=False)), read_only=True) as there,
        Archive(location(target, None, note=False)) as here,
        _progress() as advance,
    ):
        if jobs is not None:
            with there.read() as repository:
                jobs = [named_job(repository, job) for job in jobs]
        report = copy_jobs(
            there,
            here,
            on_conflict=on_conflict,
            job_ids=jobs,
            prove=prove,
            progress=advance,
            provider=provider,
            model=model,
            status=status,
            created_from=unix_seconds(created_from),
            created_to=unix_seconds(created_to, end=True),
        )
    if as_json:
        presenting.print_json(copy_value(report))
    else:
        presenting.print_line(told(report))
    for refusal in report.refused:
        log.error("%s", refusal)
    for job_id in report.unproved:
        log.error("job %r does not fit its digest in %s; `tuneledger verify` tells where", job_id, target)
    if report.refused or report.unproved:
        raise typer.Exit(exit_codes.REFUSED)


def copy_value(report: CopyReport) -> dict[str, object]:
    """Give what a copy did, for JSON."""
    return {
        "copied": report.copied,
        "unchanged": report.unchanged,
        "annotated": report.annotated,
        "merged": report.merged,
        "refused": [str(refusal) for refusal in report.refused],
        "proved": report.proved,
        "unproved": report.unproved,
    }


def told(report: CopyReport) -> str:
    """Say what a copy did."""
    from tuneledger.cli.presenting import counted

    copied = counted(report.copied, "job")
    told = f"copied {copied}, merged {report.merged}, found {report.unchanged} there already"
    if report.annotated:
        told += f" ({report.annotated} of them got labels or inputs)"
    return f"{told}; the digests of {report.proved} fit" if report.proved else told


@contextmanager
def _progress() -> Iterator[Callable[[CopyReport], None]]:
    """Show on a terminal how far it is."""
    import sys

    if not sys.stderr.isatty():
        yield lambda _report: None
        return
    from rich.console import Console

    with Console(stderr=True).status("copying") as shown:
        yield lambda report: shown.update(
            f"copied {report.copied} jobs, about {report.rows} rows; proved {report.proved}"
        )
