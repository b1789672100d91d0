"""SQL that makes PostgreSQL's roles for an archive: each may do what its work needs and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tuneledger.errors import InvalidArgument
from tuneledger.tables import VERSION_TABLE, VIEWS, Base

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ROLES", "roles_sql"]

ROLES: Final = {
    "migrate": "owns the schema: `tuneledger db upgrade`",
    "write": "archives, deletes and reads",
    "read": "reads every table and view: the library and its dashboard",
    "view": "reads the views alone: Grafana and the like",
}

_LONGEST_SCHEMA: Final = 63 - len("_migrate")

_TEMPLATE: Final = """\
-- Roles for the archive in the schema {schema}, to be run in its database by a role that may create roles:
--     tuneledger db roles --schema {schema} | psql -v ON_ERROR_STOP=1 --quiet --single-transaction URL
-- Run it before the first `tuneledger db upgrade`, or its SQL, and again after each one: new tables get their
-- owner and their rights then.
-- The roles have no password, so nobody can log in as one over a password until \\password gives it one; or
-- grant them to the people and services that you have: GRANT {schema}_write TO somebody;

SET client_min_messages = warning;

DO $$
DECLARE
    wanted name;
BEGIN
    FOREACH wanted IN ARRAY ARRAY[{roles}]::name[] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I LOGIN', wanted);
        END IF;
    END LOOP;
END $$;
-- Who may create roles need not be a superuser, and hands things over only to roles that it is a member of.
GRANT {schema}_migrate TO CURRENT_USER;

-- Where a summary is stale the views compute it; the planner counts that always, and would compile for a
-- second what then runs for milliseconds.
ALTER ROLE {schema}_view SET jit = off;

CREATE SCHEMA IF NOT EXISTS {schema};
ALTER SCHEMA {schema} OWNER TO {schema}_migrate;
DO $$
DECLARE
    relation record;
BEGIN
    -- A table's sequences follow it.
    FOR relation IN SELECT c.oid::regclass AS name, c.relkind, c.relowner FROM pg_catalog.pg_class AS c
        WHERE c.relnamespace = '{schema}'::regnamespace AND c.relkind IN ('r', 'p', 'v')
    LOOP
        IF NOT pg_catalog.pg_has_role(relation.relowner, 'USAGE') THEN
            RAISE EXCEPTION '% belongs to % and not to {schema}_migrate, and you are no member of its owner',
                relation.name, relation.relowner::regrole
                USING HINT = pg_catalog.format(
                    'GRANT %s TO CURRENT_USER, or run this as a superuser.', relation.relowner::regrole);
        END IF;
        EXECUTE pg_catalog.format(
            'ALTER %s %s OWNER TO {schema}_migrate',
            CASE relation.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, relation.name);
    END LOOP;
END $$;

REVOKE ALL ON SCHEMA {schema} FROM PUBLIC, {schema}_write, {schema}_read, {schema}_view;
REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC, {schema}_write, {schema}_read, {schema}_view;
GRANT USAGE ON SCHEMA {schema} TO {schema}_write, {schema}_read, {schema}_view;
GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {schema}_write, {schema}_read;

DO $$
DECLARE
    relation name;
BEGIN
    FOREACH relation IN ARRAY ARRAY[{tables}]::name[] LOOP
        IF pg_catalog.to_regclass(pg_catalog.format('{schema}.%I', relation)) IS NOT NULL THEN
            EXECUTE pg_catalog.format(
                'GRANT INSERT, UPDATE, DELETE ON {schema}.%I TO {schema}_write', relation);
        END IF;
    END LOOP;
    -- Citus reads a view's tables on the nodes as whoever asks: there they are granted with the views.
    IF pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL THEN
        FOR relation IN SELECT c.relname FROM pg_catalog.pg_dist_partition AS p
            JOIN pg_catalog.pg_class AS c ON c.oid = p.logicalrelid
            WHERE c.relnamespace = '{schema}'::regnamespace
        LOOP
            EXECUTE pg_catalog.format('GRANT SELECT ON {schema}.%I TO {schema}_view', relation);
        END LOOP;
        IF FOUND THEN
            RAISE WARNING 'distributed by Citus: {schema}_view may read the tables, not the views alone';
        END IF;
    END IF;
    FOREACH relation IN ARRAY ARRAY[{views}]::name[] LOOP
        IF pg_catalog.to_regclass(pg_catalog.format('{schema}.%I', relation)) IS NOT NULL THEN
            EXECUTE pg_catalog.format('GRANT SELECT ON {schema}.%I TO {schema}_view', relation);
        END IF;
    END LOOP;
END $$;
"""


def roles_sql(schema: str) -> str:
    """Give the SQL for the four `ROLES` of an archive, named after its schema; any number of times."""
    if len(schema) > _LONGEST_SCHEMA:
        raise InvalidArgument(
            f"roles are named after the schema, so its name may have {_LONGEST_SCHEMA} letters"
        )
    tables = sorted(Base.metadata.tables.keys() - {VERSION_TABLE})
    return _TEMPLATE.format(
        schema=schema,
        roles=_listed(f"{schema}_{role}" for role in ROLES),
        tables=_listed(tables),
        views=_listed(VIEWS),
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
