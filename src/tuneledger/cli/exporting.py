"""``export``: jobs as their provider gave them, or as other tools read them."""

from __future__ import annotations

import csv
import enum
import json
import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tuneledger.cli.choosing import log, open_archive
from tuneledger.cli.options import Db, Schema, SomeJobNames, named_job
from tuneledger.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

    from tuneledger.repository import CheckpointRepository

app = typer.Typer()


class Shape(enum.StrEnum):
    """What `export` can write."""

    PROVIDER = "provider"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


@app.command()
def export(
    jobs: SomeJobNames = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Every job of the archive.")] = False,
    shape: Annotated[
        Shape,
        typer.Option(
            "--format",
            help="The provider's own JSON; jsonl: a job a line; csv: a metric value a row; "
            "parquet: a folder with a file a table.",
        ),
    ] = Shape.PROVIDER,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write there, whole or not at all; readable by you alone."
        ),
    ] = None,
    db: Db = None,
    schema: Schema = None,
) -> None:
    """Give jobs back, equal to what was archived; `archive` takes every format back.

    Several jobs, and --all, make a JSON array; in it a job whose record does not name it, like a trainer
    state, stands in tuneledger's own JSON, which does. NaN and infinities are the bare words NaN, Infinity
    and -Infinity, as they came. CSV carries numbers alone; Parquet carries all, provenance too.
    """
    if bool(jobs) == everything:
        raise InvalidArgument("name the jobs to export, or --all")
    with open_archive(db, schema) as archive:
        with archive.read() as repository:
            ids = None if everything else [named_job(repository, job) for job in jobs or ()]
        if shape is Shape.PARQUET:
            if output is None:
                raise InvalidArgument("--format parquet writes a folder; --output says which")
            from tuneledger.parquet import write_parquet

            log.info("exported %d jobs to %s", write_parquet(archive, output, job_ids=ids), output)
            return
        write = _WRITERS[shape]
        if shape is Shape.PROVIDER and (ids is None or len(ids) > 1):
            write = _write_list
        with archive.read() as repository, _written(output) as file:
            write(repository, list(repository.job_ids()) if ids is None else ids, file)


def _write_provider(repository: CheckpointRepository, ids: Sequence[str], file: TextIO) -> None:
    from tuneledger.sources import exported

    for job_id in ids:
        json.dump(exported(repository.job(job_id)), file, indent=2)
        file.write("\n")


def _write_list(repository: CheckpointRepository, ids: Sequence[str], file: TextIO) -> None:
    from tuneledger.sources import exported_in_list

    before = "[\n"
    for job_id in ids:
        file.write(before)
        json.dump(exported_in_list(repository.job(job_id)), file, indent=2)
        before = ",\n"
    file.write("\n]\n" if ids else "[]\n")


def _write_lines(repository: CheckpointRepository, ids: Sequence[str], file: TextIO) -> None:
    from tuneledger.sources import job_line

    file.writelines(job_line(repository.job(job_id)) + "\n" for job_id in ids)


def _write_values(repository: CheckpointRepository, ids: Sequence[str], file: TextIO) -> None:
    from tuneledger.sources import VALUE_HEADER, value_rows

    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(VALUE_HEADER)
    for job_id in ids:
        provider = repository.job_without_checkpoints(job_id).provider
        writer.writerows(value_rows(job_id, provider, repository.stream_checkpoints(job_id)))


_WRITERS: Final = {
    Shape.PROVIDER: _write_provider,
    Shape.JSONL: _write_lines,
    Shape.CSV: _write_values,
}


@contextmanager
def _written(output: str | None) -> Iterator[TextIO]:
    """Give what to write to: standard output, or a file that takes its name when it is complete."""
    if output is None:
        yield sys.stdout
        return
    target = Path(output)
    if target.exists() and not target.is_file():  # a device, a named pipe
        with target.open("w", encoding="utf-8") as file:
            yield file
        return
    target = target.resolve()  # what a link points to is replaced, not the link
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            yield file
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink()
        raise
