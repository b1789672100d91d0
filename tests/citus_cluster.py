"""Databases on a Citus cluster that is given: its coordinator's URL in `TUNELEDGER_TEST_CITUS`.

The URL names a database there that has the extension and knows its nodes; its role may CREATE DATABASE and
CREATE EXTENSION, on every node by the same name and password, by which the nodes let other roles in, too.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from postgres_server import libpq_url

VARIABLE = "TUNELEDGER_TEST_CITUS"


def given() -> bool:
    """Whether there is a cluster to run tests on."""
    return bool(os.environ.get(VARIABLE))


class Node(NamedTuple):
    """A node as the cluster knows it."""

    host: str
    port: int
    is_coordinator: bool


@contextmanager
def new_database() -> Iterator[str]:
    """The URL of a database on every node of the cluster, empty, dropped at the end."""
    url = make_url(os.environ[VARIABLE]).set(drivername="postgresql+psycopg")
    with psycopg.connect(libpq_url(url.render_as_string(hide_password=False))) as known:
        nodes = [
            Node(*row)
            for row in known.execute(
                "SELECT nodename, nodeport, groupid = 0 FROM pg_dist_node "
                "WHERE noderole = 'primary' ORDER BY groupid"
            )
        ]
    name = f"tuneledger_test_{secrets.token_hex(8)}"

    def connected(node: Node, database: str | None) -> psycopg.Connection:
        place = url.set(host=node.host, port=node.port, database=database or url.database)
        return psycopg.connect(libpq_url(place.render_as_string(hide_password=False)), autocommit=True)

    try:
        for node in nodes:
            with connected(node, "postgres") as administrator:
                administrator.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            with connected(node, name) as administrator:
                administrator.execute("CREATE EXTENSION citus")
        coordinator, *workers = nodes
        with connected(coordinator, name) as administrator:
            administrator.execute("SELECT citus_set_coordinator_host(%s, %s)", coordinator[:2])
            for worker in workers:
                administrator.execute("SELECT citus_add_node(%s, %s)", worker[:2])
        yield url.set(host=coordinator.host, port=coordinator.port, database=name).render_as_string(
            hide_password=False
        )
    finally:
        for node in nodes:
            with connected(node, "postgres") as administrator:
                administrator.execute(
                    sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
                )
