"""``archive``: files into the archive."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneledger.cli import exit_codes
from tuneledger.cli.choosing import log, open_archive
from tuneledger.cli.copying import copy_value, told
from tuneledger.cli.options import AsJson, ConflictMode, Db, Schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tuneledger.repository import SaveReport
    from tuneledger.sync import Outcome

app = typer.Typer()

_CHANGES_SHOWN = 5


@app.command()
def archive(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Files, folders, patterns, or - for standard input."),
    ],
    *,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="What the inputs are, where their content does not tell; others in a folder are skipped. "
            "An unknown NAME lists those there are.",
        ),
    ] = None,
    job_id: Annotated[
        str | None,
        typer.Option("--job-id", metavar="ID", help="The job of an input that does not name it."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--map",
            metavar="KEY=COLUMN,...",
            help="What the columns of any other table are: step=… (required), created_at=…, job_id=…, "
            "metric.NAME=…, and in JSON rows=… and metrics=….",
        ),
    ] = None,
    on_conflict: Annotated[
        ConflictMode,
        typer.Option(
            help="Where a stored value differs: the newer payload's value (merge), the stored one (keep), "
            "a refusal (error); replace makes the job exactly the input.",
        ),
    ] = "merge",
    max_bytes: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="The largest input, or job in a list, that is read; 256 MiB if not given.",
        ),
    ] = None,
    max_values: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="The most values in one input, 20 million if not given."),
    ] = None,
    watch: Annotated[
        float | None,
        typer.Option(
            min=0.1, metavar="SECONDS", help="Look again that often and add what grew, until Ctrl-C."
        ),
    ] = None,
    db: Db = None,
    schema: Schema = None,
    as_json: AsJson = False,
) -> None:
    """Archive fine-tuning records: what is new is added, what is known is compared.

    Each job is saved whole or not at all; a refused input does not keep the others from being archived.
    """
    from tuneledger.cli import presenting
    from tuneledger.errors import DatabaseError
    from tuneledger.sources import columns_from
    from tuneledger.sync import MAX_BYTES, MAX_VALUES, archive_paths, watch_paths

    counts: Counter[str] = Counter()

    with open_archive(db, schema, note=not as_json, write=True) as opened, _progress() as advance:
        tell_of_watch(watch)

        def outcomes() -> Iterator[Outcome]:
            options: dict[str, Any] = {
                "format_name": format_name,
                "job_id": job_id,
                "columns": columns_from(columns) if columns else None,
                "on_conflict": on_conflict,
                "max_bytes": max_bytes or MAX_BYTES,
                "max_values": max_values or MAX_VALUES,
            }
            found = (
                archive_paths(opened, paths, **options)
                if watch is None
                else watch_paths(opened, paths, every_seconds=watch, **options)
            )
            for outcome in found:
                advance(outcome.name)
                _warn_of_cut(outcome)
                counts["skipped" if outcome.skipped else "refused" if outcome.error else "archived"] += 1
                counts["away"] += isinstance(outcome.error, DatabaseError)
                yield outcome
                if watch is not None:
                    sys.stdout.flush()  # a pipe's reader would wait for kilobytes

        if as_json:
            with presenting.printing_json_list("inputs", endless=watch is not None) as (add, _):
                for outcome in outcomes():
                    add(outcome_value(outcome))
        else:
            for outcome in outcomes():
                if not outcome.skipped:
                    print_outcome(outcome, on_conflict)
    _end(counts)


def _end(counts: Counter[str]) -> None:
    """Say what was passed over, and exit with the code that the inputs ask for."""
    from tuneledger.cli.presenting import counted

    if counts["skipped"]:
        skipped = counted(counts["skipped"], "file")
        log.info("skipped %s of no known format (--verbose names them)", skipped)
    if not counts["archived"] and not counts["refused"]:
        log.error("nothing was archived: no file of a known format")
    if counts["refused"] or not counts["archived"]:
        raise typer.Exit(exit_codes.DATABASE if counts["away"] else exit_codes.REFUSED)


def tell_of_watch(every_seconds: float | None) -> None:
    if every_seconds is not None:
        log.info("looking again every %g s; Ctrl-C ends it", every_seconds)


def _warn_of_cut(outcome: Outcome) -> None:
    """Name what was skipped but begins like a record: more likely it was cut than it is something else."""
    from tuneledger.errors import InvalidPayload

    error = outcome.error
    if outcome.skipped and isinstance(error, InvalidPayload) and error.position:
        log.warning("skipped %s: %s: %s", error.source, error.position, error.reason)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show on a terminal how far it is; give what to call with the name of each input that is done."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    console = Console(stderr=True)
    with Progress(
        SpinnerColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    ) as progress:
        task = progress.add_task("", total=None)
        yield lambda name: progress.update(task, advance=1, description=Text(name).plain)


def print_outcome(outcome: Outcome, on_conflict: ConflictMode = "merge") -> None:
    from tuneledger.cli.presenting import counted, print_line, printable
    from tuneledger.errors import Conflict, DatabaseError

    if outcome.copied is not None:
        print_line(f"{printable(outcome.name)}: parquet: {told(outcome.copied)}")
    elif outcome.reports or outcome.error is None:
        summary = (
            _summary(outcome.reports, on_conflict)
            if outcome.joined_to is None
            else f"with {printable(outcome.joined_to)}"
        )
        print_line(f"{printable(outcome.name)}: {outcome.format}: {summary}")
    changes = [(report.job_id, change) for report in outcome.reports for change in report.changed]
    several = len(outcome.reports) > 1
    for job_id, change in changes[:_CHANGES_SHOWN]:
        place = " ".join(
            part
            for part in (
                f"job {job_id}" if several else "",
                f"step {change.step_number}" if change.step_number is not None else "",
                change.field,
            )
            if part
        )
        print_line(f"  {printable(place)}: {_shown(change.old)} -> {_shown(change.new)}")
    if len(changes) > _CHANGES_SHOWN:
        more = counted(len(changes) - _CHANGES_SHOWN, "more changed value")
        print_line(f"  and {more}; --json gives them all")
    if on_conflict != "keep" and any(map(_tells_another_curve, outcome.reports)):
        log.info("if that is another run, --job-id gives it an id of its own")
    if isinstance(outcome.error, (Conflict, DatabaseError)):  # which know of no input
        log.error("%s: %s", printable(outcome.name), outcome.error)
    elif outcome.error is not None:
        log.error("%s", outcome.error)


def _tells_another_curve(report: SaveReport) -> bool:
    """Tell whether an older input had nothing new to say, but other values of steps that are stored."""
    return not report.wrote and any(change.step_number is not None for change in report.kept)


def _summary(reports: list[SaveReport], on_conflict: ConflictMode) -> str:
    """Say what became of the jobs of one input."""
    from tuneledger.cli.presenting import counted, printable

    if not reports:
        return "no jobs"
    created = sum(report.created for report in reports)
    same = sum(not report.wrote for report in reports)
    if len(reports) == 1:
        told = [
            f"job {printable(reports[0].job_id)}",
            "new" if created else "unchanged" if same else "updated",
        ]
    else:
        counts = ((created, "new"), (len(reports) - created - same, "updated"), (same, "unchanged"))
        told = [counted(len(reports), "job"), *(f"{count} {what}" for count, what in counts if count)]
    why_kept = "differs" if on_conflict == "keep" else "is older"
    done = (
        (sum(report.added for report in reports), "checkpoint", "added"),
        (sum(len(report.changed) for report in reports), "value", "changed"),
        (sum(len(report.kept) for report in reports), "stored value", f"kept where this input {why_kept}"),
        (sum(report.removed for report in reports), "checkpoint", "removed"),
        (sum(report.events_added for report in reports), "event", "added"),
        (sum(report.events_removed for report in reports), "event", "removed"),
    )
    return ", ".join([*told, *(f"{counted(count, thing)} {what}" for count, thing, what in done if count)])


def _shown(value: Any) -> str:
    from tuneledger import json_text
    from tuneledger.cli.presenting import number, printable
    from tuneledger.errors import shortened
    from tuneledger.repository import ABSENT

    if value is ABSENT:
        return "absent"
    if isinstance(value, float):
        return number(value)
    return shortened(printable(json_text.canonical(value)), 60)


def outcome_value(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.name,
        "format": outcome.format,
        "skipped": outcome.skipped,
        "joined_to": outcome.joined_to,
        "error": None if outcome.error is None else str(outcome.error),
        **({} if outcome.copied is None else {"copied": copy_value(outcome.copied)}),
        "jobs": [_report_value(report) for report in outcome.reports],
    }


def _report_value(report: SaveReport) -> dict[str, Any]:
    from dataclasses import asdict

    from tuneledger.repository import ABSENT

    value = asdict(report)
    for name in ("changed", "kept"):
        for change in value[name]:
            # Absent is told from null by the key's absence.
            for side in ("old", "new"):
                if change[side] is ABSENT:
                    del change[side]
    return value
