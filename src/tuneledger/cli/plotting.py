"""``plot`` and ``compare``: curves in the terminal and as files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from tuneledger.cli.choosing import log, open_archive
from tuneledger.cli.completing import metric_names
from tuneledger.cli.options import AsCsv, AsJson, Db, JobNames, Schema, named_job, one_format

if TYPE_CHECKING:
    from tuneledger.repository import Series
    from tuneledger.repository.checkpoints import Goal

app = typer.Typer()

OfMetric = Annotated[
    str,
    typer.Option(
        "--metric",
        "-m",
        metavar="METRIC",
        help="Which one, as `show` lists them.",
        autocompletion=metric_names,
    ),
]
FirstStep = Annotated[int | None, typer.Option("--from", metavar="STEP", help="The first step, inclusive.")]
LastStep = Annotated[int | None, typer.Option("--to", metavar="STEP", help="The last step, inclusive.")]
Log = Annotated[bool, typer.Option("--log", help="A logarithmic scale of values.")]
Relative = Annotated[bool, typer.Option("--relative", help="Draw over the share of each job's last step.")]
Best = Annotated[
    Literal["min", "max"], typer.Option("--goal", help="The lowest value is best, or the highest.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="A .png, .svg or self-contained .html file."),
]


@app.command()
def plot(
    jobs: JobNames,
    *,
    metric: OfMetric,
    first_step: FirstStep = None,
    last_step: LastStep = None,
    relative: Relative = False,
    log_scale: Log = False,
    goal: Best = "min",
    output: Output = None,
    db: Db = None,
    schema: Schema = None,
) -> None:
    """Draw a metric of jobs: in the terminal, or as a file (which needs the extra `plot`)."""
    with open_archive(db, schema) as archive, archive.read() as repository:
        ids = list(dict.fromkeys(named_job(repository, job) for job in jobs))
        for job_id in ids:
            repository.metric_name(job_id, metric)
        from tuneledger.pictures import POINTS

        curves = repository.series(ids, metric, first_step=first_step, last_step=last_step, points=POINTS)
    _draw(curves, metric, relative=relative, log_scale=log_scale, goal=goal, output=output)


def _draw(
    curves: dict[str, Series],
    metric: str,
    *,
    relative: bool,
    log_scale: bool,
    goal: Goal,
    output: Path | None,
) -> None:
    from tuneledger import pictures
    from tuneledger.cli.drawing import chart
    from tuneledger.cli.presenting import print_line

    if output is None:
        points = {job_id: pictures.numbers(series) for job_id, series in curves.items()}
        color = sys.stdout.isatty()
        for line in chart(points, relative=relative, log=log_scale, color=color):
            print_line(line)
        return
    specification = pictures.specification(curves, title=metric, relative=relative, log=log_scale, goal=goal)
    output.write_bytes(pictures.rendered(specification, output.suffix.removeprefix(".").lower()))
    log.info("wrote %s", output)


_COLUMNS: Final = (
    "job_id", "metric", "first_step", "first_value", "last_step", "last_value", "min_step", "min_value",
    "max_step", "max_value", "common_step", "common_value", "duration_seconds", "cost", "cost_currency",
)  # fmt: skip
_SPARE: Final = {
    "job_id": 0, "min_value": 0, "max_value": 0, "common_value": 0, "last_value": 1, "common_step": 1,
    "first_step": 3, "last_step": 3, "min_step": 3, "max_step": 3,
}  # fmt: skip
"""How well a column of the table can be spared, see `presenting.Column`; 2 for all others."""


@app.command()
def compare(
    jobs: JobNames,
    *,
    metric: OfMetric,
    first_step: FirstStep = None,
    last_step: LastStep = None,
    relative: Relative = False,
    log_scale: Log = False,
    goal: Best = "min",
    output: Output = None,
    db: Db = None,
    schema: Schema = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Compare jobs by a metric, the best first: as a table and as a curve each, in the terminal or a file.

    The common step is the last that every job has reached.
    """
    one_format(as_json=as_json, as_csv=as_csv)
    from tuneledger.cli import presenting
    from tuneledger.models.job import duration_seconds
    from tuneledger.pictures import POINTS, numbers

    with open_archive(db, schema, note=not as_json) as archive, archive.read() as repository:
        ids = list(dict.fromkeys(named_job(repository, job) for job in jobs))
        for job_id in ids:
            repository.metric_name(job_id, metric)
        curves = repository.series(ids, metric, first_step=first_step, last_step=last_step, points=POINTS)
        shown = {job_id: numbers(series) for job_id, series in curves.items()}
        reached = [steps[-1] for steps, _ in shown.values() if steps]
        common = min(reached) if len(reached) == len(ids) else None
        # Thinned out to two a series is its first number and its last.
        until = repository.series(ids, metric, first_step=first_step, last_step=common, points=2)
        rows: dict[str, list[object]] = {}
        for job_id in ids:
            _, values = numbers(until[job_id])
            at_common = values[-1] if common is not None and values else None
            job = repository.job_without_checkpoints(job_id)
            rows[job_id] = [
                job_id,
                curves[job_id].metric,
                *_extremes(*shown[job_id]),
                common,
                at_common,
                duration_seconds(job.created_at, job.finished_at, job.status),
                job.cost,
                job.cost_currency,
            ]
    ranked = sorted(rows, key=lambda job_id: _rank(rows[job_id], goal))
    found = [rows[job_id] for job_id in ranked]
    if as_json:
        presenting.print_json({"jobs": [dict(zip(_COLUMNS, row, strict=True)) for row in found]})
    elif as_csv:
        presenting.print_csv(_COLUMNS, found)
    else:
        columns = [
            presenting.Column(_title(name), right=name not in {"job_id", "metric"}, spare=_SPARE.get(name, 2))
            for name in _COLUMNS
        ]
        presenting.print_table(columns, ([_cell(value) for value in row] for row in found))
    if output is not None or not (as_json or as_csv):
        ordered = {job_id: curves[job_id] for job_id in ranked}
        _draw(ordered, metric, relative=relative, log_scale=log_scale, goal=goal, output=output)


def _title(column: str) -> str:
    return "job" if column == "job_id" else column.removesuffix("_value").replace("_", " ")


def _extremes(steps: list[int], values: list[float]) -> list[object]:
    """Give first, last, lowest and highest with their steps; of equal values the lowest step's."""
    if not steps:
        return [None] * 8
    low, high = min(values), max(values)
    return [
        steps[0], values[0], steps[-1], values[-1],
        steps[values.index(low)], low, steps[values.index(high)], high,
    ]  # fmt: skip


def _rank(row: list[object], goal: Goal) -> tuple[bool, float]:
    value = row[_COLUMNS.index(f"{goal}_value")]
    if not isinstance(value, float):
        return True, 0.0
    return False, value if goal == "min" else -value


def _cell(value: object) -> str:
    from tuneledger.cli.presenting import number

    return "" if value is None else number(value) if isinstance(value, float) else str(value)
