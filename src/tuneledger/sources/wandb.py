"""Weights & Biases' history of a run, as CSV: ``_step``, ``_timestamp`` and ``_runtime`` beside the metrics.

That is what ``run.history()`` and ``run.scan_history()`` give, written by pandas. Its index, a column
without a name, is no part of it. Nothing names the run: its id is the file's path.
"""

from __future__ import annotations

import math
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

_NAME = "wandb"
_STEP = "_step"
_TIME = "_timestamp"


def _recognises(document: Document) -> bool:
    names = header(document)
    return _STEP in names and (_TIME in names or "_runtime" in names)


def _read(document: Document, hints: Hints) -> Iterator[Job]:
    if not _recognises(document):
        raise InvalidPayload(
            source=document.name,
            position="line 1",
            reason="not W&B's: no columns _step and _timestamp",
        )
    cells = table(document, with_index=True)
    steps = cells.steps(_STEP)
    if None in steps:
        line = cells.lines[steps.index(None)]
        raise InvalidPayload(
            source=document.name, position=f"line {line}", field=_STEP, reason="is required, but absent"
        )
    times = cells.numbers(_TIME) if _TIME in cells.columns else [None] * len(steps)
    if not all(value is None or (isinstance(value, float) and math.isfinite(value)) for value in times):
        raise InvalidPayload(source=document.name, field=_TIME, reason="must be UNIX seconds")
    seconds = [0 if value is None else int(value) for value in times]
    known = [step for step in steps if step is not None]
    given = {
        "job_id": local_job_id(document, hints),
        "provider": _NAME,
        "created_at": min(filter(None, seconds), default=0),
        "revision": max(known, default=0),
        # The time stays a metric too: it has fractions of a second.
        "checkpoints": checkpoints_of_rows(
            known, list(cells.rows([name for name in cells.columns if name != _STEP])), seconds
        ),
    }
    yield validated(Job, given, source=document.name)


SOURCE = Source(_NAME, "W&B's history of a run as CSV", _recognises, _read, exported_as_is)
