"""Our own JSON lines: a job a line, in the fields of `Job`. What ``export --format jsonl`` writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from tuneledger import json_text
from tuneledger.errors import InvalidPayload
from tuneledger.models import NOT_EVALUATED, Job, Placeholder, validated
from tuneledger.sources.source import OTHER_JOB, Document, Hints, Source, exported_as_is

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SOURCE", "job_line"]

_VERSION: Final = 1
_MARK: Final = b'{"tuneledger": '


def job_line(job: Job) -> str:
    """Give a job as one line of JSON, from which exactly it can be made again.

    NaN and infinities are bare words. ``not_evaluated`` lists, by metric, the steps whose 0.0 is a
    provider's placeholder.
    """
    placeholders: dict[str, list[int]] = {}
    for checkpoint in job.checkpoints:
        for name, value in checkpoint.metrics.named_values().items():
            if isinstance(value, Placeholder):
                placeholders.setdefault(name, []).append(checkpoint.step_number)
    return json.dumps({"tuneledger": _VERSION, "not_evaluated": placeholders, **exported_as_is(job)})


def _recognises(document: Document) -> bool:
    return document.data.startswith(_MARK)


def _read(document: Document, hints: Hints) -> Iterator[Job]:
    for number, line in enumerate(document.data.splitlines(), 1):
        if line:
            yield _job(line, f"line {number}", document.name, hints)


def _job(line: bytes, position: str, source: str, hints: Hints) -> Job:
    fields: Any = json_text.parse(line, source=source)
    if not isinstance(fields, dict) or fields.pop("tuneledger", None) != _VERSION:
        raise InvalidPayload(
            source=source,
            position=position,
            reason="is no job line of this release; `pip install --upgrade tuneledger` may read it",
        )
    if hints.job_id is not None and fields.get("job_id") != hints.job_id:
        raise InvalidPayload(source=source, position=position, field="job_id", reason=OTHER_JOB)
    placeholders = fields.pop("not_evaluated", {})
    try:
        marked = {(step, name) for name, steps in placeholders.items() for step in steps}
        for checkpoint in fields.get("checkpoints", ()) if marked else ():
            metrics = checkpoint["metrics"]
            for name in metrics:
                if (checkpoint["step_number"], name) in marked:
                    metrics[name] = NOT_EVALUATED
    except (AttributeError, KeyError, TypeError):
        raise InvalidPayload(
            source=source, position=position, field="not_evaluated", reason="is not as `export` writes it"
        ) from None
    return validated(Job, fields, source=source, position=position)


def _export(job: Job) -> object:
    return json.loads(job_line(job))


SOURCE = Source("tuneledger-jsonl", "job lines of `tuneledger export`", _recognises, _read, _export)
