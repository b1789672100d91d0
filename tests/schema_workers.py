"""A process that opens or upgrades databases on command, for tests of many at once and of sudden death.

It reads lines ``WAY URL``, answers ``ready``, waits for a line, does it, and answers ``done`` or what went
wrong. ``fork`` upgrades in a child, which tells its process id at the first change, to be killed there.
"""

import io
import os
import sys
from contextlib import redirect_stdout

from sqlalchemy import event

from tuneledger import Archive, cli, schema
from tuneledger.engine import open_engine


def say(line: str) -> None:
    """Answers at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def by_opening(url: str) -> None:
    """As a program does that just opens its archive."""
    Archive(url).close()


def by_python(url: str) -> None:
    """As a program does that upgrades."""
    engine = open_engine(url)
    schema.upgrade(engine, backup=False)
    engine.dispose()


def by_command(url: str) -> None:
    """As `tuneledger db upgrade` does."""
    with redirect_stdout(io.StringIO()):
        code = cli.run(["--quiet", "db", "upgrade", "--no-backup", "--db", url])
    if code:
        raise SystemExit(code)


def by_fork(url: str) -> None:
    """In a child, told of at its first change."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    engine = open_engine(url)

    def tell(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "CREATE TABLE" in statement and "summary_fill" in statement:
            say(f"child {os.getpid()}")

    event.listen(engine, "after_cursor_execute", tell)
    schema.upgrade(engine, backup=False)
    say("finished")
    os._exit(0)


WAYS = {"open": by_opening, "python": by_python, "command": by_command, "fork": by_fork}


def main() -> None:
    """Serves until its input ends."""
    for line in sys.stdin:
        way, url = line.split()
        say("ready")
        sys.stdin.readline()
        try:
            WAYS[way](url)
        except BaseException as error:  # noqa: BLE001 - the test shall see whatever it is
            say(f"{type(error).__name__}: {error}")
        else:
            say("done")


if __name__ == "__main__":
    main()
