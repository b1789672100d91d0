"""What became of an input."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuneledger.copying import CopyReport
    from tuneledger.errors import TuneledgerError
    from tuneledger.repository import SaveReport

__all__ = ["Outcome"]


@dataclass(slots=True)
class Outcome:
    """What became of one input."""

    name: str
    format: str | None = None
    """What it was taken for; of a list whose jobs are of several sources these, as they came, with commas
    between. None where nothing recognised it."""
    reports: list[SaveReport] = field(default_factory=list)
    """One a job, in the order of the input. Jobs before a refused one are archived."""
    copied: CopyReport | None = None
    """Of a folder of Parquet files, in place of ``reports``: it is copied as archives are."""
    error: TuneledgerError | None = None
    skipped: bool = False
    """It lay in a folder beside others and is of no known format."""
    joined_to: str | None = None
    """The input whose outcome has the reports: both tell of one job, and were archived as one."""
