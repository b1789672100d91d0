"""pytest-alembic's own four tests pass against alembic.ini, run from an environment of its own.

Its release 0.13.1 breaks collection under pytest 9.2 by being installed, so it is no test dependency. Making
the environment takes long, so this is run with TUNELEDGER_LONG=1 alone.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONG = os.environ.get("TUNELEDGER_LONG") == "1"

FIXTURES = """
import os

import pytest
from sqlalchemy import create_engine


@pytest.fixture
def alembic_config():
    return {"file": os.environ["ALEMBIC_INI"]}


@pytest.fixture
def alembic_engine():
    engine = create_engine(os.environ["THEIR_URL"])
    yield engine
    engine.dispose()
"""
DEFAULTS = (
    "test_model_definitions_match_ddl",
    "test_single_head_revision",
    "test_up_down_consistency",
    "test_upgrade",
)


@pytest.fixture(scope="session")
def pytest_alembic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with pytest-alembic, a pytest it works with, and this project."""
    folder = tmp_path_factory.mktemp("pytest-alembic")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    wanted = ["pytest-alembic", "pytest<9", "--editable", f"{ROOT}[postgres]"]
    subprocess.run([folder / "bin/python", "-m", "pip", "install", "--quiet", *wanted], check=True)
    return folder / "bin/python"


if LONG:

    @pytest.mark.timeout(1800)
    def test_the_four_defaults(pytest_alembic: Path, empty_database_url: str, tmp_path: Path) -> None:
        """One head, an upgrade, models that match, up and down: over an engine that is not ours."""
        theirs = tmp_path / "theirs"
        theirs.mkdir()
        (theirs / "conftest.py").write_text(FIXTURES)
        imported = ", ".join(DEFAULTS)
        (theirs / "test_defaults.py").write_text(f"from pytest_alembic.tests import {imported}\n")
        ended = subprocess.run(
            [pytest_alembic, "-m", "pytest", "-v", "-p", "no:cacheprovider", theirs],
            capture_output=True,
            text=True,
            check=False,
            cwd=theirs,
            env={**os.environ, "THEIR_URL": empty_database_url, "ALEMBIC_INI": str(ROOT / "alembic.ini")},
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        for name in DEFAULTS:
            assert f"{name} PASSED" in ended.stdout


def test_the_ini_names_our_scripts() -> None:
    """What those tests start from is the developers' door, with no database of its own in it."""
    text = (ROOT / "alembic.ini").read_text()
    assert "script_location = tuneledger.migrations:." in text
    assert "sqlalchemy.url" not in text
