"""tuneledger: the history of your fine-tuning jobs, in your own SQL database.

Open an `Archive`, save `Job` models in it, ask a `CheckpointRepository` for what you look for::

    from tuneledger import Archive

    with Archive("history.db") as archive:
        archive.save(job)
        with archive.read() as repository:
            best = repository.best_checkpoint(job.job_id, "valid_loss")
"""

import typing as _typing

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

# Imported when they are first asked for: SQLAlchemy and pydantic take most of a second, which
# `tuneledger --version` and shell completion, being in this package, would pay for nothing.
_HOMES = {
    "NOT_EVALUATED": "models",
    "Archive": "archive",
    "CheckpointOut": "models",
    "CheckpointRepository": "repository",
    "Event": "models",
    "Input": "repository",
    "Job": "models",
    "MetricOut": "models",
    "OnConflict": "repository",
    "Placeholder": "models",
    "SaveReport": "repository",
    "TuneledgerError": "errors",
}

if _typing.TYPE_CHECKING:
    from tuneledger.archive import Archive
    from tuneledger.errors import TuneledgerError
    from tuneledger.models import NOT_EVALUATED, CheckpointOut, Event, Job, MetricOut, Placeholder
    from tuneledger.repository import CheckpointRepository, Input, OnConflict, SaveReport

    __version__: str
else:
    # Hidden from type checkers, for which it would make every misspelt name one of any type.
    def __getattr__(name: str) -> _typing.Any:
        if name == "__version__":
            from importlib.metadata import version

            found: _typing.Any = version("tuneledger")
        elif name in _HOMES:
            from importlib import import_module

            found = getattr(import_module(f"tuneledger.{_HOMES[name]}"), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
