"""``show``: one job, everything at a glance."""

from __future__ import annotations

import sys
from dataclasses import asdict
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any, Final

import typer

from tuneledger.cli.choosing import open_archive
from tuneledger.cli.options import AsJson, Db, JobName, Schema, named_job

if TYPE_CHECKING:
    from tuneledger.models import Job
    from tuneledger.repository import CheckpointRepository, InputRecord, SeriesSummary, StateRecord
    from tuneledger.sources import Note

app = typer.Typer()

_CURVE_WIDTH: Final = 40
_ROOMY: Final = 120
"""Columns of a terminal on which a long name, six numbers and a whole curve fit."""
_MOST_LOOKED_THROUGH: Final = 200_000
_POINTS: Final = 2 + 2 * _CURVE_WIDTH  # the ends, and the lowest and highest number at each character


@app.command()
def show(job: JobName, *, db: Db = None, schema: Schema = None, as_json: AsJson = False) -> None:
    """Show a job: its fields, states, metrics with their curves, events, and where it was archived from."""
    with open_archive(db, schema, note=not as_json) as archive, archive.read() as repository:
        job_id = named_job(repository, job)
        found = repository.job_without_checkpoints(job_id)
        count = repository.count_checkpoints(job_id)
        summaries = list(repository.summaries(job_id).values())
        states, inputs = repository.states(job_id), repository.inputs(job_id)
        odd = _notes(repository, found, count)
        if as_json:
            _print_json(found, count, summaries, states, inputs, odd=odd)
            return
        curves = [_curve(repository, job_id, summary.metric) for summary in summaries]
    _print_text(found, count, list(zip(summaries, curves, strict=True)), states, inputs, odd=odd)


def _notes(repository: CheckpointRepository, job: Job, count: int) -> list[Note] | None:
    """Give what is odd about the data; None where looking through it would keep people waiting."""
    from tuneledger.sources import notes

    if count > _MOST_LOOKED_THROUGH:
        return None
    return notes(job.provider, repository.stream_checkpoints(job.job_id))


def _curve(repository: CheckpointRepository, job_id: str, metric: str) -> str:
    from tuneledger.cli.presenting import curve
    from tuneledger.pictures import numbers

    steps, values = numbers(repository.series([job_id], metric, points=_POINTS)[job_id])
    roomy = not sys.stdout.isatty() or get_terminal_size().columns >= _ROOMY
    return curve(steps, values, _CURVE_WIDTH if roomy else _CURVE_WIDTH // 2)


def _print_json(
    job: Job,
    count: int,
    summaries: list[SeriesSummary],
    states: list[StateRecord],
    inputs: list[InputRecord],
    *,
    odd: list[Note] | None,
) -> None:
    from tuneledger.cli.presenting import print_json
    from tuneledger.sources.source import event_object

    print_json(
        {
            **{
                name: getattr(job, name)
                for name in type(job).model_fields
                if name not in {"events", "checkpoints"}
            },
            "checkpoint_count": count,
            "metrics": [asdict(summary) for summary in summaries],
            "states": [asdict(state) for state in states],
            "events": [event_object(event) for event in job.events],
            "inputs": [asdict(record) for record in inputs],
            "notes": None if odd is None else [asdict(note) for note in odd],
        }
    )


def _print_text(
    job: Job,
    count: int,
    summaries: list[tuple[SeriesSummary, str]],
    states: list[StateRecord],
    inputs: list[InputRecord],
    *,
    odd: list[Note] | None,
) -> None:
    from tuneledger.cli.presenting import Column, print_line, print_table, printable, time

    print_line(f"job {printable(job.job_id)}")
    for title, value in _fields(job, count):
        print_line(f"  {title:<18}{printable(value)}")
    if summaries:
        print_line("\nmetrics")
        print_table(
            [
                Column("name"),
                Column("first", right=True, spare=2),
                Column("last", right=True, spare=1),
                Column("lowest", right=True),
                Column("at step", right=True, spare=3),
                Column("highest", right=True),
                Column("at step", right=True, spare=3),
                Column("curve"),
            ],
            (_summary_cells(*summary) for summary in summaries),
            indent=2,
        )
    if odd:
        print_line("\nnotes (nothing was changed for them)")
        for note in odd:
            print_line(f"  {printable(note.text)}")
    if odd is None:
        print_line(f"\nnotes are not looked for in jobs of more than {_MOST_LOOKED_THROUGH} checkpoints")
    if states:
        print_line("\nstates")
        print_table(
            [Column("revision", right=True), Column("status")],
            ([str(state.revision), state.status] for state in states),
            indent=2,
        )
    if job.events:
        print_line("\nevents")
        print_table(
            [Column("created (UTC)"), Column("name"), Column("data")],
            ([time(event.created_at), event.name, _short(event.details())] for event in job.events),
            indent=2,
        )
    if inputs:
        print_line("\narchived from")
        print_table(
            [
                Column("input"),
                Column("format"),
                Column("bytes", right=True, spare=1),
                Column("sha256", spare=1),
                Column("archived (UTC)"),
                Column("by tuneledger", spare=2),
            ],
            (
                [
                    record.name,
                    record.format,
                    str(record.size_bytes),
                    record.sha256[:12],
                    time(record.archived_at),
                    record.tuneledger_version,
                ]
                for record in inputs
            ),
            indent=2,
        )


def _fields(job: Job, count: int) -> list[tuple[str, str]]:
    from tuneledger.cli.presenting import cost, time
    from tuneledger.models import is_final

    fields = (
        ("provider", job.provider),
        ("model", job.model),
        ("status", job.status),
        ("created (UTC)", time(job.created_at)),
        # A job that goes on after a failure keeps the time of its last end.
        ("finished (UTC)" if is_final(job.status) else "last ended (UTC)", time(job.finished_at)),
        ("fine-tuned model", job.fine_tuned_model),
        ("trained tokens", None if job.trained_tokens is None else f"{job.trained_tokens:,}"),
        ("cost", cost(job)),
        ("checkpoints", str(count)),
    )
    return [(title, value) for title, value in fields if value]


def _summary_cells(summary: SeriesSummary, curve: str) -> list[str]:
    from tuneledger.cli.presenting import number

    if not summary.number_count:
        return [summary.metric, *[""] * 6, "no step has a number"]
    return [
        summary.metric,
        number(summary.first_value),
        number(summary.last_value),
        number(summary.min_value),
        str(summary.min_step),
        number(summary.max_value),
        str(summary.max_step),
        curve,
    ]


def _short(details: dict[str, Any]) -> str:
    from tuneledger import json_text
    from tuneledger.errors import shortened

    data = details["data"] if set(details) == {"data"} else details
    return "" if data in ({}, None) else shortened(json_text.canonical(data), 80)
