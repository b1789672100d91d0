"""Lightning's ``CSVLogger``: ``metrics.csv`` with the columns epoch and step beside the user's own.

Each call of ``log_metrics`` is a row of its own, so that most cells are empty; rows of one step become
one checkpoint. Nothing names the run and there are no times: the job's id is the file's path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuneledger.errors import InvalidPayload
from tuneledger.models import Job, validated
from tuneledger.sources.delimited import header, table
from tuneledger.sources.document import Document, Hints
from tuneledger.sources.source import Source, exported_as_is, local_job_id
from tuneledger.sources.steps import checkpoints_of_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SOURCE"]

_NAME = "lightning"


def _recognises(document: Document) -> bool:
    names = set(header(document))
    # Who trains with Lightning may log to W&B by these names; its history has a step and times of its own.
    return {"epoch", "step"} <= names and "_step" not in names


def _read(document: Document, hints: Hints) -> Iterator[Job]:
    if not _recognises(document):
        raise InvalidPayload(
            source=document.name, position="line 1", reason="not Lightning's: no columns epoch and step"
        )
    cells = table(document)
    steps = cells.steps("step")
    rows = list(cells.rows([name for name in cells.columns if name != "step"]))
    at_steps = [step for step in steps if step is not None]
    given = {
        "job_id": local_job_id(document, hints),
        "provider": _NAME,
        "revision": max(at_steps, default=0),
        "checkpoints": checkpoints_of_rows(
            at_steps, [row for row, step in zip(rows, steps, strict=True) if step is not None]
        ),
    }
    aside = [row for row, step in zip(rows, steps, strict=True) if step is None]
    if aside:
        given["document"] = {"rows_without_step": aside}
    yield validated(Job, given, source=document.name)


SOURCE = Source(
    _NAME,
    "Lightning's metrics.csv",
    _recognises,
    _read,
    exported_as_is,
    files_of_a_run=("metrics.csv",),
)
