"""``delete``: jobs out of the archive."""

from __future__ import annotations

import typer

from tuneledger.cli import exit_codes
from tuneledger.cli.choosing import log, open_archive
from tuneledger.cli.options import Db, JobNames, Schema, Yes, confirmed, named_job

app = typer.Typer()


@app.command()
def delete(
    jobs: JobNames,
    *,
    yes: Yes = False,
    db: Db = None,
    schema: Schema = None,
) -> None:
    """Delete jobs with all that belongs to them, all of them or none."""
    from tuneledger.cli.presenting import counted, print_line, printable

    with open_archive(db, schema, write=True) as archive:
        with archive.read() as repository:
            found = dict.fromkeys(named_job(repository, job) for job in jobs)
            checkpoints = sum(map(repository.count_checkpoints, found))
        named = ", ".join(map(printable, found))
        if not confirmed(f"Delete {named} with {counted(checkpoints, 'checkpoint')}?", yes=yes):
            log.error("nothing was deleted")
            raise typer.Exit(exit_codes.REFUSED)
        deleted = archive.transact(
            "delete jobs",
            lambda repository: {job_id: repository.delete_job(job_id) for job_id in found},
        )
    for job_id, count in deleted.items():
        print_line(f"deleted {printable(job_id)} with {counted(count, 'checkpoint')}")
