"""``grafana``, ``datasette`` and ``dashboard``: the archive in other programs and in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuneledger.cli.choosing import location, log, open_archive
from tuneledger.cli.options import Db, Schema
from tuneledger.errors import InvalidArgument

app = typer.Typer()

Host = Annotated[
    str, typer.Option(metavar="ADDRESS", help="The address to listen on; 127.0.0.1 is this machine alone.")
]
Port = Annotated[int, typer.Option(min=0, max=65_535, metavar="N", help="The port to listen on.")]


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


@app.command()
def datasette(
    *,
    host: Host = "127.0.0.1",
    port: Port = 8001,
    db: Db = None,
    schema: Schema = None,
) -> None:
    """Serve the archive's SQLite file by Datasette, read-only, with dashboards and canned queries.

    Whoever reaches the address reads all of the archive by SQL. Needs the extra `datasette`.
    """
    from tuneledger.datasette import serve

    place = location(db, schema)
    serve(place, host=host, port=port, ready=lambda: _announce(host, port, "-/dashboards"))


@app.command()
def dashboard(
    *,
    host: Host = "127.0.0.1",
    port: Port = 8080,
    db: Db = None,
    schema: Schema = None,
) -> None:
    """Serve the archive's dashboard to your browser, read-only. Needs the extra `dashboard`."""
    from tuneledger.dashboard import serve

    with open_archive(db, schema) as archive:
        serve(archive, host=host, port=port, ready=lambda: _announce(host, port, ""))


def _announce(host: str, port: int, page: str) -> None:
    """Say where to look. Raises `InvalidArgument` where nobody can listen there.

    The server would say so in words of its own, and exit with a code that means something else here.
    """
    import socket

    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise InvalidArgument(
            f"nothing can be served on {host}, port {port}: {reason}; --port and --host choose others"
        ) from None
    log.info("http://%s:%d/%s", f"[{host}]" if ":" in host else host, port, page)
