"""The library's door: upgrade and downgrade."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneledger.schema.guarding import guarded, place_of
from tuneledger.schema_state import State, known, status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from alembic.config import Config
    from sqlalchemy.engine import Connection, Engine

__all__ = ["alembic_config", "downgrade", "run_command", "upgrade"]


def upgrade(
    engine: Engine,
    revision: str = "head",
    *,
    backup: bool = True,
    tell_backup: Callable[[Path], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Bring the schema up to ``revision`` (to the newest one), making it where there is none.

    Gives the revision it is at afterwards. Any number of processes may do so at once. An SQLite file is
    backed up first, see `tuneledger.schema.backup`; ``tell_backup`` is told where to. ``progress`` is
    told what is done and of how much, in the migration's own unit. Raises `SchemaForeign`, `SchemaAhead`
    or `SchemaBroken` where an upgrade is no answer.
    """
    wanted = known(revision)
    with guarded(engine) as connection:
        found = status(connection)
        if found.state in {State.BEHIND, State.CURRENT} and (found.revision or "") >= wanted:
            return found.revision or wanted
        run_command(connection, "upgrade", wanted, backup=backup, tell_backup=tell_backup, progress=progress)
        return wanted


def downgrade(
    engine: Engine,
    revision: str,
    *,
    accept_data_loss: bool = False,
    backup: bool = True,
    tell_backup: Callable[[Path], None] | None = None,
) -> str | None:
    """Take the schema down to ``revision``; ``base`` removes it. Gives the revision it is at afterwards.

    Raises `DataLoss`, having changed nothing, where rows would be lost that cannot be computed again,
    unless ``accept_data_loss``. An SQLite file is backed up first, as by `upgrade`.
    """
    wanted = None if revision == "base" else known(revision)
    with guarded(engine) as connection:
        found = status(connection)
        error = found.error(place_of(engine))
        if error and found.state is not State.BEHIND:
            raise error
        if wanted is not None and (found.revision or "") <= wanted:
            return found.revision
        run_command(
            connection,
            "downgrade",
            wanted or "base",
            accept_data_loss=accept_data_loss,
            backup=backup,
            tell_backup=tell_backup,
        )
        return wanted


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
