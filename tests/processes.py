"""Processes beside the test's own, ready in milliseconds: forked off one that imported everything."""

import multiprocessing

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["tuneledger", "tuneledger.archive", "alembic.command", "psycopg", "jobs_for_tests"]
)
