"""``label``, ``pin`` and ``prune``: what is kept, and what goes."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Annotated

import typer

from tuneledger.cli import exit_codes
from tuneledger.cli.choosing import log, open_archive
from tuneledger.cli.options import (
    AsJson,
    Db,
    JobName,
    JobNames,
    Model,
    Provider,
    Schema,
    Status,
    Yes,
    confirmed,
    named_job,
    unix_seconds,
)
from tuneledger.errors import InvalidArgument

if TYPE_CHECKING:
    from tuneledger.pruning import PruneReport
    from tuneledger.repository import CheckpointRepository, Goal

app = typer.Typer()

_SECONDS_A_DAY = 86_400


@app.command()
def label(
    job: JobName,
    *,
    add: Annotated[
        list[str] | None, typer.Option("--add", metavar="LABEL", help="Put it on; repeatable.")
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="LABEL", help="Take it off; repeatable.")
    ] = None,
    db: Db = None,
    schema: Schema = None,
) -> None:
    """Put labels on a job, take them off, and list those that it has."""
    from tuneledger.cli.presenting import print_line, printable

    with open_archive(db, schema, write=bool(add or remove)) as archive:
        if add or remove:
            found = archive.transact(
                "label a job",
                lambda repository: repository.label(
                    named_job(repository, job), add=add or (), remove=remove or ()
                ),
            )
        else:
            with archive.read() as repository:
                found = repository.labels(named_job(repository, job))
    for name in found:
        print_line(printable(name))
    if not found:
        log.info("no labels")


@app.command()
def pin(
    jobs: JobNames,
    *,
    undo: Annotated[bool, typer.Option("--undo", help="Let them be pruned again.")] = False,
    db: Db = None,
    schema: Schema = None,
) -> None:
    """Pin jobs: `prune` leaves them whole. A pin is the label `pinned`."""
    from tuneledger.repository import PINNED

    def labelled(repository: CheckpointRepository) -> None:
        for job_id in [named_job(repository, job) for job in jobs]:
            repository.label(job_id, add=() if undo else (PINNED,), remove=(PINNED,) if undo else ())

    with open_archive(db, schema, write=True) as archive:
        archive.transact("pin jobs", labelled)


@app.command()
def prune(
    *,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="DAYS|TIME", help="Only jobs created so many days ago (90d), or before then."),
    ] = None,
    provider: Provider = None,
    model: Model = None,
    status: Status = None,
    labelled: Annotated[
        str | None, typer.Option("--label", metavar="LABEL", help="Only jobs that carry this label.")
    ] = None,
    keep_best: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC[:max]",
            help="Keep the jobs, and of each the checkpoint with the lowest (highest) value; repeatable.",
        ),
    ] = None,
    keep_last: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Keep the jobs, and of each the last N checkpoints."),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="FILE", help="Copy them to this archive first, whole and proved."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Yes = False,
    db: Db = None,
    schema: Schema = None,
    as_json: AsJson = False,
) -> None:
    """Delete jobs that are out of date, or all but their best and last checkpoints; pinned ones never.

    A job without a time is of no age. A later sync of a job brings back what its provider still has.
    """
    from tuneledger.cli import presenting
    from tuneledger.pruning import prune as pruned

    filters = {
        "provider": provider,
        "model": model,
        "status": status,
        "label": labelled,
        # 0 stands for no time.
        "created_from": None if older_than is None else 1,
        "created_to": _before(older_than),
    }
    given = {"keep_last": keep_last, "keep_best": [_best(text) for text in keep_best or ()], **filters}
    with open_archive(db, schema, note=not as_json, write=not dry_run) as archive:
        report = pruned(archive, **given, dry_run=True)  # type: ignore[arg-type] # the filters, by name
        if not dry_run and report.checkpoints + report.deleted:
            if not confirmed(f"Go on? This deletes {_told(report)}.", yes=yes):
                log.error("nothing was deleted")
                raise typer.Exit(exit_codes.REFUSED)
            report = pruned(archive, **given, to=to)  # type: ignore[arg-type] # the same
    if as_json:
        presenting.print_json(
            {
                "dry_run": dry_run,
                "deleted": report.deleted,
                "thinned": report.thinned,
                "checkpoints": report.checkpoints,
                "archived": report.archived,
                "changed": report.changed,
            }
        )
    else:
        if report.changed:
            log.warning("%s changed meanwhile and stayed", presenting.counted(report.changed, "job"))
        presenting.print_line(f"{'would delete' if dry_run else 'deleted'} {_told(report)}")


def _told(report: PruneReport) -> str:
    from tuneledger.cli.presenting import counted

    whole = f"{counted(report.deleted, 'job')} with " if report.deleted or not report.thinned else ""
    thinned = f" of {counted(report.thinned, 'job')}" if report.thinned else ""
    return f"{whole}{counted(report.checkpoints, 'checkpoint')}{thinned}"


def _before(text: str | None) -> int | None:
    if text is not None and re.fullmatch(r"\d{1,6}d", text):
        return int(time.time()) - int(text[:-1]) * _SECONDS_A_DAY
    return unix_seconds(text)


def _best(text: str) -> tuple[str, Goal]:
    metric, colon, goal = text.rpartition(":")
    if colon and goal in {"min", "max"}:
        if not metric:
            raise InvalidArgument("--keep-best names a metric, as METRIC or METRIC:max")
        return metric, "max" if goal == "max" else "min"
    return text, "min"
