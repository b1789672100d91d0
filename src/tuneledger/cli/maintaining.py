"""``verify`` and ``backup``: is the archive whole, and a copy of it that is."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuneledger.cli import exit_codes
from tuneledger.cli.choosing import existing, location, log, open_archive
from tuneledger.cli.options import AsJson, Db, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuneledger.archive import Archive
    from tuneledger.sources import Note

app = typer.Typer()


@app.command()
def verify(
    *,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Rebuild wrong summaries of jobs that are whole; touch nothing else."),
    ] = False,
    data: Annotated[
        bool, typer.Option("--data", help="Also tell what is odd about the data, as `show` notes it.")
    ] = False,
    as_json: AsJson = False,
    db: Db = None,
    schema: Schema = None,
) -> None:
    """Compute every digest anew and name the jobs and steps that are not as they were written."""
    from dataclasses import asdict

    from tuneledger.cli.presenting import counted, print_line, printable, printing_json_list

    if repair:
        existing(location(db, schema, note=False))
    count = 0
    with open_archive(db, schema, write=repair) as archive:
        if repair:
            deque(archive.repair(), maxlen=0)  # what is left is found again below, with all else
        if as_json:
            with printing_json_list("findings") as (add, rest):
                for finding in archive.verify():
                    count += 1
                    add(asdict(finding))
                if data:
                    rest["notes"] = [{"job_id": job_id, **asdict(note)} for job_id, note in _notes(archive)]
        else:
            for finding in archive.verify():
                count += 1
                print_line(printable(str(finding)))
            if data:
                _print_notes(archive)
    if count:
        findings = counted(count, "finding")
        log.error("%s; content that is damaged comes back from a backup alone", findings)
        raise typer.Exit(exit_codes.REFUSED)
    if not as_json:
        print_line("everything is as it was written")


def _print_notes(archive: Archive) -> None:
    from tuneledger.cli.presenting import print_line, printable

    for job_id, note in _notes(archive):
        print_line(printable(f"job {job_id}: {note.text}"))


def _notes(archive: Archive) -> Iterator[tuple[str, Note]]:
    """Give what is odd about the data of each job, see `tuneledger.sources.notes`."""
    from tuneledger.sources import notes

    page: str | None = None
    while True:
        with archive.read() as repository:
            found = repository.jobs(page=page)
            for job in found.jobs:
                for note in notes(job.provider, repository.stream_checkpoints(job.job_id)):
                    yield job.job_id, note
        page = found.next_page
        if page is None:
            return


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to make; it must not exist yet.")],
    *,
    db: Db = None,
    schema: Schema = None,
) -> None:
    """Copy an SQLite archive into one file while others write, and verify the copy."""
    from tuneledger.cli.presenting import counted, print_line

    with open_archive(db, schema) as archive:
        print_line(f"{file}: {counted(archive.backup(file), 'job')}, verified")
