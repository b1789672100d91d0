"""``verify`` and ``backup``: is the archive whole, and a copy of it that is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuneledger.cli import exit_codes
from tuneledger.cli.options import AsJson, Db, Schema, existing, location, log, open_archive

app = typer.Typer()


@app.command()
def verify(
    *,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Rebuild wrong summaries of jobs that are whole; touch nothing else."),
    ] = False,
    as_json: AsJson = False,
    db: Db = None,
    schema: Schema = None,
) -> None:
    """Compute every digest anew and name the jobs and steps that are not as they were written."""
    from dataclasses import asdict

    from tuneledger.cli.presenting import print_line, printing_json_list

    if repair:
        existing(location(db, schema, note=False))
    count = 0
    with open_archive(db, schema, write=repair) as archive:
        if repair:
            for _ in archive.repair():
                pass  # what is left is found again below, with all else
        if as_json:
            with printing_json_list("findings") as (add, _):
                for finding in archive.verify():
                    count += 1
                    add(asdict(finding))
        else:
            for finding in archive.verify():
                count += 1
                print_line(str(finding))
    if count:
        log.error("%d findings; content that is damaged comes back from a backup alone", count)
        raise typer.Exit(exit_codes.REFUSED)
    if not as_json:
        print_line("everything is as it was written")


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to make; it must not exist yet.")],
    *,
    db: Db = None,
    schema: Schema = None,
) -> None:
    """Copy an SQLite archive into one file while others write, and verify the copy."""
    from tuneledger.cli.presenting import print_line

    with open_archive(db, schema) as archive:
        print_line(f"{file}: {archive.backup(file)} jobs, verified")
