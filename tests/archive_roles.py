"""An archive on PostgreSQL with the four roles that `tuneledger db roles` makes."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from postgres_server import libpq_url
from tuneledger import schema
from tuneledger.engine import open_engine
from tuneledger.engine.roles import ROLES, roles_sql


@contextmanager
def archive_roles(database_url: str) -> Iterator[Callable[[str], str]]:
    """Migrates an empty database, and gives the URL of the archive for one of its roles.

    Roles belong to the whole server, so the schema and with it their names are the caller's own.
    """
    name = f"shown_{os.urandom(4).hex()}"
    with psycopg.connect(libpq_url(database_url), autocommit=True) as administrator:
        administrator.execute(roles_sql(name).encode())
        engine = open_engine(database_url, schema=name)
        schema.upgrade(engine)
        engine.dispose()
        administrator.execute(roles_sql(name).encode())
        for role in ROLES:
            statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(f"{name}_{role}"), role)
            administrator.execute(statement)

        def url_of(role: str) -> str:
            url = make_url(database_url).set(username=f"{name}_{role}", password=role)
            return f"{url.render_as_string(hide_password=False)}?schema={name}"

        yield url_of
        for role in ROLES:
            place = sql.Identifier(f"{name}_{role}")
            administrator.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(place))
            administrator.execute(sql.SQL("DROP ROLE {}").format(place))
