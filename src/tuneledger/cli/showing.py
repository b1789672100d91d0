"""``show``: one job, everything at a glance."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import typer

from tuneledger.cli.options import AsJson, Db, Schema, open_archive
from tuneledger.cli.reading import JobArgument

if TYPE_CHECKING:
    from tuneledger.models import Job
    from tuneledger.repository import CheckpointRepository, InputRecord, StateRecord

app = typer.Typer()

_CURVE_WIDTH = 40
_POINTS = 2 + 2 * _CURVE_WIDTH


@app.command()
def show(job: JobArgument, *, db: Db = None, schema: Schema = None, as_json: AsJson = False) -> None:
    """Show a job: its fields, states, metrics with their curves, events, and where it was archived from."""
    with open_archive(db, schema, note=not as_json) as archive, archive.read() as repository:
        job_id = repository.job_id(job)
        found = repository.job_without_checkpoints(job_id)
        count = repository.count_checkpoints(job_id)
        summaries = [_summary(repository, job_id, name) for name in repository.metric_names(job_id)]
        states, inputs = repository.states(job_id), repository.inputs(job_id)
    if as_json:
        _print_json(found, count, summaries, states, inputs)
    else:
        _print_text(found, count, summaries, states, inputs)


@dataclass(frozen=True, slots=True)
class _MetricSummary:
    """A metric's numbers at a glance; all but the name None where no step has a number."""

    name: str
    first: float | None = None
    last: float | None = None
    lowest: float | None = None
    lowest_step: int | None = None
    highest: float | None = None
    highest_step: int | None = None
    curve: str = ""


def _summary(repository: CheckpointRepository, job_id: str, name: str) -> _MetricSummary:
    from tuneledger.cli.presenting import curve
    from tuneledger.models import Placeholder

    # Thinned out it still has the first, the last, the lowest and the highest number.
    series = repository.series([job_id], name, points=_POINTS)[job_id]
    numbers = [
        (step, value)
        for step, value in zip(series.steps, series.values, strict=True)
        if value is not None and not isinstance(value, Placeholder) and math.isfinite(value)
    ]
    if not numbers:
        return _MetricSummary(name)
    steps, values = [step for step, _ in numbers], [value for _, value in numbers]
    lowest, highest = values.index(min(values)), values.index(max(values))
    return _MetricSummary(
        name,
        values[0],
        values[-1],
        values[lowest],
        steps[lowest],
        values[highest],
        steps[highest],
        curve(steps, values, _CURVE_WIDTH),
    )


def _print_json(
    job: Job,
    count: int,
    summaries: list[_MetricSummary],
    states: list[StateRecord],
    inputs: list[InputRecord],
) -> None:
    from tuneledger.cli.presenting import print_json
    from tuneledger.sources.source import event_object

    print_json(
        {
            "job_id": job.job_id,
            **{name: getattr(job, name) for name in type(job).model_fields if name not in _LISTS},
            "checkpoint_count": count,
            "metrics": [{k: v for k, v in asdict(summary).items() if k != "curve"} for summary in summaries],
            "states": [asdict(state) for state in states],
            "events": [event_object(event) for event in job.events],
            "inputs": [asdict(record) for record in inputs],
        }
    )


_LISTS = {"job_id", "events", "checkpoints"}


def _print_text(
    job: Job,
    count: int,
    summaries: list[_MetricSummary],
    states: list[StateRecord],
    inputs: list[InputRecord],
) -> None:
    from tuneledger.cli.presenting import Column, number, print_line, print_table, printable, time

    print_line(f"job {job.job_id}")
    for title, value in _fields(job, count):
        print_line(f"  {title:<18}{printable(value)}")
    if summaries:
        print_line("\nmetrics")
        print_table(
            [
                Column("name"),
                *(
                    Column(title, right=True)
                    for title in ("first", "last", "lowest", "at step", "highest", "at step")
                ),
                Column("curve"),
            ],
            (_summary_cells(summary, number) for summary in summaries),
            indent=2,
        )
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
                Column("bytes", right=True),
                Column("sha256"),
                Column("archived (UTC)"),
                Column("by tuneledger"),
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
    from tuneledger.cli.presenting import time

    cost = "" if job.cost is None else f"{job.cost:g} {job.cost_currency or ''}".rstrip()
    fields = (
        ("provider", job.provider),
        ("model", job.model),
        ("status", job.status),
        ("created (UTC)", time(job.created_at)),
        ("finished (UTC)", time(job.finished_at)),
        ("fine-tuned model", job.fine_tuned_model),
        ("trained tokens", None if job.trained_tokens is None else f"{job.trained_tokens:,}"),
        ("cost", cost),
        ("checkpoints", str(count)),
    )
    return [(title, value) for title, value in fields if value]


def _summary_cells(summary: _MetricSummary, number: Any) -> list[str]:
    if summary.lowest is None:
        return [summary.name, "", "", "", "", "", "", "no step has a number"]
    return [
        summary.name,
        number(summary.first),
        number(summary.last),
        number(summary.lowest),
        str(summary.lowest_step),
        number(summary.highest),
        str(summary.highest_step),
        summary.curve,
    ]


def _short(details: dict[str, Any]) -> str:
    from tuneledger import json_text
    from tuneledger.errors import shortened

    data = details["data"] if set(details) == {"data"} else details
    return "" if data in ({}, None) else shortened(json_text.canonical(data), 80)
