import importlib.metadata
import importlib.resources
import re
import shutil
import subprocess
import sys
import tomllib
import types
import zipfile
from pathlib import Path

import pytest

import tuneledger

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
BIN = Path(sys.executable).parent
TREES = {
    ROOT / "src/tuneledger": "tuneledger",
    ROOT / "dashboards": "tuneledger.dashboards",
    ROOT / "migrations": "tuneledger.migrations",
}


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints, which must succeed."""
    ended = subprocess.run(
        command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, f"{command} in {cwd}:\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def test_import_contracts() -> None:
    """Every import goes down the layers, and SQLAlchemy and Alembic stay where they belong."""
    run(BIN / "lint-imports", "--no-logo", "--no-cache", cwd=ROOT)


def test_the_layers_are_drawn_as_they_are() -> None:
    """CONTRIBUTING.md draws the layers that the imports are held to, and in its table every script."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    drawn = re.search(r"^```\n(__main__.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert drawn is not None
    layers = next(
        contract["layers"]
        for contract in PROJECT["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    )
    # What a layer is for stands behind it, a wide gap away.
    assert [re.split(r" {2,}", line)[0] for line in drawn[1].splitlines()] == layers
    scripts = {file.name for file in (ROOT / "scripts").iterdir() if not file.name.startswith("_")}
    assert set(re.findall(r"^\| `scripts/([\w-]+)", text, re.MULTILINE)) == scripts


def test_every_package_is_listed() -> None:
    """pyproject.toml lists each folder of the two source trees that holds Python or data."""
    found = set()
    for top, name in TREES.items():
        files = (path for path in top.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        found |= {".".join((name, *path.parent.relative_to(top).parts)) for path in files}
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])


def test_each_ignore_gives_its_reason() -> None:
    """What ruff, mypy or coverage is told to overlook has its reason behind it on the line."""
    folders = ("src", "migrations", "dashboards", "tests", "benchmarks", "docs")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    found = [
        (path.name, number, reason)
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for reason in _IGNORE.findall(line)
    ]
    assert len(found) > 100
    assert [(name, number) for name, number, reason in found if len(reason) < 3] == []


_IGNORE = re.compile(
    r"# (?:noqa: [A-Z0-9]+(?:, ?[A-Z0-9]+)*|type: ignore\[[^\]]+\]|pragma: no (?:cover|branch))"
    r"(?: +(?:-|#) (.*)|.*)$"
)


def test_typed() -> None:
    """Type checkers of dependent projects read our annotations."""
    assert importlib.resources.files("tuneledger").joinpath("py.typed").is_file()


def test_all_is_complete() -> None:
    """`__all__` has each public name of the package once, and no other; `dir` knows them unimported."""
    names = tuneledger.__all__
    assert len(names) == len(set(names))
    assert set(names) <= set(dir(tuneledger))
    for name in names:
        assert getattr(tuneledger, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = tuneledger.nonsense  # type: ignore[attr-defined] # what this is about
    public = {
        name
        for name, value in vars(tuneledger).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public <= set(names)


def test_version_is_that_of_the_project() -> None:
    """`tuneledger --version` and the metadata say what pyproject.toml says."""
    version = PROJECT["project"]["version"]
    assert importlib.metadata.version("tuneledger") == version
    assert tuneledger.__version__ == version
    assert version in run(BIN / "tuneledger", "--version", cwd=ROOT)


@pytest.mark.parametrize("statement", ["import tuneledger", "import tuneledger.cli"])
def test_importing_leaves_alembic_alone(statement: str, tmp_path: Path) -> None:
    """Alembic costs start-up time, so no import of ours loads it."""
    listing = run(sys.executable, "-c", f"{statement}; import sys; print(*sys.modules)", cwd=tmp_path)
    assert "tuneledger" in listing.split()
    assert "alembic" not in listing.split()


def test_reading_leaves_alembic_alone(sqlite_url: str, tmp_path: Path) -> None:
    """Alembic is for migrating: a command that reads does not load it, and one that migrates does."""
    program = """
import sys
from tuneledger.cli import main
try:
    main()
except SystemExit as exit:
    assert not exit.code, exit.code
print("\\nalembic" if "alembic" in sys.modules else "\\nnone")
"""
    read = run(sys.executable, "-c", program, "jobs", "--db", sqlite_url, cwd=tmp_path)
    assert read.splitlines()[-1] == "none"
    migrated = run(sys.executable, "-c", program, "db", "upgrade", "--db", "new.db", cwd=tmp_path)
    assert migrated.splitlines()[-1] == "alembic"


def test_a_command_loads_what_it_needs(sqlite_url: str, tmp_path: Path) -> None:
    """Starting takes longer than most commands do: no other command loads, nothing that migrates or draws."""
    program = "import sys; from tuneledger.cli import run; assert not run(sys.argv[1:]); print(*sys.modules)"
    listing = run(sys.executable, "-c", program, "-q", "jobs", "--db", sqlite_url, cwd=tmp_path)
    loaded = set(listing.split())
    assert {"tuneledger.cli.reading", "sqlalchemy.orm"} <= loaded
    assert not {"sqlalchemy.dialects.postgresql.base", "rich.console", "rich.table"} & loaded
    parts = {name.split(".")[1] for name in loaded if name.startswith("tuneledger.")}
    assert parts == {
        *("archive", "cli", "engine", "errors", "json_text", "mapping", "markup", "models", "repository"),
        *("schema_state", "spreadsheets", "tables", "migrations"),
    }
    commands = {name.split(".")[2] for name in loaded if name.startswith("tuneledger.cli.")}
    assert commands == {"choosing", "completing", "exit_codes", "options", "presenting", "reading"}


def test_a_short_command_looks_for_no_garbage(sqlite_url: str, tmp_path: Path) -> None:
    """Looking for garbage takes a fifth of a short command's time: not while it runs, and not at its end."""
    program = """
import atexit, gc, sys
from tuneledger.cli import main
looks = []
gc.callbacks.append(lambda phase, found: looks.append(found["generation"]))
atexit.register(lambda: print(len(looks), len(gc.get_objects()) < gc.get_freeze_count()))
main()
"""
    printed = run(sys.executable, "-c", program, "-q", "jobs", "--db", sqlite_url, cwd=tmp_path)
    assert printed.splitlines()[-1] == "0 True"


def test_benchmarks_run_without_pytest(tmp_path: Path) -> None:
    """The extra of the benchmarks brings no pytest: what they take of the tests does not ask for it."""
    files = list((ROOT / "benchmarks").rglob("*.py"))
    pattern = re.compile(r"^ +from (\w+) import", re.MULTILINE)
    named = {name for file in files for name in pattern.findall(file.read_text())}
    borrowed = {name for name in named if (ROOT / f"tests/{name}.py").exists()}
    assert {"archive_roles", "postgres_server"} <= borrowed
    commands = {f"benchmarks.{file.stem}" for file in (ROOT / "benchmarks").glob("[a-z]*.py")}
    program = """
import sys
from importlib import import_module
sys.modules["pytest"] = None
sys.path += sys.argv[1:3]
for name in sys.argv[3:]:
    import_module(name)
"""
    run(sys.executable, "-c", program, ROOT, ROOT / "tests", *borrowed, *commands, cwd=tmp_path)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the tree, because setuptools leaves things where it builds."""
    return _build("wheel", _copy_of_tree(tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="session")
def wheel_command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tuneledger` from that wheel alone, in an empty environment."""
    environment = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", environment, cwd=environment)
    run(environment / "bin/python", "-m", "pip", "install", "--quiet", wheel, cwd=environment)
    return environment / "bin/tuneledger"


@pytest.mark.xdist_group("packaging")
def test_wheel_holds_every_file(wheel: Path) -> None:
    """Each file of the source trees is in the wheel: modules, migrations, their template and the examples."""
    wanted = {
        f"{name.replace('.', '/')}/{path.relative_to(top).as_posix()}"
        for top, name in TREES.items()
        for path in top.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"tuneledger/migrations/env.py", "tuneledger/migrations/script.py.mako"} <= wanted
    assert any(name.startswith("tuneledger/examples/") and name.endswith(".json") for name in wanted)
    assert {name for name in _names(wheel) if ".dist-info/" not in name} == wanted


@pytest.mark.xdist_group("packaging")
def test_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """Whether the wheel was built from the repository or from the sdist makes no difference."""
    sdist = _build("sdist", _copy_of_tree(tmp_path))
    run(sys.executable, "-m", "tarfile", "--extract", sdist, tmp_path / "sdist", cwd=tmp_path)
    (unpacked,) = (tmp_path / "sdist").iterdir()
    assert _names(_build("wheel", unpacked)) == _names(wheel)


@pytest.mark.xdist_group("packaging")
def test_release_refuses_strays(wheel: Path, tmp_path: Path) -> None:
    """`scripts/release` lists what both packages hold, and takes none with a file too many or too few."""
    tree = _copy_of_tree(tmp_path)
    tracked = [path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()]
    sdist = _build("sdist", tree)
    copied = shutil.copy(wheel, tmp_path / wheel.name)

    def looked(files: list[str]) -> tuple[int, str]:
        ended = subprocess.run(
            [sys.executable, ROOT / "scripts/_release.py", "contents", copied, sdist],
            input="\n".join(files), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "  tuneledger/migrations/env.py" in ended.stdout.splitlines()
        return ended.returncode, ended.stderr

    assert looked(tracked) == (0, "\n")
    code, said = looked([*tracked, "src/tuneledger/forgotten.py"])
    assert code == 1
    assert said.splitlines() == [
        f"{wheel.name}: missing: tuneledger/forgotten.py",
        f"{sdist.name}: missing: src/tuneledger/forgotten.py",
    ]
    with zipfile.ZipFile(copied, "a") as packed:
        packed.writestr("tuneledger/notes.txt", "")
    assert looked(tracked) == (1, f"{wheel.name}: stray: tuneledger/notes.txt\n")


@pytest.mark.parametrize("url", ["https://example.org/us", None])
def test_release_s_readme_has_no_relative_link(url: str | None, tmp_path: Path) -> None:
    """README on PyPI leads to the repository where its URL is known, and nowhere where it is not."""
    readme = tmp_path / "README.md"
    shutil.copy(ROOT / "README.md", readme)
    run(sys.executable, ROOT / "scripts/_release.py", "readme", readme, *([url] if url else []), cwd=tmp_path)
    text = readme.read_text()
    assert "](docs/" not in text
    assert "](SECURITY.md)" not in text
    assert ("](https://example.org/us/raw/HEAD/docs/pictures/dashboard-sqlite.png)" in text) == bool(url)
    assert ("[Security](https://example.org/us/blob/HEAD/SECURITY.md)" in text) == bool(url)
    assert "Security" in text


@pytest.mark.xdist_group("packaging")
@pytest.mark.parametrize("installed", ["wheel", "editable"])
def test_installed_command_works_from_any_folder(
    installed: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Migrations are found from an empty folder, from the wheel in an empty environment as in a checkout."""
    command = request.getfixturevalue("wheel_command") if installed == "wheel" else BIN / "tuneledger"
    assert PROJECT["project"]["version"] in run(command, "--version", cwd=tmp_path)
    run(command, "db", "upgrade", "--db", "x.db", cwd=tmp_path)
    run(command, "db", "current", "--db", "x.db", cwd=tmp_path)
    run(command, "jobs", "--db", "x.db", cwd=tmp_path)
    assert (tmp_path / "x.db").is_file()


@pytest.mark.xdist_group("packaging")
def test_core_install_is_light(wheel_command: Path, tmp_path: Path) -> None:
    """The core needs no PostgreSQL driver, no greenlet and nothing heavy."""
    listing = run(wheel_command.with_name("python"), "-m", "pip", "list", "--format=freeze", cwd=tmp_path)
    installed = {line.partition("==")[0].lower().replace("_", "-") for line in listing.splitlines()}
    assert {"tuneledger", "sqlalchemy", "alembic", "pydantic", "typer", "platformdirs"} <= installed
    assert not installed & {"psycopg", "psycopg-binary", "numpy", "pandas", "greenlet"}


def _copy_of_tree(folder: Path) -> Path:
    unwanted = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "*.db*")
    return shutil.copytree(ROOT, folder / "tree", ignore=unwanted)


def _build(what: str, tree: Path) -> Path:
    program = f"from setuptools import build_meta; print(); print(build_meta.build_{what}('dist'))"
    return tree / "dist" / run(sys.executable, "-c", program, cwd=tree).splitlines()[-1]


def _names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return sorted(archive.namelist())
