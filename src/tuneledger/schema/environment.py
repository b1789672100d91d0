"""What ``migrations/env.py`` runs: Alembic's commands, by whichever door, on the guarded connection."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, MetaData, text

from tuneledger.engine import locate, open_engine
from tuneledger.errors import (
    DataLoss,
    DependentObjects,
    InvalidArgument,
    UnsuitableConnection,
    shortened,
)
from tuneledger.schema.backup import back_up
from tuneledger.schema.dependents import dependents
from tuneledger.schema.distributing import keep_distributed
from tuneledger.schema.drift import catalog, differences, reference
from tuneledger.schema.guarding import guarded, is_guarded, place_of
from tuneledger.schema.offline import write_sql
from tuneledger.schema_state import State, known, schema_name, status
from tuneledger.tables import VERSION_TABLE, Base

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection

__all__ = ["run_environment"]


def run_environment(context: Any, *, url: str | None = None) -> None:
    """Run what Alembic asks for; ``url`` is the database where neither caller nor command line names one.

    The command line may name one by ``-x url=…``, ``-x schema=…``, and say ``-x accept-data-loss=yes`` or
    ``-x backup=no``; a caller does so in ``config.attributes``, where ``connection`` is an engine, or a
    connection that `guarded` gave.
    """
    arguments: dict[str, Any] = dict(context.get_x_argument(as_dictionary=True))
    arguments["url"] = arguments.get("url") or context.config.get_main_option("sqlalchemy.url") or url
    arguments |= context.config.attributes
    if context.is_offline_mode():
        write_sql(context, arguments)
        return
    with _connected(arguments) as connection:
        context.configure(
            connection=connection,
            target_metadata=_declared(connection),
            version_table=VERSION_TABLE,
            transactional_ddl=True,
            render_as_batch=True,
            compare_server_default=True,
        )
        migration = context.get_context()
        if not migration.opts.get("dont_mutate"):  # as it is for `alembic current`, which only looks
            # Alembic's own function of that command: what has lost its version alone, a stamp may mend.
            _make_ready(connection, stamps=migration._migrations_fn.__name__ == "do_stamp")  # noqa: SLF001 - told nowhere else
            _look_at_steps(migration, arguments)
        with context.begin_transaction():
            context.run_migrations()
        if connection.dialect.name == "postgresql" and not migration.opts.get("dont_mutate"):
            keep_distributed(connection)


@contextmanager
def _connected(arguments: dict[str, Any]) -> Iterator[Connection]:
    given = arguments.get("connection")
    if isinstance(given, Engine):
        with guarded(given) as connection:
            yield connection
    elif given is not None:
        if not is_guarded(given):
            raise UnsuitableConnection(
                "migrations run on a connection that they guard themselves; "
                "pass the engine in config.attributes['connection']"
            )
        yield given
    else:
        if not arguments["url"]:
            raise InvalidArgument(
                "say which database: set TUNELEDGER_DATABASE_URL, "
                "or `alembic -x url=postgresql://… upgrade head`"
            )
        engine = open_engine(arguments["url"], schema=arguments.get("schema"))
        try:
            with guarded(engine) as connection:
                yield connection
        finally:
            engine.dispose()


def _declared(connection: Connection) -> MetaData:
    """Give the tables for autogenerate to compare with; SQLite has no identities."""
    declared = MetaData(naming_convention=Base.metadata.naming_convention)
    for table in Base.metadata.sorted_tables:
        copy = table.to_metadata(declared)
        for column in copy.c if connection.dialect.name == "sqlite" else ():
            if column.identity is not None:
                column.identity = column.server_default = None
    return declared


def _make_ready(connection: Connection, *, stamps: bool) -> None:
    """Refuse what no migration mends, and make the PostgreSQL schema where there is none."""
    found = status(connection)
    error = found.error(place_of(connection.engine))
    is_unversioned = found.state is State.BROKEN and found.revision is None
    if error and found.state not in {State.EMPTY, State.BEHIND} and not (stamps and is_unversioned):
        raise error
    if connection.dialect.name != "postgresql":
        return
    schema = connection.exec_driver_sql("SHOW search_path").scalar_one()
    # Asked first, for CREATE SCHEMA IF NOT EXISTS wants the right to create one also where it is there.
    there = connection.execute(
        text("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = :schema"), {"schema": schema}
    ).scalar()
    if there is None and schema != "pg_temp":
        connection.exec_driver_sql(f"CREATE SCHEMA {schema}")


def _look_at_steps(migration: Any, arguments: dict[str, Any]) -> None:
    """Look at the steps before the first is taken: what they would lose or meet, and whether to back up."""
    from alembic.runtime.migration import StampStep

    # Alembic tells the steps to nobody beforehand, and arguments like -1 are steps to it alone.
    find_steps: Callable[[Any, Any], Any] = migration._migrations_fn  # noqa: SLF001 - see above

    def looked_at(heads: tuple[str, ...], _migration: Any) -> list[Any]:
        steps = list(find_steps(heads, migration))
        connection: Connection = migration.connection
        if steps and isinstance(steps[-1], StampStep):
            _refuse_untrue_stamp(connection, steps[-1].to_revisions)
        else:
            if arguments.get("accept_data_loss", arguments.get("accept-data-loss")) not in {True, "yes"}:
                _refuse_losses(connection, steps)
            _refuse_dependents(connection, steps)
        path = locate(connection.engine.url).path
        if heads and steps and path is not None and arguments.get("backup") not in {False, "no"}:
            made = back_up(path, heads[0])
            if tell := arguments.get("tell_backup"):
                tell(made)
        return steps

    migration._migrations_fn = looked_at  # noqa: SLF001 - the same


def _refuse_untrue_stamp(connection: Connection, revisions: tuple[str, ...]) -> None:
    """Let ``alembic stamp`` write down what is, and nothing else: it moves no table and no row."""
    stamped = " and ".join(revisions) or "base"
    with _command_set_aside():
        wanted = reference(connection.engine, known(stamped)) if revisions else {}
    lines = differences(catalog(connection), wanted)
    if lines:
        raise InvalidArgument(
            f"{place_of(connection.engine)} cannot be stamped {stamped}: in {len(lines)} places it is not "
            f"what that revision makes ({shortened(lines[0])}); nothing was changed. To take it there, "
            f"use upgrade or downgrade: stamp moves nothing"
        )


@contextmanager
def _command_set_aside() -> Iterator[None]:
    """Let one of Alembic's commands run inside another: which one runs is the content of two modules."""
    from alembic import context, op

    held = [(vars(module), dict(vars(module))) for module in (context, op)]
    try:
        yield
    finally:
        for now, before in held:
            now.update(before)


def _refuse_losses(connection: Connection, steps: list[Any]) -> None:
    lost: dict[str, int] = {}
    for step in steps:
        if step.is_downgrade:
            for what, count in step.revision.module.loses.items():
                lost[what] = connection.exec_driver_sql(count).scalar_one()
    if any(lost.values()):
        raise DataLoss(place_of(connection.engine), {what: rows for what, rows in lost.items() if rows})


def _refuse_dependents(connection: Connection, steps: list[Any]) -> None:
    """Refuse at once what would fail at the first view that is dropped, maybe after an hour's work."""
    if connection.dialect.name != "postgresql":
        return
    remade = {name for step in steps if step.is_upgrade for name in step.revision.module.remakes}
    found = dependents(connection, schema_name(connection), remade)
    if found:
        raise DependentObjects.of(place_of(connection.engine), found)
