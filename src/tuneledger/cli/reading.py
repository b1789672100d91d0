"""``jobs``, ``show``, ``checkpoints``, ``best`` and ``latest``: what the archive holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tuneledger.cli import exit_codes
from tuneledger.cli.choosing import log, open_archive
from tuneledger.cli.completing import jobs_and_metrics, metric_names
from tuneledger.cli.options import (
    AsCsv,
    AsJson,
    CreatedFrom,
    CreatedTo,
    Db,
    JobName,
    Metric,
    Model,
    Provider,
    Schema,
    SomeJobNames,
    Status,
    named_job,
    one_format,
    unix_seconds,
)
from tuneledger.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from tuneledger.models import CheckpointOut
    from tuneledger.repository import CheckpointRepository, JobSummary

app = typer.Typer()

_LARGEST_PAGE = 100_000
_LARGEST_LIMIT = 2**31 - 1
_SUMMARY = (
    "job_id", "provider", "model", "status", "created_at", "revision", "finished_at", "fine_tuned_model",
    "trained_tokens", "cost", "cost_currency", "last_step",
)  # fmt: skip


@app.command()
def jobs(
    *,
    provider: Provider = None,
    model: Model = None,
    status: Status = None,
    created_from: CreatedFrom = None,
    created_to: CreatedTo = None,
    source: Annotated[
        str | None,
        typer.Option("--input", metavar="NAME|SHA256", help="Only jobs to which this input added something."),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=_LARGEST_PAGE, metavar="N", help="How many on a page.")
    ] = 50,
    page: Annotated[
        str | None, typer.Option(metavar="PAGE", help="Go on there: what the page before told.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All pages at once.")] = False,
    db: Db = None,
    schema: Schema = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List jobs, the newest first."""
    from tuneledger.cli import presenting

    one_format(as_json=as_json, as_csv=as_csv)
    by_digest = source is not None and len(source) == 64 and not source.strip("0123456789abcdef")  # noqa: PLR2004 - SHA-256 in hexadecimal
    filters: dict[str, Any] = {
        "provider": provider,
        "model": model,
        "status": status,
        "created_from": unix_seconds(created_from),
        "created_to": unix_seconds(created_to, end=True),
        "input_sha256" if by_digest else "input_name": source,
    }
    with open_archive(db, schema, note=not as_json) as archive, archive.read() as repository:
        following = page

        def found() -> Iterator[JobSummary]:
            nonlocal following
            while True:
                answer = repository.jobs(**filters, limit=limit, page=following)
                following = answer.next_page
                yield from answer.jobs
                if following is None or not everything:
                    return

        if as_json:
            with presenting.printing_json_list("jobs") as (add, after):
                for job in found():
                    add({name: getattr(job, name) for name in _SUMMARY})
                after["next_page"] = following
            return
        if as_csv:
            presenting.print_csv(_SUMMARY, ([getattr(job, name) for name in _SUMMARY] for job in found()))
        else:
            columns = [
                presenting.Column("job"),
                presenting.Column("provider"),
                presenting.Column("model"),
                presenting.Column("status"),
                presenting.Column("created (UTC)"),
                presenting.Column("last step", right=True),
                presenting.Column("cost", right=True),
            ]
            if not presenting.print_table(columns, map(_job_cells, found())):
                log.info("no job matches")
        if following:
            log.info("there are more: --page %s, or --all", following)


def _job_cells(job: JobSummary) -> list[str]:
    from tuneledger.cli.presenting import cost, time

    return [
        job.job_id,
        job.provider,
        job.model or "",
        job.status or "",
        time(job.created_at),
        "" if job.last_step is None else str(job.last_step),
        cost(job),
    ]


@app.command()
def checkpoints(
    job: JobName,
    *,
    first_step: Annotated[
        int | None, typer.Option("--from", metavar="STEP", help="The first step, inclusive.")
    ] = None,
    last_step: Annotated[
        int | None, typer.Option("--to", metavar="STEP", help="The last step, inclusive.")
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            "-m",
            metavar="METRIC",
            help="Only this one; may be repeated.",
            autocompletion=metric_names,
        ),
    ] = None,
    newest_first: Annotated[bool, typer.Option("--newest-first", help="The highest step first.")] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, max=_LARGEST_LIMIT, metavar="N", help="At most so many.")
    ] = None,
    db: Db = None,
    schema: Schema = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List a job's checkpoints between two steps."""
    from tuneledger.cli import presenting

    one_format(as_json=as_json, as_csv=as_csv)
    with open_archive(db, schema, note=not as_json) as archive, archive.read() as repository:
        job_id = named_job(repository, job)
        names = (
            repository.metric_names(job_id)
            if metrics is None
            else list(dict.fromkeys(repository.metric_name(job_id, metric) for metric in metrics))
        )
        found = islice(
            repository.stream_checkpoints(
                job_id,
                first_step=first_step,
                last_step=last_step,
                metrics=None if metrics is None else names,
                newest_first=newest_first,
            ),
            limit,
        )
        if as_json:
            with presenting.printing_json_list("checkpoints", job_id=job_id) as (add, _):
                for checkpoint in found:
                    add(presenting.checkpoint_value(checkpoint))
        elif as_csv:
            presenting.print_csv(["step_number", "created_at", *names], (_row(c, names) for c in found))
        else:
            _print_checkpoints(found, names, spare=metrics is None)


def _row(checkpoint: CheckpointOut, names: Sequence[str]) -> list[object]:
    values = checkpoint.metrics.named_values()
    return [checkpoint.step_number, checkpoint.created_at, *(values.get(name) for name in names)]


def _print_checkpoints(found: Iterable[CheckpointOut], names: Sequence[str], *, spare: bool) -> None:
    from tuneledger.cli.presenting import Column, print_table

    columns = [
        Column("step", right=True),
        Column("created (UTC)"),
        *(Column(name, right=True, spare=int(spare)) for name in names),
    ]
    if not print_table(columns, (_checkpoint_cells(checkpoint, names) for checkpoint in found)):
        log.info("no checkpoint matches")


def _checkpoint_cells(checkpoint: CheckpointOut, names: Sequence[str]) -> list[str]:
    from tuneledger.cli.presenting import number, time

    values = checkpoint.metrics.named_values()
    return [
        str(checkpoint.step_number),
        time(checkpoint.created_at),
        *(number(values[name]) if name in values else "" for name in names),
    ]


@app.command()
def best(
    *,
    jobs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="JOB",
            help="Ids, beginnings that are unique, or runs' paths.",
            autocompletion=jobs_and_metrics,
        ),
    ] = None,
    metric: Metric,
    goal: Annotated[
        Literal["min", "max"], typer.Option(help="The lowest value wins, or the highest.")
    ] = "min",
    everything: Annotated[bool, typer.Option("--all", help="Every job of the archive.")] = False,
    db: Db = None,
    schema: Schema = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Tell the best checkpoint of a job by a metric; of several jobs the best of each, the best job first.

    NaN, infinities and steps that were not evaluated never win; of equal values the lowest step does.
    """
    from tuneledger.sources import kept

    one_format(as_json=as_json, as_csv=as_csv)
    with open_archive(db, schema, note=not as_json) as archive, archive.read() as repository:
        # The last word alone is taken for the metric, also where a job was meant.
        ids = _chosen(repository, jobs, everything=everything, before=f", before the metric {metric!r}")
        found = repository.best_checkpoints(metric, goal, job_ids=ids)
        names = {job_id: repository.metric_name(job_id, metric) for job_id in found}
        if not found:
            for job_id in ids or ():
                repository.metric_name(job_id, metric)
            log.error("%s", _nothing_evaluated(repository, ids, metric))
            raise typer.Exit(exit_codes.NOT_EVALUATED)
        _print_of_jobs(found, names, as_json=as_json, as_csv=as_csv)
        for job_id, checkpoint in found.items():
            if not kept(repository.provider(job_id), checkpoint):
                log.info(
                    "job %s: the provider kept no checkpoint at step %d; its metrics are all there is",
                    job_id,
                    checkpoint.step_number,
                )
        missing = (repository.count_jobs() if ids is None else len(ids)) - len(found)
        if missing:
            have = "more has" if missing == 1 else "more have"
            log.info("%d %s no step with a number for %s", missing, have, metric)


def _nothing_evaluated(repository: CheckpointRepository, ids: list[str] | None, metric: str) -> str:
    if ids is not None and len(ids) == 1:
        count = repository.count_checkpoints(ids[0])
        return (
            f"job {ids[0]}: no step was evaluated: none of its {count} checkpoints has a number for {metric}"
        )
    return f"no step of these jobs was evaluated: none has a number for {metric}"


@app.command()
def latest(
    jobs: SomeJobNames = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Every job of the archive.")] = False,
    db: Db = None,
    schema: Schema = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Tell the checkpoint of the highest step of a job, or of each of several."""
    one_format(as_json=as_json, as_csv=as_csv)
    with open_archive(db, schema, note=not as_json) as archive, archive.read() as repository:
        ids = _chosen(repository, jobs, everything=everything)
        found = repository.latest_checkpoints(ids)
        if not found:
            raise NotFound(f"no checkpoints yet: {', '.join(ids) if ids else 'the archive holds none'}")
        _print_of_jobs(found, None, as_json=as_json, as_csv=as_csv)


def _chosen(
    repository: CheckpointRepository, jobs: Sequence[str] | None, *, everything: bool, before: str = ""
) -> list[str] | None:
    """Give the ids of the jobs asked for, or None for all; ``before`` is for a message, where they stand."""
    if everything and jobs:
        raise InvalidArgument("--all is every job; leave it out, or the ids")
    if not everything and not jobs:
        raise InvalidArgument(f"say which jobs{before}: one or more ids, or --all")
    return None if everything else list(dict.fromkeys(named_job(repository, job) for job in jobs or ()))


def _print_of_jobs(
    found: dict[str, CheckpointOut], names: dict[str, str] | None, *, as_json: bool, as_csv: bool
) -> None:
    """Print one checkpoint a job, by job, in the order given; ``names``: the metric that each won by."""
    from tuneledger.cli import presenting

    if as_json:
        rows = [
            {
                "job_id": job_id,
                **({"metric": names[job_id]} if names else {}),
                **presenting.checkpoint_value(c),
            }
            for job_id, c in found.items()
        ]
        presenting.print_json({"checkpoints": rows})
        return
    columns = list(dict.fromkeys(name for c in found.values() for name in c.metrics.named_values()))
    won_by = set(names.values()) if names else set()
    columns.sort(key=lambda name: name not in won_by)
    if as_csv:
        presenting.print_csv(
            ["job_id", "step_number", "created_at", *columns],
            ([job_id, *_row(c, columns)] for job_id, c in found.items()),
        )
        return
    presenting.print_table(
        [
            presenting.Column("job"),
            presenting.Column("step", right=True),
            presenting.Column("created (UTC)"),
            *(presenting.Column(name, right=True, spare=int(name not in won_by)) for name in columns),
        ],
        ([job_id, *_checkpoint_cells(c, columns)] for job_id, c in found.items()),
    )
