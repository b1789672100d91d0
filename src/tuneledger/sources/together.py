"""Together's fine-tuning jobs, as ``tuneledger sync together`` joins them from the service's answers.

A job object has no checkpoints and no metrics; the service lists them apart. Joined they stand in it as
``checkpoints`` (step, created_at, path, ...) and ``metrics`` (rows of numbers with their ``global_step``),
and this is also the shape that is exported. Times are ISO 8601 texts. A step that the service keeps a
checkpoint of has its ``path``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneledger.errors import InvalidPayload
from tuneledger.models import Job, is_final, validated
from tuneledger.sources.document import Document, Hints, items_of
from tuneledger.sources.source import OTHER_JOB, Source, event_object
from tuneledger.sources.steps import one_a_step, rows_of, whole_step
from tuneledger.sources.times import unix_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuneledger.models import CheckpointOut

__all__ = ["SOURCE", "job"]

_NAME = "together"
_STEP = "global_step"
_SENT_TIME = "sent_created_at"
"""Where the text of a time is kept whose second is the checkpoint's or the event's own field."""


def job(item: Any, *, source: str, position: str = "") -> Job:
    """Make a job of its object, in which its checkpoints and metrics stand. Raises `InvalidPayload`."""
    if not _is_job(item):
        raise InvalidPayload(source=source, position=position, reason="not a fine-tuning job of Together's")
    status = item["status"]
    changed_at = item.get("updated_at") or item["created_at"]
    given = {
        "job_id": item["id"],
        "provider": _NAME,
        "model": item.get("model"),
        "status": status,
        "created_at": _time(item, "created_at", source, position) or 0,
        "revision": _time({"updated_at": changed_at}, "updated_at", source, position) or 0,
        "fine_tuned_model": item.get("model_output_name"),
        "trained_tokens": item.get("token_count"),
        "document": {
            name: [] if name in {"events", "checkpoints", "metrics"} and isinstance(value, list) else value
            for name, value in item.items()
        },
        "events": [
            _event(event, source, f"{position} events[{index}]".lstrip())
            for index, event in enumerate(_list(item, "events", source, position))
        ],
        "checkpoints": one_a_step(
            [
                *(
                    _measured(row, source, f"{position} metrics[{index}]".lstrip())
                    for index, row in enumerate(_list(item, "metrics", source, position))
                ),
                *(
                    _kept(row, source, f"{position} checkpoints[{index}]".lstrip())
                    for index, row in enumerate(_list(item, "checkpoints", source, position))
                ),
            ]
        ),
    }
    if isinstance(status, str) and is_final(status):
        given["finished_at"] = given["revision"]
    return validated(Job, given, source=source, position=position)


def _is_job(value: object) -> bool:
    # OpenAI's and Mistral's times are numbers.
    return (
        isinstance(value, dict)
        and isinstance(value.get("id"), str)
        and value["id"].startswith("ft-")
        and isinstance(value.get("created_at"), str)
        and "status" in value
    )


def _list(item: dict[str, Any], name: str, source: str, position: str) -> list[dict[str, Any]]:
    members = item.get(name) or []
    if not isinstance(members, list) or not all(isinstance(member, dict) for member in members):
        raise InvalidPayload(source=source, position=position, field=name, reason="must be a list of objects")
    return members


def _time(item: dict[str, Any], name: str, source: str, position: str) -> int | None:
    try:
        return unix_seconds(item.get(name))
    except ValueError as error:
        raise InvalidPayload(source=source, position=position, field=name, reason=str(error)) from None


def _event(event: dict[str, Any], source: str, position: str) -> dict[str, Any]:
    return {
        **event,
        "name": event.get("type") or "event",
        "created_at": _time(event, "created_at", source, position) or 0,
        _SENT_TIME: event.get("created_at"),
    }


def _measured(row: dict[str, Any], source: str, position: str) -> dict[str, Any]:
    metrics = dict(row)
    step = whole_step(metrics.pop(_STEP, None))
    if step is None:
        raise InvalidPayload(source=source, position=position, field=_STEP, reason="must be a whole number")
    return {"metrics": metrics, "step_number": step, "created_at": 0}


def _kept(row: dict[str, Any], source: str, position: str) -> dict[str, Any]:
    fields = {name: value for name, value in row.items() if name not in {"step", "created_at"}}
    return {
        **fields,
        "metrics": {},
        "step_number": row.get("step"),
        "created_at": _time(row, "created_at", source, position) or 0,
        _SENT_TIME: row.get("created_at"),
    }


def _is_kept(checkpoint: CheckpointOut) -> bool:
    return _SENT_TIME in (checkpoint.__pydantic_extra__ or {})


def _recognises(document: Document) -> bool:
    items = items_of(document.json_or_none)
    return bool(items) and all(_is_job(item) for _, item in items)


def _read(document: Document, hints: Hints) -> Iterator[Job]:
    for position, item in items_of(document.json, document.first_item):
        made = job(item, source=document.name, position=position)
        if hints.job_id is not None and made.job_id != hints.job_id:
            raise InvalidPayload(source=document.name, position=position, reason=OTHER_JOB)
        yield made


def _export(made: Job) -> object:
    exported = dict(made.document)
    metrics = [{**values, _STEP: step} for step, values in rows_of(made.checkpoints) if values]
    checkpoints = [_row_as_it_came(checkpoint) for checkpoint in made.checkpoints if _is_kept(checkpoint)]
    events = [_event_as_it_came(event_object(event)) for event in made.events]
    for name, items in (("metrics", metrics), ("checkpoints", checkpoints), ("events", events)):
        if items or exported.get(name) is not None:
            exported[name] = items
    return exported


def _row_as_it_came(checkpoint: CheckpointOut) -> dict[str, Any]:
    fields = dict(checkpoint.__pydantic_extra__ or {})
    sent = fields.pop(_SENT_TIME)
    fields.pop("earlier_values", None)  # they stand among the metrics
    return {**fields, "step": checkpoint.step_number, "created_at": sent}


def _event_as_it_came(event: dict[str, Any]) -> dict[str, Any]:
    fields = {name: value for name, value in event.items() if name not in {"name", _SENT_TIME}}
    return {**fields, "created_at": event[_SENT_TIME]}


SOURCE = Source(
    _NAME,
    "Together's fine-tuning jobs, joined by sync",
    _recognises,
    _read,
    _export,
    is_job=_is_job,
    kept=_is_kept,
)
