"""``export``: jobs as their provider gave them."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuneledger.cli.options import Db, Schema, open_archive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

app = typer.Typer()


@app.command()
def export(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB", help="Ids, or beginnings that are unique.")],
    *,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write there, whole or not at all; readable by you alone."
        ),
    ] = None,
    db: Db = None,
    schema: Schema = None,
) -> None:
    """Give jobs back in their provider's JSON, equal to what was archived; several make a JSON array.

    NaN and infinities stand as the bare words NaN, Infinity and -Infinity, as they came.
    """
    from tuneledger.sources import exported

    with (
        open_archive(db, schema) as archive,
        archive.read() as repository,
        _written(output) as file,
    ):
        ids = [repository.job_id(job) for job in jobs]
        for position, job_id in enumerate(ids):
            if len(ids) > 1:
                file.write("[\n" if position == 0 else ",\n")
            json.dump(exported(repository.job(job_id)), file, indent=2)
        file.write("\n]\n" if len(ids) > 1 else "\n")


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
