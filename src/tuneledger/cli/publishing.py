"""``grafana``: dashboards for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuneledger.cli.options import Db, Schema, location, log

app = typer.Typer()


@app.command()
def grafana(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the files go; made if missing.")],
    *,
    force: Annotated[bool, typer.Option("--force", help="Write over files that differ.")] = False,
    db: Db = None,
    schema: Schema = None,
) -> None:
    """Write Grafana's dashboards and their provisioning, made out for the archive.

    Start Grafana with GF_PATHS_PROVISIONING=DIR/provisioning and, for PostgreSQL,
    TUNELEDGER_GRAFANA_PASSWORD: no file holds a password.
    """
    from tuneledger.cli.presenting import print_line
    from tuneledger.grafana import write

    place = location(db, schema)
    for path in write(place, folder, force=force):
        print_line(str(path))
    if place.schema is None:
        log.info("Grafana needs the plugin frser-sqlite-datasource for SQLite")
