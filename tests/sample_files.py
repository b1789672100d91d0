"""The folder of real provider records, which is no part of the repository.

A test that reads it is marked `samples` and deselected where the folder is missing; with CI=true nothing runs
then.
"""

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = Path(os.environ.get("TUNELEDGER_SAMPLES") or ROOT / "../shared/samples").resolve()


def sample_files(pattern: str) -> list[Path]:
    """Files in a stable order, for parametrisation; empty only where the folder is missing."""
    found = sorted(path for path in FOLDER.glob(pattern) if path.is_file())
    if not found and FOLDER.is_dir():
        raise FileNotFoundError(f"no {pattern} in {FOLDER}")
    return found


def sample_id(path: Path) -> str:
    """A test's name for a file: its place in the folder."""
    return path.relative_to(FOLDER).as_posix()
