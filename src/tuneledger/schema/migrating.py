"""The library's door: upgrade and downgrade."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneledger.schema.guarding import guarded, place_of
from tuneledger.schema.revisions import known
from tuneledger.schema.state import State, Status, status

if TYPE_CHECKING:
    from collections.abc import Callable

    from alembic.config import Config
    from sqlalchemy.engine import Connection, Engine

__all__ = ["alembic_config", "downgrade", "run_command", "upgrade"]


def upgrade(
    engine: Engine, revision: str = "head", *, progress: Callable[[int, int], None] | None = None
) -> str:
    """Bring the schema up to ``revision`` (to the newest one), making it where there is none.

    Gives the revision it is at afterwards. Any number of processes may do so at once. ``progress`` is
    told what is done and of how much, in the migration's own unit. Raises `SchemaForeign`, `SchemaAhead`
    or `SchemaBroken` where an upgrade is no answer.
    """
    wanted = known(revision)
    with guarded(engine) as connection:
        found = _ready(connection, engine, {State.EMPTY, State.BEHIND, State.CURRENT})
        if found.revision is not None and found.revision >= wanted:
            return found.revision
        run_command(connection, "upgrade", wanted, progress=progress)
        return wanted


def downgrade(engine: Engine, revision: str) -> str | None:
    """Take the schema down to ``revision``; ``base`` removes it. Gives the revision it is at afterwards."""
    wanted = None if revision == "base" else known(revision)
    with guarded(engine) as connection:
        found = _ready(connection, engine, {State.CURRENT, State.BEHIND})
        if wanted is not None and found.revision is not None and found.revision <= wanted:
            return found.revision
        run_command(connection, "downgrade", wanted or "base")
        return wanted


def _ready(connection: Connection, engine: Engine, states: set[State]) -> Status:
    """Give the status, or raise the error that fits where it is none of ``states``."""
    found = status(connection)
    error = found.error(place_of(engine))
    if found.state not in states and error:
        raise error
    return found


def run_command(connection: Connection, name: str, revision: str, **attributes: Any) -> None:
    """Run one of Alembic's commands on a guarded connection."""
    from alembic import command

    config = alembic_config()
    config.attributes.update(attributes, connection=connection)
    getattr(command, name)(config, revision)


def alembic_config() -> Config:
    """Give Alembic's configuration, made in code: an installed package has no alembic.ini beside it."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "tuneledger.migrations:.")
    config.set_main_option("path_separator", "os")
    return config
