"""`delete` and `db`: what removes or changes asks first."""

import json
import os
import pty
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schema_archives import load
from tuneledger import schema
from tuneledger.cli import exit_codes, schema_commands

TUNELEDGER = Path(sys.executable).with_name("tuneledger")
EXAMPLES = Path(__file__).parents[1] / "src/tuneledger/examples"

Run = Callable[..., Any]


def on_terminal(*arguments: str, answer: str) -> tuple[int, str]:
    """Exit code and output of a command whose user answers its question."""
    master, slave = pty.openpty()
    with subprocess.Popen([TUNELEDGER, *arguments], stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        os.write(master, answer.encode())
        shown = b""
        while True:
            try:
                read = os.read(master, 65536)
            except OSError:  # Linux says so that the other end is closed
                break
            shown += read
        os.close(master)
    return process.returncode, shown.decode()


def job_ids(command: Run, url: str) -> set[str]:
    """The beginnings of the ids in an archive."""
    return {job["job_id"][:4] for job in command("jobs", "--db", url, "--json").json["jobs"]}


def test_delete(database_url: str, command: Run) -> None:
    """Deleted jobs are gone with their checkpoints, others stay; each is named with what went with it."""
    command("archive", EXAMPLES, "--db", database_url)
    ended = command("delete", "c1a5", "d84b", "--yes", "--db", database_url)
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "deleted c1a55f1e-8c47-4b02-b1d3-7f5e90a2d648 with 12 checkpoints",
        "deleted d84b2e05-6f13-47ac-9be0-c7125f3a8e64 with 0 checkpoints",
    ]
    assert job_ids(command, database_url) == {"5e1a", "a3d0"}


def test_delete_all_or_none(database_url: str, command: Run) -> None:
    """One name that is not there keeps the others from being deleted."""
    command("archive", EXAMPLES, "--db", database_url)
    ended = command("delete", "c1a5", "nonsense", "--yes", "--db", database_url)
    assert (ended.code, ended.out) == (exit_codes.REFUSED, "")
    assert len(job_ids(command, database_url)) == 4


@pytest.mark.parametrize("arguments", [["delete", "c1a5"], ["db", "downgrade", "base"]])
def test_nobody_to_ask(sqlite_url: str, command: Run, arguments: list[str]) -> None:
    """In a script nothing is removed without --yes."""
    command("archive", EXAMPLES, "--db", sqlite_url)
    ended = command(*arguments, "--db", sqlite_url)
    assert ended.code == exit_codes.USAGE
    assert "--yes" in ended.err
    assert len(job_ids(command, sqlite_url)) == 4


@pytest.mark.parametrize(
    ("answer", "code", "left"), [("y\n", 0, 3), ("n\n", exit_codes.REFUSED, 4), ("\n", exit_codes.REFUSED, 4)]
)
def test_delete_asks(sqlite_url: str, command: Run, answer: str, code: int, left: int) -> None:
    """At a terminal the question names what would go; only yes is yes."""
    command("archive", EXAMPLES, "--db", sqlite_url)
    returned, shown = on_terminal("delete", "c1a5", "--db", sqlite_url, answer=answer)
    assert "Delete c1a55f1e-8c47-4b02-b1d3-7f5e90a2d648 with 12 checkpoints?" in shown
    assert (returned, len(job_ids(command, sqlite_url))) == (code, left)
    assert ("nothing was deleted" in shown) is (left == 4)


def test_ctrl_c_at_the_question(sqlite_url: str, command: Run) -> None:
    """Ctrl-C is no yes, and no traceback."""
    command("archive", EXAMPLES, "--db", sqlite_url)
    returned, shown = on_terminal("delete", "c1a5", "--db", sqlite_url, answer="\x04")
    assert returned == exit_codes.INTERRUPTED
    assert "Traceback" not in shown
    assert len(job_ids(command, sqlite_url)) == 4


# -- db -----------------------------------------------------------------------------------------


def test_upgrade_makes_an_archive(empty_database_url: str, command: Run) -> None:
    """From nothing to ready, with every state told on the way; doing it again changes nothing."""
    refused = command("archive", EXAMPLES, "--db", empty_database_url)
    assert refused.code == (0 if empty_database_url.startswith("sqlite") else exit_codes.SCHEMA)
    for _ in range(2):
        ended = command("db", "upgrade", "--db", empty_database_url)
        assert (ended.code, ended.out) == (0, f"at revision {schema.head()}\n")
    assert command("db", "check", "--db", empty_database_url).code == 0
    assert command("db", "current", "--db", empty_database_url).out == f"{schema.head()} (current)\n"


def test_down_and_up(database_url: str, command: Run) -> None:
    """An older revision is told as behind, and no reader goes on there; up again it is ready."""
    ended = command("db", "downgrade", "0001", "--yes", "--db", database_url)
    assert (ended.code, ended.out) == (0, "at revision 0001\n")
    current = command("db", "current", "--json", "--db", database_url)
    assert current.json["state"] == "behind"
    for arguments in (["db", "check"], ["jobs"]):
        behind = command(*arguments, "--db", database_url)
        assert behind.code == exit_codes.SCHEMA
        assert "tuneledger db upgrade" in behind.err
    assert command("db", "upgrade", "--db", database_url).code == 0
    assert command("jobs", "--db", database_url).code == 0


def test_down_to_nothing(database_url: str, command: Run) -> None:
    """`base` removes the archive."""
    ended = command("db", "downgrade", "base", "--yes", "--db", database_url)
    assert (ended.code, ended.out) == (0, "at revision base\n")
    assert command("db", "current", "--db", database_url).out == "none (empty)\n"
    assert command("db", "check", "--db", database_url).code == exit_codes.SCHEMA


def test_progress_of_an_upgrade_on_a_terminal(empty_sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a bar shows how far it is."""
    load(empty_sqlite_url, "0001")
    monkeypatch.setenv("TERM", "xterm")
    code, shown = on_terminal("db", "upgrade", "--no-backup", "--db", empty_sqlite_url, answer="")
    assert code == 0
    assert "jobs" in shown
    assert "100%" in shown


def test_progress_of_an_upgrade_in_a_log(
    empty_database_url: str, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere a line says so now and then; here at once."""
    load(empty_database_url, "0001")
    monkeypatch.setattr(schema_commands, "_SECONDS_BETWEEN_LINES", -1.0)
    ended = command("db", "upgrade", "--no-backup", "--db", empty_database_url)
    assert ended.code == 0
    assert "3 of 3 jobs" in ended.err


def test_a_quick_upgrade_logs_no_progress(
    empty_sqlite_url: str, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is over before the first line is due says nothing of how far it was."""
    load(empty_sqlite_url, "0001")
    monkeypatch.setattr(schema_commands, "_SECONDS_BETWEEN_LINES", 1000.0)
    ended = command("db", "upgrade", "--no-backup", "--db", empty_sqlite_url)
    assert ended.code == 0
    assert "of 3 jobs" not in ended.err


def test_drop_asks(sqlite_url: str, command: Run) -> None:
    """The question tells what would go; a no leaves all of it."""
    command("archive", EXAMPLES, "--db", sqlite_url)
    code, shown = on_terminal("db", "drop", "--db", sqlite_url, answer="n\n")
    assert "with 4 jobs from" in shown
    assert (code, len(job_ids(command, sqlite_url))) == (exit_codes.REFUSED, 4)
    assert "nothing was changed" in shown


def test_drop_tells_what_it_left(sqlite_url: str, command: Run) -> None:
    """Others' tables in the file stay and are named; where there are none, nothing is said of them."""
    path = sqlite_url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    assert "left alone: mine" in command("db", "drop", "--yes", "--db", sqlite_url).out
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE mine")
    connection.close()
    command("db", "upgrade", "--db", sqlite_url)
    dropped = command("db", "drop", "--yes", "--db", sqlite_url).out
    assert dropped.startswith("dropped ")
    assert "left alone" not in dropped


def test_what_is_said_of_a_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    """What was distributed, or that nothing was left to be, in words and as JSON."""
    first = schema.Distribution(citus="13.2", nodes=2, shards=32, distributed=["jobs", "metrics"])
    schema_commands._tell_distribution(first, as_json=False)
    assert capsys.readouterr().out == "distributed jobs, metrics: 32 shards on 2 nodes of Citus 13.2\n"
    second = schema.Distribution(citus="13.2", nodes=1, shards=32, distributed=[])
    schema_commands._tell_distribution(second, as_json=False)
    assert capsys.readouterr().out == "is distributed already: 32 shards on 1 node of Citus 13.2\n"
    schema_commands._tell_distribution(first, as_json=True)
    assert json.loads(capsys.readouterr().out)["distributed"] == ["jobs", "metrics"]


def test_downgrade_asks(sqlite_url: str, command: Run) -> None:
    """At a terminal only yes is yes."""
    returned, shown = on_terminal("db", "downgrade", "base", "--db", sqlite_url, answer="n\n")
    assert (returned, "nothing was changed" in shown) == (exit_codes.REFUSED, True)
    assert command("db", "check", "--db", sqlite_url).code == 0


def test_an_unknown_revision(sqlite_url: str, command: Run) -> None:
    """A revision that does not exist is a usage error that lists those there are."""
    for direction in ("upgrade", "downgrade"):  # which would have asked first, and there is nobody
        ended = command("db", direction, "9999", "--db", sqlite_url)
        assert ended.code == exit_codes.USAGE
        assert "no revision '9999'" in ended.err
        assert schema.head() in ended.err


@pytest.mark.parametrize("name", ["current", "check", "downgrade"])
def test_looking_makes_no_file(tmp_path: Path, command: Run, name: str) -> None:
    """What only looks, or takes down, leaves no file where there was none."""
    revision = ["base", "--yes"] if name == "downgrade" else []
    ended = command("db", name, *revision, "--db", tmp_path / "none.db")
    assert ended.code == exit_codes.DATABASE
    assert list(tmp_path.iterdir()) == []


def test_somebody_elses_file(tmp_path: Path, command: Run) -> None:
    """Another application's file is left alone."""
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE theirs (id INTEGER)")
    other.close()
    before = (tmp_path / "other.db").read_bytes()
    for arguments in (["db", "check"], ["db", "upgrade"], ["jobs"], ["archive", str(EXAMPLES)]):
        ended = command(*arguments, "--db", tmp_path / "other.db")
        assert ended.code == exit_codes.SCHEMA
        assert "another application" in ended.err
    assert (tmp_path / "other.db").read_bytes() == before


def test_a_schema_of_ones_own(empty_postgres_url: str, command: Run) -> None:
    """--schema and ?schema= name the same place, and two archives live in one database."""
    for schema_name in ("one", "two"):
        assert command("db", "upgrade", "--schema", schema_name, "--db", empty_postgres_url).code == 0
    command("archive", EXAMPLES, "--db", empty_postgres_url, "--schema", "one")
    assert len(job_ids(command, f"{empty_postgres_url}?schema=one")) == 4
    assert len(job_ids(command, f"{empty_postgres_url}?schema=two")) == 0
    assert "?schema=one" in command("jobs", "--db", f"{empty_postgres_url}?schema=one").err


def test_a_schema_on_sqlite(sqlite_url: str, command: Run) -> None:
    """--schema has no meaning for a file."""
    assert command("jobs", "--schema", "one", "--db", sqlite_url).code == exit_codes.USAGE
