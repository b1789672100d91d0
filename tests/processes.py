"""Processes beside the test's own, ready in milliseconds: forked off one that imported everything."""

import multiprocessing
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

import pytest

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["tuneledger", "tuneledger.archive", "alembic.command", "psycopg", "jobs_for_tests"]
)


def context() -> ForkServerContext:
    """Where to get them. They are not measured: many run the same lines, and some are killed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        forkserver.ensure_running()
    return _CONTEXT
