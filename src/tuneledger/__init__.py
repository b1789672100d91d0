"""tuneledger: the history of your fine-tuning jobs, in your own SQL database.

Open an `Archive`, save `Job` models in it, ask a `CheckpointRepository` for what you look for::

    from tuneledger import Archive

    with Archive("history.db") as archive:
        archive.save(job)
        with archive.read() as repository:
            best = repository.best_checkpoint(job.job_id, "valid_loss")
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from tuneledger.archive import Archive
from tuneledger.errors import TuneledgerError
from tuneledger.models import NOT_EVALUATED, CheckpointOut, Event, Job, MetricOut, Placeholder
from tuneledger.repository import CheckpointRepository, Input, OnConflict, SaveReport

__all__ = [
    "NOT_EVALUATED",
    "Archive",
    "CheckpointOut",
    "CheckpointRepository",
    "Event",
    "Input",
    "Job",
    "MetricOut",
    "OnConflict",
    "Placeholder",
    "SaveReport",
    "TuneledgerError",
    "__version__",
]

if _TYPE_CHECKING:
    __version__: str


def __getattr__(name: str) -> str:
    """Give ``__version__`` when it is asked for: looking it up costs start-up time."""
    if name == "__version__":
        from importlib.metadata import version

        return version("tuneledger")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
