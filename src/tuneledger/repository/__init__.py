"""Every query of the archive, keyed by job and step: `CheckpointRepository`, one noun a module."""

from tuneledger.repository.checkpoints import CheckpointQueries, Goal, Selection
from tuneledger.repository.copying import JobToCopy, RowCopying
from tuneledger.repository.digests import DigestQueries, Proof
from tuneledger.repository.jobs import JobFilters, JobQueries
from tuneledger.repository.labels import PINNED, LabelWriting
from tuneledger.repository.pruning import Pruning
from tuneledger.repository.records import (
    ABSENT,
    Change,
    Columns,
    Input,
    InputRecord,
    JobPage,
    JobSummary,
    OnConflict,
    SaveReport,
    Series,
    SeriesSummary,
    StateRecord,
)
from tuneledger.repository.saving import JobWriting
from tuneledger.repository.series import SeriesQueries
from tuneledger.repository.verification import Finding, Problem, Verification

__all__ = [
    "ABSENT",
    "PINNED",
    "Change",
    "CheckpointRepository",
    "Columns",
    "Finding",
    "Goal",
    "Input",
    "InputRecord",
    "JobFilters",
    "JobPage",
    "JobSummary",
    "JobToCopy",
    "OnConflict",
    "Problem",
    "Proof",
    "SaveReport",
    "Selection",
    "Series",
    "SeriesSummary",
    "StateRecord",
]


class CheckpointRepository(
    RowCopying,
    JobWriting,
    Pruning,
    Verification,
    LabelWriting,
    DigestQueries,
    JobQueries,
    CheckpointQueries,
    SeriesQueries,
):
    """The archive behind one SQLAlchemy session: models in, models out. It never commits.

    Not to be shared between threads: one session, one repository each. Everything read in one
    transaction that `tuneledger.Archive.read` opened is of one moment. Jobs are named by their whole
    id (`job_id` completes a prefix); a job that does not exist raises `JobNotFound`.
    Bounds are inclusive, and open where they are None.
    """
