"""Four roles for PostgreSQL: each may do its own work and nothing else, and tenants are kept apart."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import errors, sql
from sqlalchemy.engine import make_url

from jobs_for_tests import some_job
from postgres_server import libpq_url
from tuneledger import Archive, schema
from tuneledger.cli import exit_codes, run
from tuneledger.engine import open_engine
from tuneledger.engine.roles import ROLES
from tuneledger.errors import PermissionDenied
from tuneledger.tables import VIEWS, Base

PASSWORD = "not-a-secret"  # noqa: S105 - of roles that live as long as a test


class Tenant:
    """An archive in a schema of its own, with its roles."""

    def __init__(self, url: str, name: str, printed: Callable[[str], str]) -> None:
        self.url, self.name = url, name
        script = printed(name)
        with psycopg.connect(libpq_url(url), autocommit=True) as administrator:
            administrator.execute(script)
            for role in ROLES:
                administrator.execute(
                    sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(f"{name}_{role}"), PASSWORD)
                )
            engine = open_engine(self.as_role("migrate"), schema=name)
            schema.upgrade(engine)
            engine.dispose()
            administrator.execute(script)

    def as_role(self, role: str) -> str:
        """The URL by which that role connects."""
        url = make_url(self.url).set(username=f"{self.name}_{role}", password=PASSWORD)
        return url.render_as_string(hide_password=False)

    @contextmanager
    def connected(self, role: str) -> Iterator[psycopg.Connection]:
        """Plain SQL as that role."""
        with psycopg.connect(libpq_url(self.as_role(role)), autocommit=True) as connection:
            yield connection


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """What `db roles` prints for a schema."""

    def script(name: str) -> str:
        capsys.readouterr()
        assert run(["db", "roles", "--dialect", "postgresql", "--schema", name]) == exit_codes.OK
        return capsys.readouterr().out

    return script


@pytest.fixture
def tenants(empty_postgres_url: str, printed: Callable[[str], str]) -> Iterator[tuple[Tenant, Tenant]]:
    """Two archives in one database, a job in each.

    Roles belong to the whole server, so their names are the test's own.
    """
    suffix = (make_url(empty_postgres_url).database or "")[-16:]
    made = (
        Tenant(empty_postgres_url, f"a_{suffix}", printed),
        Tenant(empty_postgres_url, f"b_{suffix}", printed),
    )
    for tenant in made:
        with Archive(tenant.as_role("write"), schema=tenant.name) as archive:
            archive.save(some_job(f"job of {tenant.name}"))
    yield made
    with psycopg.connect(libpq_url(empty_postgres_url), autocommit=True) as administrator:
        for tenant in made:
            administrator.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(tenant.name)))
            for role in ROLES:
                name = sql.Identifier(f"{tenant.name}_{role}")
                administrator.execute(sql.SQL("DROP OWNED BY {}").format(name))
                administrator.execute(sql.SQL("DROP ROLE {}").format(name))


def refused(connection: psycopg.Connection, statement: str) -> bool:
    """Whether the server forbids a statement for want of rights."""
    try:
        connection.execute(statement)
    except (errors.InsufficientPrivilege, errors.ObjectNotInPrerequisiteState):  # a view of several tables
        return True
    return False


def test_each_role_does_its_work(tenants: tuple[Tenant, Tenant]) -> None:
    """Write archives, deletes, reads and verifies; read reads and verifies; view sees the views."""
    tenant, _ = tenants
    with Archive(tenant.as_role("write"), schema=tenant.name) as archive:
        archive.save(some_job("second"))
        archive.save(some_job("second", 200))
        with archive.write() as repository:
            repository.delete_job("second")
        assert list(archive.verify()) == []
    with Archive(tenant.as_role("read"), schema=tenant.name) as archive:
        with archive.read() as repository:
            assert repository.job(f"job of {tenant.name}").checkpoints
        assert list(archive.verify()) == []
        with pytest.raises(PermissionDenied, match="db roles"):
            archive.save(some_job("second"))
    with tenant.connected("view") as connection:
        for view in VIEWS:
            connection.execute(f"SELECT * FROM {tenant.name}.{view}")
        assert connection.execute("SHOW jit").fetchone() == ("off",)  # which would take longer than the views


def test_no_role_does_more(tenants: tuple[Tenant, Tenant]) -> None:
    """Migrate alone changes the schema, read and view write nothing, view reads no table, none leaves it."""
    tenant, _ = tenants
    version = f"{tenant.name}.tuneledger_version"
    columns = {f"{tenant.name}.{table}": next(iter(of.c)).name for table, of in Base.metadata.tables.items()}
    columns[version] = "version_num"
    views = [f"{tenant.name}.{name}" for name in VIEWS]

    def changes(*relations: str) -> list[str]:
        return [
            statement
            for relation in relations
            for statement in (
                f"INSERT INTO {relation} DEFAULT VALUES",
                f"UPDATE {relation} SET {columns.get(relation, 'job_id')} = NULL",
                f"DELETE FROM {relation}",
            )
        ]

    owning = [
        statement
        for table in columns
        for statement in (
            f"DROP TABLE {table}",
            f"TRUNCATE {table}",
            f"ALTER TABLE {table} ADD COLUMN x int",
            f"CREATE INDEX ON {table} ({columns[table]})",
            f"CREATE RULE x AS ON INSERT TO {table} DO INSTEAD NOTHING",
            f"ALTER TABLE {table} DISABLE TRIGGER ALL",
        )
    ]
    owning += [
        *(f"DROP VIEW {view}" for view in views),
        f"SELECT setval(pg_get_serial_sequence('{tenant.name}.jobs', 'job_key'), 1)",
        f"CREATE TABLE {tenant.name}.x (x int)",
        f"CREATE VIEW {tenant.name}.x AS SELECT 1",
        f"CREATE FUNCTION {tenant.name}.x() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        f"DROP SCHEMA {tenant.name}",
        f"GRANT USAGE ON SCHEMA {tenant.name} TO PUBLIC",
        f"SET ROLE {tenant.name}_migrate",
    ]
    reading = [*owning, *changes(*columns)]
    forbidden: dict[str, list[str]] = {
        "migrate": [],
        "write": [*owning, *changes(version)],
        "read": [*reading, *(f"SELECT * FROM {table} FOR UPDATE" for table in columns)],
        "view": [*reading, *changes(*views), *(f"SELECT * FROM {table}" for table in columns)],
    }
    everyone = [
        "CREATE ROLE x",
        "CREATE SCHEMA x",
        "CREATE DATABASE x",
        f"ALTER ROLE {tenant.name}_read SUPERUSER",
        "SET ROLE postgres",
        "SET session_replication_role = replica",
        "ALTER SYSTEM SET fsync = off",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT pg_read_file('PG_VERSION')",
    ]
    for role, statements in forbidden.items():
        with tenant.connected(role) as connection:
            for statement in [*statements, *everyone]:
                assert refused(connection, statement) or not _granted(connection, statement), (
                    role,
                    statement,
                )


def _granted(connection: psycopg.Connection, statement: str) -> bool:
    # A GRANT of what one does not have is a warning in PostgreSQL, and grants nothing.
    if not statement.startswith("GRANT"):
        return True
    name = statement.split()[4]
    row = connection.execute("SELECT has_schema_privilege('public', %s, 'USAGE')", [name]).fetchone()
    return row is not None and bool(row[0])


def test_rights_given_meanwhile_are_taken_back(
    tenants: tuple[Tenant, Tenant], printed: Callable[[str], str]
) -> None:
    """Run again, the SQL leaves everybody what it says and no more, whatever somebody granted in between."""
    tenant, _ = tenants
    everybody = f"PUBLIC, {tenant.name}_write, {tenant.name}_read, {tenant.name}_view"
    with psycopg.connect(libpq_url(tenant.url), autocommit=True) as administrator:
        for what in (f"SCHEMA {tenant.name}", f"ALL TABLES IN SCHEMA {tenant.name}"):
            administrator.execute(f"GRANT ALL ON {what} TO {everybody}".encode())
        administrator.execute(printed(tenant.name).encode())
    with tenant.connected("write") as connection:
        assert refused(connection, f"TRUNCATE {tenant.name}.inputs")
    with tenant.connected("read") as connection:
        assert refused(connection, f"DELETE FROM {tenant.name}.jobs")
        assert refused(connection, f"CREATE TABLE {tenant.name}.x (x int)")
    with tenant.connected("view") as connection:
        assert refused(connection, f"SELECT * FROM {tenant.name}.jobs")
    test_tenants_are_apart(tenants[::-1], "read")  # nothing is left to PUBLIC


@pytest.mark.parametrize("role", ROLES)
def test_tenants_are_apart(tenants: tuple[Tenant, Tenant], role: str) -> None:
    """Whatever somebody of one tenant SETs, nothing of the other is seen."""
    mine, other = tenants
    settings = [
        f"SET search_path TO {other.name}",
        *(f"SET ROLE {other.name}_{theirs}" for theirs in ROLES),
        *(f"SET SESSION AUTHORIZATION {other.name}_{theirs}" for theirs in ROLES),
        "SET row_security = off",
        f"SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY; SET application_name = '{other.name}'",
        f"SELECT set_config('search_path', '{other.name}', false)",
        f"SET tuneledger.tenant = '{other.name}'",
    ]
    with psycopg.connect(libpq_url(mine.url), autocommit=True) as administrator:
        administrator.execute("ANALYZE")  # which writes values of every column down
    with mine.connected(role) as connection:
        connection.execute("SET client_min_messages = error")
        right = connection.execute("SELECT has_schema_privilege(%s, 'USAGE')", [other.name]).fetchone()
        assert right == (False,)
        for setting in settings:
            refused(connection, setting)
            for relation in (*Base.metadata.tables, *VIEWS):
                assert refused(connection, f"SELECT * FROM {other.name}.{relation}"), (setting, relation)
                with pytest.raises((errors.InsufficientPrivilege, errors.UndefinedTable)):
                    connection.execute(f"SELECT * FROM {relation}")
            stolen = connection.execute("SELECT * FROM pg_stats WHERE schemaname = %s", [other.name])
            assert stolen.fetchall() == []
            assert refused(connection, "SELECT * FROM pg_statistic")
    with pytest.raises(PermissionDenied), Archive(mine.as_role(role), schema=other.name) as archive:
        archive.verify()


def test_tables_of_somebody_else_are_named(empty_postgres_url: str, printed: Callable[[str], str]) -> None:
    """Who was lent the rights to upgrade owns what that made; an administrator is told whom to ask for it."""
    suffix = (make_url(empty_postgres_url).database or "")[-16:]
    name, administrator, member = f"c_{suffix}", f"admin_{suffix}", f"member_{suffix}"
    script = printed(name).encode()

    def as_role(role: str) -> str:
        url = make_url(empty_postgres_url).set(username=role, password=PASSWORD)
        return url.render_as_string(hide_password=False)

    with psycopg.connect(libpq_url(empty_postgres_url), autocommit=True) as superuser:
        for role, may in ((administrator, "CREATEROLE"), (member, "")):
            statement = f"CREATE ROLE {role} LOGIN {may} PASSWORD '{PASSWORD}'"
            superuser.execute(statement.encode())
        database = make_url(empty_postgres_url).database
        superuser.execute(f"GRANT CREATE ON DATABASE {database} TO {administrator}".encode())
        try:
            with psycopg.connect(libpq_url(as_role(administrator)), autocommit=True) as connection:
                connection.execute(script)
                superuser.execute(f"GRANT {name}_migrate TO {member}".encode())
                engine = open_engine(as_role(member), schema=name)
                schema.upgrade(engine)
                engine.dispose()
                with pytest.raises(errors.RaiseException, match="and you are no member") as refusal:
                    connection.execute(script)
                assert f"belongs to {member} and not to {name}_migrate" in str(refusal.value)
                assert f"GRANT {member} TO CURRENT_USER" in str(refusal.value.diag.message_hint)
                superuser.execute(f"GRANT {member} TO {administrator}".encode())
                connection.execute(script)
            with psycopg.connect(libpq_url(as_role(member)), autocommit=True) as connection:
                owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = %s"
                assert connection.execute(owners, [name]).fetchall() == [(f"{name}_migrate",)]
        finally:
            for role in (*(f"{name}_{kind}" for kind in ROLES), member, administrator):
                superuser.execute(f"DROP OWNED BY {role} CASCADE".encode())
            for role in (*(f"{name}_{kind}" for kind in ROLES), member, administrator):
                superuser.execute(f"DROP ROLE {role}".encode())


def test_roles_need_a_short_name(capsys: pytest.CaptureFixture[str]) -> None:
    """A schema whose roles PostgreSQL would cut the names of is refused, as is what is no name."""
    for name in ("x" * 60, 'x"; DROP ROLE y; --'):
        assert run(["db", "roles", "--schema", name]) == exit_codes.USAGE
    assert "DROP" not in capsys.readouterr().out
