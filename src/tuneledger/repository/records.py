"""What the repository answers beside models: reports of a save, summaries, series, provenance."""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, NoReturn

from tuneledger.errors import InvalidArgument, shortened
from tuneledger.markup import Record, curve, described, table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "ABSENT",
    "Absent",
    "Change",
    "Columns",
    "Input",
    "InputRecord",
    "JobPage",
    "JobSummary",
    "OnConflict",
    "SaveReport",
    "Series",
    "SeriesSummary",
    "StateRecord",
]


class OnConflict(enum.StrEnum):
    """What a save does where a stored value differs from the new one."""

    MERGE = "merge"
    """Add what is new; the newer payload's values stand. Nothing is removed."""
    KEEP = "keep"
    """Add what is new; stored values stay."""
    ERROR = "error"
    """Add what is new; where the newer payload would change a value raise Conflict, writing nothing."""
    REPLACE = "replace"
    """The job becomes exactly the payload; the one mode that removes."""

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        raise InvalidArgument(f"on_conflict is one of {', '.join(cls)}, not {shortened(value)!r}")


class Absent(enum.Enum):
    """Stands for a value that is not there, where None means null."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Change(Record):
    """One value that differed: of a checkpoint, or (``step_number`` None) of the job itself.

    ``field`` is a metric's name as ``metrics.NAME``, ``created_at``, another field of the checkpoint, or
    of the job (``status``, ``document.NAME``). ``old`` is the stored value, ``new`` the payload's; either
    may be ABSENT.
    """

    step_number: int | None
    field: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class SaveReport(Record):
    """What one save did. Counts are of checkpoints."""

    job_id: str
    created: bool = False
    """The job is new."""
    added: int = 0
    """Checkpoints of new steps."""
    changed: tuple[Change, ...] = ()
    """Values that now are the payload's: changed, added to a stored step or job, or (replace) removed."""
    unchanged: int = 0
    """Checkpoints that were stored like this already."""
    kept: tuple[Change, ...] = ()
    """Values that differ and stayed as stored: the payload is older, or ``keep`` was asked for."""
    removed: int = 0
    """Checkpoints that are gone; only ``replace`` removes."""
    events_added: int = 0
    events_removed: int = 0
    states_added: int = 0
    """Statuses the job was not known to have had."""
    wrote: bool = False
    """Whether anything was written at all."""


@dataclass(frozen=True, slots=True)
class Input(Record):
    """An input that a job was read from, as `SaveReport` and ``show`` name it."""

    name: str
    format: str
    size_bytes: int
    sha256: str
    """In hexadecimal, of the bytes as they were read."""


@dataclass(frozen=True, slots=True)
class InputRecord(Input):
    """An `Input` that added something to a job, with when and by which release it was archived."""

    tuneledger_version: str
    archived_at: int
    """UNIX seconds."""


@dataclass(frozen=True, slots=True)
class StateRecord(Record):
    """A status that a job had at a revision."""

    revision: int
    status: str


@dataclass(frozen=True, slots=True)
class JobSummary(Record):
    """A job as lists show it: its fields, without document, events and checkpoints."""

    job_id: str
    provider: str
    model: str | None
    status: str | None
    created_at: int
    """UNIX seconds; 0 where the source gives no time."""
    revision: int
    finished_at: int | None
    fine_tuned_model: str | None
    trained_tokens: int | None
    cost: float | None
    cost_currency: str | None
    last_step: int | None
    """The highest step number, None while there is no checkpoint."""


@dataclass(frozen=True, slots=True)
class JobPage(Record):
    """A page of jobs; pass ``next_page`` on to get the one after it, None means it is the last."""

    jobs: list[JobSummary]
    next_page: str | None

    def _repr_html_(self) -> str:
        names = [field.name for field in fields(JobSummary)]
        return table(names, ([getattr(job, name) for name in names] for job in self.jobs))


@dataclass(frozen=True, slots=True)
class Series(Record):
    """One metric of one job as columns, in step order."""

    job_id: str
    metric: str
    """The name under which the job reports it; it may stand for the one that was asked for."""
    steps: list[int]
    values: list[float | None]
    """None is a reported null; NaN, infinities and placeholders come as they were reported."""

    def _repr_html_(self) -> str:
        members = {"job_id": self.job_id, "metric": self.metric, "steps": len(self.steps)}
        return described("Series", members.items()) + curve(self.steps, self.values)


@dataclass(frozen=True, slots=True)
class Columns:
    """Checkpoints of a job as NumPy arrays of one length, in step order."""

    job_id: str
    steps: NDArray[np.int64]
    created_at: NDArray[np.int64]
    """UNIX seconds."""
    values: dict[str, NDArray[np.float64]]
    """By metric, under the job's own names. NaN wherever there is no number; infinities are kept."""


@dataclass(frozen=True, slots=True)
class SeriesSummary(Record):
    """The numbers of one metric of one job in short; NaN, infinities, nulls and placeholders are none.

    Of equal values the lowest step stands. Without any number ``number_count`` is 0 and the rest is None.
    """

    metric: str
    number_count: int
    first_step: int | None
    first_value: float | None
    last_step: int | None
    last_value: float | None
    min_step: int | None
    min_value: float | None
    max_step: int | None
    max_value: float | None
