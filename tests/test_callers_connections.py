"""A caller's own engine, connection or session: taken as it is, or refused with the remedy; never altered."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.orm import Session

from stored_content import content
from tuneledger import Archive, CheckpointOut, CheckpointRepository, Job
from tuneledger.engine import locate
from tuneledger.errors import (
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseReadOnly,
    DatabaseUnavailable,
    InvalidArgument,
    SchemaBroken,
    SchemaEmpty,
    UnsuitableConnection,
)

JOB = Job.model_validate(
    {
        "job_id": "j",
        "provider": "p",
        "checkpoints": [{"metrics": {"loss": 0.5}, "step_number": 1, "created_at": 1}],
    }
)
STEP = CheckpointOut.model_validate({"metrics": {"loss": 0.25}, "step_number": 2, "created_at": 2})


def own_engine(url: str, **options: Any) -> Engine:
    """An engine made without us: on SQLite with the two things that its manual says to do."""
    engine = create_engine(locate(url).url, **options)
    if engine.dialect.name == "sqlite":
        with_foreign_keys(engine)
        with_transactions(engine)
    return engine


def with_foreign_keys(engine: Engine) -> None:
    """Foreign keys at every connect."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")


def with_transactions(engine: Engine, begin: str = "BEGIN IMMEDIATE") -> None:
    """SQLAlchemy's recipe for real transactions on SQLite."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """A suitable engine of the caller's over a migrated database."""
    made = own_engine(database_url)
    yield made
    made.dispose()


def settings_of(connection: Connection) -> list[Any]:
    """What we might have altered on a connection."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        pragmas = ("foreign_keys", "synchronous", "busy_timeout", "query_only", "journal_mode")
        told = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas]
        return [*told, driver.isolation_level]
    names = ("search_path", "lock_timeout", "statement_timeout", "default_transaction_isolation")
    told = [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in names]
    return [*told, driver.autocommit, driver.isolation_level, driver.prepare_threshold]


# -- accepted -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["session", "connection", "bound session"])
def test_a_callers_transaction_is_the_callers(engine: Engine, kind: str) -> None:
    """Work is done in it, never committed by us, and gone when the caller rolls back."""
    for ending in ("rollback", "commit"):
        with engine.connect() as connection:
            before = settings_of(connection)
            connection.rollback()
            session: Any = connection
            if kind != "connection":
                session = Session(connection if kind == "bound session" else engine)
            repository = CheckpointRepository(session)
            assert repository.save(JOB).created
            assert repository.append("j", [STEP]).added == 1
            assert repository.checkpoints("j") == [*JOB.checkpoints, STEP]
            assert session.in_transaction()
            if kind != "session":
                assert settings_of(connection) == before
            getattr(session, ending)()
            if kind == "bound session":
                getattr(connection, ending)()
            if kind != "connection":
                session.close()
        with engine.connect() as connection:
            assert settings_of(connection) == before
            assert CheckpointRepository(connection).count_jobs() == (ending == "commit")
    with Session(engine) as last, last.begin():
        assert CheckpointRepository(last).delete_job("j") == 2


def test_a_callers_savepoint_undoes_a_job(engine: Engine) -> None:
    """A job saved inside a savepoint goes with it, the rest of the transaction stays."""
    with Session(engine) as session, session.begin():
        repository = CheckpointRepository(session)
        repository.save(JOB)
        savepoint = session.begin_nested()
        repository.append("j", [STEP])
        savepoint.rollback()
        assert repository.count_checkpoints("j") == 1


def test_an_archive_over_a_callers_engine(engine: Engine) -> None:
    """`Archive` opens its own transactions on it, and leaves engine, settings and pool as they were."""
    options = dict(engine.get_execution_options())
    with engine.connect() as connection:
        before = settings_of(connection)
    with Archive(engine) as archive:
        assert archive.save(JOB).created
        assert not archive.save(JOB).wrote
        with archive.read() as repository:
            assert repository.job("j") == JOB
        assert content(archive, "j")["checkpoints"]
        began: list[object] = []
        event.listen(engine, "begin", began.append)
        assert archive.append("j", [STEP]).added == 1
        assert began  # by SQLAlchemy, for the owner may have said what a transaction begins with
        assert "***" in repr(archive) or archive.location.schema is None
    assert dict(engine.get_execution_options()) == options
    with engine.connect() as connection:  # closing the archive did not close the engine
        assert settings_of(connection) == before


def test_reading_over_a_callers_engine_is_of_one_moment(engine: Engine) -> None:
    """What others commit meanwhile is not seen in a transaction that `read` opened."""
    if engine.dialect.name == "sqlite":  # with BEGIN IMMEDIATE nobody else could write
        second = own_engine_deferred(engine)
        with Archive(second) as archive, archive.read() as repository:
            assert repository.count_jobs() == 0
            with Archive(engine) as other:
                other.save(JOB)
            assert repository.count_jobs() == 0
        second.dispose()
        return
    with Archive(engine) as archive, archive.read() as repository:
        assert repository.count_jobs() == 0
        archive.save(JOB)
        assert repository.count_jobs() == 0
        with pytest.raises(DatabaseReadOnly):
            repository.save(JOB)


def own_engine_deferred(engine: Engine) -> Engine:
    """A second engine of the caller's on the same file, whose transactions begin with a read."""
    second = create_engine(engine.url)
    with_foreign_keys(second)
    with_transactions(second, "BEGIN")
    return second


def test_an_archive_to_read_over_a_callers_engine_writes_nothing(engine: Engine) -> None:
    """`read_only` holds for a caller's engine too."""
    with Archive(engine, read_only=True) as archive:
        with archive.read() as repository:
            assert repository.count_jobs() == 0
        with pytest.raises(DatabaseReadOnly, match="was opened to read only"):
            archive.save(JOB)


def test_a_callers_engine_is_not_migrated(empty_database_url: str) -> None:
    """An empty database behind a caller's engine is an error that names the command."""
    engine = own_engine(empty_database_url)
    with pytest.raises(SchemaEmpty, match="tuneledger db upgrade"):
        Archive(engine)
    engine.dispose()


def test_a_schema_of_the_callers_choice(engine: Engine) -> None:
    """The schema comes from the call, else from the engine's own translation; odd names are refused."""
    if engine.dialect.name == "sqlite":
        with pytest.raises(InvalidArgument, match="PostgreSQL"):
            Archive(engine, schema="x")
        return
    with engine.begin() as connection:
        connection.execute(text("ALTER SCHEMA tuneledger RENAME TO elsewhere"))
    with pytest.raises(SchemaEmpty):
        Archive(engine)
    translated = engine.execution_options(schema_translate_map={None: "elsewhere"})
    for opened in (Archive(engine, schema="elsewhere"), Archive(translated)):
        assert opened.save(JOB).unchanged or opened.location.schema == "elsewhere"
    with Session(translated) as session:
        assert CheckpointRepository(session).count_jobs() == 1
    with engine.connect() as connection:
        assert CheckpointRepository(connection, schema="elsewhere").count_jobs() == 1
        with pytest.raises(InvalidArgument, match="schema name"):
            CheckpointRepository(connection, schema="x; DROP SCHEMA elsewhere")
    odd = engine.execution_options(schema_translate_map={None: 'a"b'})
    with odd.connect() as connection, pytest.raises(InvalidArgument, match="schema name"):
        CheckpointRepository(connection).count_jobs()


# -- refused --------------------------------------------------------------------------------------


def refused(engine: Engine, match: str) -> None:
    """All three ways in refuse this engine, before they do anything."""
    with pytest.raises(UnsuitableConnection, match=match):
        Archive(engine)
    with engine.connect() as connection, pytest.raises(UnsuitableConnection, match=match):
        CheckpointRepository(connection).count_jobs()
    with Session(engine) as session, pytest.raises(UnsuitableConnection, match=match):
        CheckpointRepository(session).save(JOB)
    engine.dispose()


def test_sqlite_without_foreign_keys(sqlite_url: str) -> None:
    """Deleting a job would leave its checkpoints behind."""
    engine = create_engine(sqlite_url)
    with_transactions(engine)
    refused(engine, "foreign keys are off.*PRAGMA foreign_keys = ON at every connect")


def test_sqlite_that_begins_late(sqlite_url: str) -> None:
    """The driver's own transactions begin at the first change: what was read before may be old."""
    engine = create_engine(sqlite_url)
    with_foreign_keys(engine)
    refused(engine, "no transaction has begun.*emit BEGIN IMMEDIATE")


@pytest.mark.parametrize("isolation_level", ["AUTOCOMMIT"])
def test_a_connection_that_commits_every_statement(database_url: str, isolation_level: Any) -> None:
    """Others would see half a job."""
    engine = create_engine(locate(database_url).url, isolation_level=isolation_level)
    if engine.dialect.name == "sqlite":
        with_foreign_keys(engine)
    refused(engine, "no transaction has begun|commits each statement by itself")


@pytest.mark.parametrize("isolation_level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_postgresql_on_an_old_snapshot(postgres_url: str, isolation_level: Any) -> None:
    """A save that waits for a lock must see what was written meanwhile; reading needs no more."""
    engine = own_engine(postgres_url, isolation_level=isolation_level)
    match = f"{isolation_level.lower()}; a save needs READ COMMITTED"
    with pytest.raises(UnsuitableConnection, match=match):
        Archive(engine)
    with Session(engine) as session:
        repository = CheckpointRepository(session)
        assert repository.count_jobs() == 0
        for write in (
            lambda: repository.save(JOB),
            lambda: repository.append("j", []),
            lambda: repository.delete_job("j"),
        ):
            with pytest.raises(UnsuitableConnection, match=match):
                write()
    with Archive(engine, read_only=True) as archive, archive.read() as repository:
        assert repository.count_jobs() == 0
    engine.dispose()


class OtherDriver(SQLiteDialect_pysqlite):
    """A driver of another name, whose parameters might be written differently."""

    driver = "other"
    supports_statement_cache = True


def test_another_driver(sqlite_url: str) -> None:
    """Our fast ways speak to one driver an engine; another is named with the one that is meant."""
    registry.register("sqlite.other", __name__, "OtherDriver")
    engine = create_engine(sqlite_url.replace("sqlite:", "sqlite+other:"))
    with_foreign_keys(engine)
    with_transactions(engine)
    refused(engine, r"sqlite\+other is not supported; make the engine with sqlite:///")


# -- failures inside a caller's transaction -------------------------------------------------------


def test_a_drivers_error_is_ours_there_too(engine: Engine) -> None:
    """A caller's engine raises the driver's errors; the repository raises ours."""
    with engine.begin() as connection:
        place = "tuneledger." if engine.dialect.name == "postgresql" else ""
        connection.execute(text(f"ALTER TABLE {place}checkpoints RENAME TO other"))
    with Session(engine) as session, pytest.raises(SchemaBroken):
        CheckpointRepository(session).count_checkpoints()
    with Session(engine) as session, pytest.raises(SchemaBroken):
        CheckpointRepository(session).save(JOB)


def test_damage_is_ours_there_too(sqlite_url: str) -> None:
    """So does a row that turns out to be damaged only when it is fetched."""
    engine = own_engine(sqlite_url)
    with engine.begin() as connection:
        repository = CheckpointRepository(connection)
        repository.save(JOB)
        connection.execute(text("UPDATE jobs SET model = CAST(x'ff' AS TEXT)"))
        with pytest.raises(DatabaseDamaged):
            repository.jobs()
    engine.dispose()


@pytest.mark.parametrize("url", ["sqlite:////no/such/folder/x.db", "postgresql+psycopg://u@127.0.0.1:1/x"])
def test_a_database_that_cannot_be_reached_is_ours_there_too(url: str) -> None:
    """Also where the repository is the first to use the connection, by whichever of its ways."""
    engine = create_engine(url)
    asked: list[Callable[[CheckpointRepository], object]] = [
        CheckpointRepository.count_jobs,
        lambda repository: repository.checkpoints("j"),
        lambda repository: repository.save(JOB),
        lambda repository: repository.append("j", [STEP]),
    ]
    for ask in asked:
        with Session(engine) as session, pytest.raises(DatabaseUnavailable):
            ask(CheckpointRepository(session))


def test_nothing_is_retried_in_a_callers_transaction(database_url: str) -> None:
    """A lock that is not given ends the call at once: only the caller can begin the transaction again."""
    holder = own_engine(database_url)
    with Archive(holder) as archive:
        archive.save(JOB)
    options: dict[str, Any] = {"connect_args": {"timeout": 0.3}}
    if holder.dialect.name == "postgresql":
        options = {"connect_args": {"options": "-c lock_timeout=300"}}
    waiter = own_engine(database_url, **options)
    tries: list[str] = []

    @event.listens_for(waiter, "before_cursor_execute")
    def count(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.startswith("BEGIN") or "FOR UPDATE" in statement:
            tries.append(statement)

    with Session(holder) as holding:
        CheckpointRepository(holding).append("j", [STEP])
        began = time.monotonic()
        with Session(waiter) as waiting, pytest.raises(DatabaseBusy):
            CheckpointRepository(waiting).save(JOB.model_copy(update={"revision": 1}))
        assert time.monotonic() - began < 5
        assert len(tries) == 1
        with Session(waiter) as waiting, pytest.raises(DatabaseBusy):
            CheckpointRepository(waiting).append("j", [STEP])
    holder.dispose()
    waiter.dispose()
