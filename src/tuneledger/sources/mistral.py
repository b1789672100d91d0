"""Mistral's fine-tuning jobs: answers of its API and dumps of its Python SDK, 0.4 to 2.5.1.

Read are a job (completion or classifier, with or without checkpoints), a list page (``{"data": [...]}``),
a bare list of jobs, and a bare list of ``CheckpointOut``, which needs a job id beside it. The SDK lost its
jobs API with 2.5.2 and the service answers 410 Gone, so saved answers are what there is.

Where a step was not evaluated Mistral sends 0.0 for ``valid_loss`` and for ``valid_mean_token_accuracy``
(a job without validation files has them on every step). A real pair is never both: the accuracy is
2 ** loss in every evaluated step of real jobs, so it is at least 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneledger.errors import InvalidPayload
from tuneledger.models import NOT_EVALUATED, Job, is_final, validated
from tuneledger.models.reading import plain
from tuneledger.sources.document import Document, Hints
from tuneledger.sources.source import OTHER_JOB, Source, checkpoint_object, event_object

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SOURCE", "jobs"]

_NAME = "mistral"
_NAMES = {
    "job_id": "id",
    "revision": "modified_at",
    "cost": "metadata.cost",
    "cost_currency": "metadata.cost_currency",
}
"""What Mistral calls those fields of a job that have another name here."""
_VALIDATION = ("valid_loss", "valid_mean_token_accuracy")


def jobs(
    payload: object, *, source: str = "<payload>", job_id: str | None = None, first_item: int = 0
) -> Iterator[Job]:
    """Give the jobs of a payload: JSON bytes or text, JSON values, or objects of Mistral's SDK.

    ``job_id`` says whose checkpoints a bare list of them is, and is refused beside a payload that
    names its jobs otherwise. ``first_item`` is the number of a list's first item, for messages. Raises
    `InvalidPayload` with ``source``, the place and the field.
    """
    value = plain(payload, source=source)
    if isinstance(value, list):
        value = [plain(item, source=source) for item in value]
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        yield from _listed(value["data"], source, "data", job_id, first_item)
    elif isinstance(value, list) and value and all(_is_checkpoint(item) for item in value):
        yield _job_of_checkpoints(value, source, job_id)
    elif isinstance(value, list):
        yield from _listed(value, source, "", job_id, first_item)
    else:
        yield _job(value, source, "", job_id)


def _listed(items: list[Any], source: str, name: str, job_id: str | None, first_item: int) -> Iterator[Job]:
    for index, item in enumerate(items, first_item):
        yield _job(item, source, f"{name}[{index}]", job_id)


def _job(payload: Any, source: str, position: str, job_id: str | None) -> Job:
    if not isinstance(payload, dict):
        raise InvalidPayload(source=source, position=position, reason="a job must be an object")
    if "id" not in payload:
        raise InvalidPayload(source=source, position=position, field="id", reason="is required, but absent")
    if job_id is not None and job_id != payload["id"]:
        raise InvalidPayload(source=source, position=position, field="id", reason=OTHER_JOB)
    document = {
        name: [] if name in ("checkpoints", "events") and isinstance(value, list) else value
        for name, value in payload.items()
    }
    metadata = payload.get("metadata")
    if not isinstance(metadata, dict):
        metadata = {}
    status = payload.get("status")
    modified_at = payload.get("modified_at", payload.get("created_at"))
    given = {
        "job_id": payload["id"],
        "provider": _NAME,
        "model": payload.get("model"),
        "status": status,
        "created_at": _required(payload, "created_at", source, position),
        "revision": modified_at,
        "finished_at": modified_at if type(modified_at) is int and _is_over(status) else None,
        "fine_tuned_model": payload.get("fine_tuned_model"),
        "trained_tokens": payload.get("trained_tokens"),
        "cost": metadata.get("cost"),
        "cost_currency": metadata.get("cost_currency"),
        "document": document,
        "events": _list_of(payload, "events"),
        "checkpoints": _marked(_list_of(payload, "checkpoints")),
    }
    return validated(Job, given, source=source, position=position, names=_NAMES)


def _is_over(status: object) -> bool:
    return isinstance(status, str) and is_final(status)


def _list_of(payload: dict[str, Any], name: str) -> Any:
    value = payload.get(name)
    return [] if value is None else value


def _required(payload: dict[str, Any], name: str, source: str, position: str) -> Any:
    if name not in payload:
        raise InvalidPayload(source=source, position=position, field=name, reason="is required, but absent")
    return payload[name]


def _job_of_checkpoints(checkpoints: list[Any], source: str, job_id: str | None) -> Job:
    if job_id is None:
        raise InvalidPayload(
            source=source, reason="a list of checkpoints does not name its job; say which with --job-id"
        )
    given = {"job_id": job_id, "provider": _NAME, "checkpoints": _marked(checkpoints)}
    return validated(Job, given, source=source)


def _marked(checkpoints: Any) -> Any:
    """Put the placeholder where a step was not evaluated; what is no checkpoint is left to be refused."""
    if not isinstance(checkpoints, list):
        return checkpoints
    return [_with_placeholders(checkpoint) for checkpoint in checkpoints]


def _with_placeholders(checkpoint: Any) -> Any:
    metrics = checkpoint.get("metrics") if isinstance(checkpoint, dict) else None
    if isinstance(metrics, dict) and all(_is_zero(metrics.get(name)) for name in _VALIDATION):
        return {**checkpoint, "metrics": {**metrics, **dict.fromkeys(_VALIDATION, NOT_EVALUATED)}}
    return checkpoint


def _is_zero(value: Any) -> bool:
    return type(value) in (int, float) and value == 0 and str(value)[0] != "-"


def _is_checkpoint(value: Any) -> bool:
    return isinstance(value, dict) and {"metrics", "step_number"} <= value.keys()


def _is_job(value: Any) -> bool:
    # OpenAI's jobs have one training_file; the list is Mistral's.
    return isinstance(value, dict) and {"id", "training_files", "created_at", "status"} <= value.keys()


def _recognises(document: Document) -> bool:
    value = document.json_or_none
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        value = value["data"]
    if isinstance(value, list):
        items = value
        ours = all(map(_is_job, items)) or all(
            _is_checkpoint(item) and "fine_tuning_job_id" not in item for item in items
        )
        return bool(items) and ours
    return _is_job(value)


def _read(document: Document, hints: Hints) -> Iterator[Job]:
    for job in jobs(document.json, source=document.name, job_id=hints.job_id, first_item=document.first_item):
        if str(job.document.get("object")).startswith("fine_tuning."):
            raise InvalidPayload(
                source=document.name, field="object", reason=f"{job.job_id!r} is a record of OpenAI's kind"
            )
        yield job


def _export(job: Job) -> object:
    checkpoints = [checkpoint_object(checkpoint) for checkpoint in job.checkpoints]
    if not job.document:
        return checkpoints
    exported = dict(job.document)
    # A list page's jobs have neither key; a job whose lists were null has them null.
    if checkpoints or exported.get("checkpoints") is not None:
        exported["checkpoints"] = checkpoints
    if job.events or exported.get("events") is not None:
        exported["events"] = [event_object(event) for event in job.events]
    return exported


SOURCE = Source(
    _NAME,
    "Mistral's fine-tuning jobs",
    _recognises,
    _read,
    _export,
    is_job=_is_job,
)
