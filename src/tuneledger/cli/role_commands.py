"""``db roles``: who may do what in a PostgreSQL archive."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from tuneledger.cli.options import Schema
from tuneledger.cli.schema_commands import db_app

app = typer.Typer()


class Dialect(enum.StrEnum):
    """The databases that have roles."""

    POSTGRESQL = "postgresql"


@db_app.command()
def roles(
    *,
    dialect: Annotated[Dialect, typer.Option("--dialect", help="The database's kind.")] = Dialect.POSTGRESQL,
    schema: Schema = None,
) -> None:
    """Print SQL for four roles: migrate, write, read and view; each may do its work and nothing else."""
    from tuneledger.cli.presenting import print_line
    from tuneledger.engine import locate
    from tuneledger.engine.roles import roles_sql

    place = locate(f"{dialect}://", schema)
    print_line(roles_sql(str(place.schema)))
