"""Databases of both engines, real records and Hypothesis' profiles for every test.

`database_url` runs a test on each engine, `empty_database_url` on one that was never migrated. Migrating is
slow: it happens once a session, and each test gets a copy.
"""

import io
import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import psycopg
import pytest
from coverage import Coverage
from hypothesis import HealthCheck, settings
from sqlalchemy.engine import URL, make_url

import citus_cluster
import pgbouncer
import postgres_server
import sample_files
from archive_roles import archive_roles
from tuneledger import cli, schema
from tuneledger.engine import open_engine
from tuneledger.sources.entry_points import GROUP, added_to

ENGINES = ("sqlite", "postgresql")

# One database serves all examples of a property, which therefore take ids of their own. And a slow
# machine is no bug.
_SUPPRESSED = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow)
# CI tries the same examples each time: it judges a change, and what it finds must come from that change.
# People and the long run draw new ones.
settings.register_profile(
    "default",
    max_examples=50,
    deadline=None,
    derandomize=os.environ.get("CI") == "true",
    print_blob=True,
    suppress_health_check=_SUPPRESSED,
)
settings.register_profile(
    "long",
    max_examples=2000,
    deadline=None,
    derandomize=False,
    print_blob=True,
    suppress_health_check=_SUPPRESSED,
)
settings.load_profile("long" if os.environ.get("TUNELEDGER_LONG") == "1" else "default")


def pytest_configure() -> None:
    """Refuses to call a CI run good that left the real records out."""
    if os.environ.get("CI") == "true" and not sample_files.FOLDER.is_dir():
        raise pytest.UsageError(f"no folder {sample_files.FOLDER} (TUNELEDGER_SAMPLES), which CI must have")


def pytest_report_header() -> str:
    """Says which PostgreSQL the results are about."""
    return f"postgresql: {postgres_server.description()}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Starts the one server before there are workers, which find its URL in the environment they inherit."""
    stack = ExitStack()
    config.add_cleanup(stack.close)
    os.environ[postgres_server.VARIABLE] = stack.enter_context(postgres_server.some_server())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what reads real records, or needs Citus, where there is none; begins with what takes long.

    Begun last, it would keep one worker busy while the others have nothing left to do.
    """
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    there = {"samples": sample_files.FOLDER.is_dir(), "citus": citus_cluster.given()}
    missing = [name for name, is_there in there.items() if not is_there]
    left_out = {item: None for item in items if any(map(item.get_closest_marker, missing))}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps a test away from the archive of whoever runs it, and from that of other tests."""
    home = tmp_path_factory.getbasetemp() / "homes" / secrets.token_hex(8)
    monkeypatch.delenv("TUNELEDGER_DATABASE_URL", raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))


@pytest.fixture(scope="session")
def _coverage_of_greenlets(request: pytest.FixtureRequest) -> Iterator[Coverage | None]:
    plugin: Any = request.config.pluginmanager.getplugin("_cov")
    if plugin is None or plugin.cov_controller is None:
        yield None
        return
    made = Coverage(data_suffix=True, config_file=False, branch=True, concurrency=["greenlet", "thread"])
    made.set_option("run:source", plugin.cov_controller.cov.get_option("run:source"))
    made.set_option("run:disable_warnings", ["no-data-collected"])  # a worker may get no such test
    yield made
    made.save()


@pytest.fixture
def seen_through_greenlets(_coverage_of_greenlets: Coverage | None) -> Iterator[None]:
    """Measures a test of the asynchronous door by a coverage that tells greenlets apart.

    That costs half as much again as the tests themselves, so all others do without.
    """
    if _coverage_of_greenlets:
        _coverage_of_greenlets.start()
    yield
    if _coverage_of_greenlets:
        _coverage_of_greenlets.stop()


@pytest.fixture
def samples() -> Path:
    """The folder of real records; only for tests marked `samples`."""
    return sample_files.FOLDER


@pytest.fixture(scope="session")
def postgres_server_url() -> Iterator[str]:
    """A server that may CREATE DATABASE; the same for all workers."""
    with postgres_server.some_server() as url:
        yield url


@pytest.fixture(scope="session")
def _postgres_administrator(postgres_server_url: str) -> Iterator[psycopg.Connection]:
    with postgres_server.administrator(postgres_server_url) as connection:
        yield connection


@pytest.fixture(scope="session")
def _postgres_template(
    postgres_server_url: str, _postgres_administrator: psycopg.Connection
) -> Iterator[str]:
    with postgres_server.new_database(postgres_server_url, connection=_postgres_administrator) as url:
        _migrate(url)
        yield url


@pytest.fixture
def postgres_url(
    postgres_server_url: str, _postgres_administrator: psycopg.Connection, _postgres_template: str
) -> Iterator[str]:
    """A migrated PostgreSQL database of the test's own."""
    with postgres_server.new_database(
        postgres_server_url, template=_postgres_template, connection=_postgres_administrator
    ) as url:
        yield url


@pytest.fixture
def empty_postgres_url(
    postgres_server_url: str, _postgres_administrator: psycopg.Connection
) -> Iterator[str]:
    """An empty PostgreSQL database of the test's own."""
    with postgres_server.new_database(postgres_server_url, connection=_postgres_administrator) as url:
        yield url


@pytest.fixture
def as_role(empty_postgres_url: str) -> Iterator[Callable[[str], str]]:
    """The URL of a migrated, empty archive for one of its roles."""
    with archive_roles(empty_postgres_url) as url_of:
        yield url_of


@pytest.fixture(scope="session")
def _pooler_url(postgres_server_url: str) -> Iterator[URL]:
    with pgbouncer.pooled(postgres_server_url) as url:
        yield url


@pytest.fixture(scope="session")
def _citus_database() -> Iterator[str]:
    with citus_cluster.new_database() as url:
        yield url


@pytest.fixture
def empty_citus_url(_citus_database: str) -> Iterator[str]:
    """A database on Citus, the same for all tests of a worker, without our schema before and after."""
    yield _citus_database
    with psycopg.connect(postgres_server.libpq_url(_citus_database)) as connection:
        connection.execute("DROP SCHEMA IF EXISTS tuneledger CASCADE")


@pytest.fixture
def citus_url(empty_citus_url: str) -> str:
    """A migrated database on Citus, distributed."""
    _migrate(empty_citus_url, distribute=True)
    return empty_citus_url


@pytest.fixture
def pooled_url(postgres_url: str, _pooler_url: URL) -> URL:
    """The same database as `postgres_url` behind PgBouncer in transaction mode, with three sessions."""
    return make_url(postgres_url).set(port=_pooler_url.port)


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "template.db"
    _migrate(f"sqlite:///{path}")
    left_open = list(path.parent.glob("template.db-*"))
    assert not left_open, f"the engine was not closed: {left_open}"
    return path


@pytest.fixture
def sqlite_url(tmp_path: Path, _sqlite_template: Path) -> str:
    """A migrated SQLite file of the test's own, `tmp_path / "ledger.db"`."""
    shutil.copy(_sqlite_template, tmp_path / "ledger.db")
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    """An SQLite file that does not exist yet, `tmp_path / "empty.db"`."""
    return f"sqlite:///{tmp_path / 'empty.db'}"


@pytest.fixture(params=ENGINES)
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database of the test's own; the test runs once on each engine."""
    url: str = request.getfixturevalue({"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param])
    return url


@pytest.fixture(params=ENGINES)
def empty_database_url(request: pytest.FixtureRequest) -> str:
    """A database nobody migrated yet; the test runs once on each engine."""
    fixtures = {"sqlite": "empty_sqlite_url", "postgresql": "empty_postgres_url"}
    url: str = request.getfixturevalue(fixtures[request.param])
    return url


class Ended(NamedTuple):
    """What a command line left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its standard output, which must be one strict JSON document."""
        return json.loads(self.out, parse_constant=pytest.fail)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Runs `tuneledger` with arguments (and `stdin`, bytes) in this process, which is fast.

    What `main` adds to `tuneledger.cli.run` is `sys.exit`.
    """

    def ended(*arguments: str | Path, stdin: bytes = b"") -> Ended:
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            code = cli.run([str(argument) for argument in arguments])
        return Ended(code, *capsys.readouterr())

    return ended


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str, object], None]]:
    """What installs a package of that name, whose module has this ``SOURCE``; for None it has no module."""

    def install(name: str, source: object) -> None:
        about = tmp_path / "site" / f"{name}-1.0.dist-info"
        about.mkdir(parents=True, exist_ok=True)
        (about / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {name}_module:SOURCE\n")
        if source is not None:
            module = ModuleType(f"{name}_module")
            vars(module)["SOURCE"] = source
            monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.syspath_prepend(about.parent)
        added_to.cache_clear()

    yield install
    added_to.cache_clear()


def _migrate(url: str, *, distribute: bool = False) -> None:
    engine = open_engine(url)
    try:
        schema.upgrade(engine)
        if distribute:
            schema.distribute(engine, shards=4)
    finally:
        engine.dispose()
