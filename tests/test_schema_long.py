"""A million checkpoints upgrade in bounded memory, with progress; TUNELEDGER_LONG=1 alone takes the time.

It prints the figures of docs/upgrading.md: ``TUNELEDGER_LONG=1 scripts/test tests/test_schema_long.py -s``.
"""

import os
import re
import subprocess
import sys
import time

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from schema_archives import grow, opened
from tuneledger import schema

LONG = os.environ.get("TUNELEDGER_LONG") == "1"
JOBS, STEPS = (100, 10_000) if LONG else (20, 500)
MOST_MEGABYTES = 200
# The kernel's ru_maxrss would count what the process that starts the command has; VmHWM begins anew with it.
PROGRAM = """
import re
from pathlib import Path
from tuneledger.cli import main, schema_commands
schema_commands._SECONDS_BETWEEN_LINES = 0  # on a fast machine all of it takes less
try:
    main()
finally:
    print("\\n" + re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def measured(*arguments: str, url: str) -> tuple[str, float, float]:
    """What a command says, its seconds, and the most memory it had, in megabytes."""
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, "db", *arguments, "--db", url],
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - started
    assert ended.returncode == 0, ended.stderr
    return ended.stderr, seconds, int(ended.stdout.split()[-1]) / 1024


@pytest.mark.timeout(3600)
def test_a_large_archive(empty_database_url: str) -> None:
    """Up, with its backup, and down again: every series has its summary, and the memory stays small."""
    with opened(empty_database_url) as engine:
        schema.upgrade(engine, "0001")
        grow(engine, jobs=JOBS, steps=STEPS)
    said, seconds, megabytes = measured("upgrade", url=empty_database_url)
    report = (
        f"{make_url(empty_database_url).get_backend_name()}: {JOBS * STEPS} checkpoints up {seconds:.1f} s"
    )
    assert megabytes < MOST_MEGABYTES
    with opened(empty_database_url) as engine:
        assert schema.drift(engine) == []
        prefix = "" if engine.dialect.name == "sqlite" else "tuneledger."
        with engine.connect() as connection:
            counts = connection.execute(
                text(
                    "SELECT number_count, min_step, max_step, count(*) "
                    f"FROM {prefix}job_metrics GROUP BY 1, 2, 3"
                )
            ).all()
            stamped = connection.execute(
                text(f"SELECT count(*) FROM {prefix}job_digests WHERE summary_digest = digest")
            ).scalar()
    assert [tuple(row) for row in counts] == [(STEPS, STEPS, 1, 3 * JOBS)]
    assert stamped == JOBS
    assert re.search(rf"\b{JOBS} of {JOBS} jobs", said)
    _, back, _ = measured("downgrade", "0001", "--yes", "--no-backup", url=empty_database_url)
    sys.stdout.write(f"{report} ({megabytes:.0f} MB), down {back:.1f} s\n")
