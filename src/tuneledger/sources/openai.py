"""OpenAI's and Azure OpenAI's fine-tuning jobs: answers of their API and result files.

Read are a job, a list page of jobs, pages of checkpoints and of events (or bare lists and single
objects of these), and the result file ``step_metrics.csv``. What a folder holds of one job is joined:
events and result files do not name their job, so they belong to the one job of their folder, and where
there is none or several, to a job named by their own path.

The service keeps the last three checkpoints alone; the metrics of the others live in the events of type
``metrics``, which therefore become steps too. A step that the service keeps a checkpoint of has its
``id``; one without is known by its metrics only. Azure's ids end in 32 hexadecimal digits, OpenAI's do
not; that tells the provider.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tuneledger.errors import InvalidPayload
from tuneledger.models import Job, is_final, validated
from tuneledger.sources.delimited import header, table
from tuneledger.sources.document import Document, Hints
from tuneledger.sources.source import OTHER_JOB, Source, checkpoint_object, event_object, local_job_id
from tuneledger.sources.steps import checkpoints_of_rows, one_a_step, whole_step

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tuneledger.models import CheckpointOut

__all__ = ["AZURE", "OPENAI", "SOURCE", "job", "joined_job"]

OPENAI = "openai"
AZURE = "azure"

_RESULT_COLUMNS = {"step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy"}
_AZURE_ID = re.compile(r"ft[a-z]+-[0-9a-f]{32}")
_EVENT_METADATA = {"step", "total_steps"}
_LISTS = ("checkpoints", "events", "step_metrics")


@dataclass(slots=True)
class _Run:
    """What was found of one job."""

    jobs: list[tuple[dict[str, Any], str, str]] = field(default_factory=list)
    """The job's own object, each time it was met, with the document's name and the place in it."""
    checkpoints: list[Any] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    """Steps of result files, as the fields of `CheckpointOut`."""
    documents: list[Document] = field(default_factory=list)

    def take(self, other: _Run) -> None:
        self.jobs += other.jobs
        self.checkpoints += other.checkpoints
        self.events += other.events
        self.rows += other.rows
        self.documents += [document for document in other.documents if document not in self.documents]


def _is_job(value: object) -> bool:
    # Mistral's jobs have a list of training_files.
    return isinstance(value, dict) and {"id", "training_file", "status", "created_at"} <= value.keys()


def _is_checkpoint(value: object) -> bool:
    return isinstance(value, dict) and {"fine_tuning_job_id", "step_number", "metrics"} <= value.keys()


def _is_event(value: object) -> bool:
    return isinstance(value, dict) and {"id", "level", "message", "created_at"} <= value.keys()


def _is_part(value: object) -> bool:
    return _is_job(value) or _is_checkpoint(value) or _is_event(value)


def _listed(value: object) -> list[Any] | None:
    """Give the items of a page, whatever it says of itself, or of a bare list; None for anything else."""
    if isinstance(value, dict) and not _is_part(value):
        value = value.get("data")
    return value if isinstance(value, list) else None


def _is_bundle(value: object) -> bool:
    """Tell what we export of a run whose job itself was never archived."""
    if not isinstance(value, dict) or not value.keys() <= set(_LISTS) or not value:
        return False
    return all(_listed(items) for items in value.values())


def _is_result_file(document: Document) -> bool:
    return set(header(document)) >= _RESULT_COLUMNS


def _recognises(document: Document) -> bool:
    if _is_result_file(document):
        return True
    value = document.json_or_none
    items = _listed(value)
    if items is not None:
        return bool(items) and all(map(_is_part, items))
    return _is_part(value) or _is_bundle(value)


# -- taking documents apart ---------------------------------------------------------------------


def _runs_in(document: Document) -> tuple[dict[str, _Run], _Run]:
    """Give what a document tells of each job that it names, and what it does not say the job of."""
    named: dict[str, _Run] = {}
    loose = _Run()
    if _is_result_file(document):
        loose.rows += _result_steps(document)
    else:
        value = document.json
        items = _listed(value)
        if items is None:
            _sort_in(value, "", document, named, loose)
        for index, item in enumerate(items or (), document.first_item):
            _sort_in(
                item, f"data[{index}]" if isinstance(value, dict) else f"[{index}]", document, named, loose
            )
    for run in (*named.values(), loose):
        run.documents.append(document)
        list(_jobs("-", run))  # what is wrong in it is said of this document, not of those it is joined with
    if len(named) == 1:
        next(iter(named.values())).take(loose)
        loose = _Run()
    return named, loose


def _sort_in(item: Any, position: str, document: Document, named: dict[str, _Run], loose: _Run) -> None:
    if _is_job(item):
        run = named.setdefault(_identity(item, "id", position, document), _Run())
        run.jobs.append((item, document.name, position))
        _take_lists(item, position, document, run)
    elif _is_checkpoint(item):
        named.setdefault(
            _identity(item, "fine_tuning_job_id", position, document), _Run()
        ).checkpoints.append(item)
    elif _is_event(item):
        loose.events.append(item)
    elif _is_bundle(item):
        _take_lists(item, position, document, loose)
    else:
        raise InvalidPayload(
            source=document.name,
            position=position,
            reason="neither a fine-tuning job of OpenAI's nor a checkpoint or an event of one",
        )


def _take_lists(item: dict[str, Any], position: str, document: Document, run: _Run) -> None:
    run.checkpoints += _members(item, "checkpoints", position, document, _is_checkpoint)
    run.events += _members(item, "events", position, document, _is_event)
    run.rows += _members(item, "step_metrics", position, document, lambda row: isinstance(row, dict))


def _members(item: dict[str, Any], name: str, position: str, document: Document, fits: Any) -> list[Any]:
    if item.get(name) is None:
        return []
    members = _listed(item[name])
    if members is None or not all(map(fits, members)):
        raise InvalidPayload(
            source=document.name, position=position, field=name, reason="is not a page of these"
        )
    return members


def _identity(item: dict[str, Any], name: str, position: str, document: Document) -> str:
    if not isinstance(item[name], str):
        raise InvalidPayload(source=document.name, position=position, field=name, reason="must be text")
    return str(item[name])


def _result_steps(document: Document) -> list[dict[str, Any]]:
    cells = table(document)
    steps = cells.steps("step")
    if None in steps:
        line = cells.lines[steps.index(None)]
        raise InvalidPayload(
            source=document.name, position=f"line {line}", field="step", reason="is required, but absent"
        )
    rows = list(cells.rows([name for name in cells.columns if name != "step"]))
    return checkpoints_of_rows([step for step in steps if step is not None], rows)


# -- putting a job together ---------------------------------------------------------------------


def _joined(documents: Sequence[Document], hints: Hints) -> Iterator[tuple[Job, list[Document]]]:
    runs: dict[str, _Run] = {}
    loose: list[tuple[Document, _Run]] = []
    for document in documents:
        named, rest = _runs_in(document)
        if hints.job_id is not None and named.keys() - {hints.job_id}:
            raise InvalidPayload(
                source=document.name,
                reason=f"of job {min(named.keys() - {hints.job_id})!r}: {OTHER_JOB}",
            )
        for job_id, run in named.items():
            runs.setdefault(job_id, _Run()).take(run)
        if rest.events or rest.checkpoints or rest.rows:
            loose.append((document, rest))
    alone = next(iter(runs)) if len(runs) == 1 else None
    for document, rest in loose:
        job_id = hints.job_id or alone or local_job_id(document, hints)
        runs.setdefault(job_id, _Run()).take(rest)
    for job_id, run in runs.items():
        for made in _jobs(job_id, run):
            yield made, run.documents


def _read(document: Document, hints: Hints) -> Iterator[Job]:
    yield from (made for made, _ in _joined([document], hints))


def _jobs(job_id: str, run: _Run) -> Iterator[Job]:
    """Give the job, and before it each earlier answer about it that says something else."""
    source = run.documents[0].name
    provider = AZURE if _is_azure(job_id, run) else OPENAI
    if not run.jobs:
        yield job(job_id, None, provider=provider, source=source, run=run)
        return
    ordered = sorted(run.jobs, key=lambda found: _age(found[0]))
    *earlier, (newest, source, position) = ordered
    for item, name, place in earlier:
        if item != newest:
            yield job(job_id, item, provider=provider, source=name, position=place)
    yield job(job_id, newest, provider=provider, source=source, position=position, run=run)


def job(
    job_id: str,
    item: dict[str, Any] | None,
    *,
    provider: str,
    source: str,
    position: str = "",
    run: _Run | None = None,
) -> Job:
    """Make a job of its own object (None: it is not known) and what else was found of it."""
    run = run or _Run()
    given: dict[str, Any] = {
        "job_id": job_id,
        "provider": provider,
        "events": [{**event, "name": event.get("type") or "event"} for event in _each_once(run.events)],
        "checkpoints": one_a_step(
            [
                *map(_copied, run.rows),
                *_event_steps(run.events),
                *map(_copied, run.checkpoints),
            ]
        ),
    }
    if item is not None:
        status = item["status"]
        given |= {
            "model": item.get("model"),
            "status": status,
            "created_at": item["created_at"],
            "revision": _revision(item),
            "finished_at": item.get("finished_at"),
            "fine_tuned_model": item.get("fine_tuned_model"),
            "trained_tokens": item.get("trained_tokens"),
            "document": {name: value for name, value in item.items() if name not in _LISTS},
        }
    return validated(Job, given, source=source, position=position)


def joined_job(item: dict[str, Any], *, provider: str, source: str) -> Job:
    """Make a job of its object, in which its checkpoints and events stand as lists."""
    if not _is_job(item):
        raise InvalidPayload(source=source, reason="not a fine-tuning job of OpenAI's")
    run = _Run()
    _take_lists(item, "", Document(source, b""), run)
    return job(
        _identity(item, "id", "", Document(source, b"")), item, provider=provider, source=source, run=run
    )


def _age(item: dict[str, Any]) -> tuple[int, bool]:
    """Give what later answers about a job have more of; one without a time is refused in whatever order."""
    revision = _revision(item)
    return revision if type(revision) is int else 0, is_final(_text(item, "status"))


def _revision(item: dict[str, Any]) -> Any:
    return item.get("finished_at") or item["created_at"]


def _text(item: dict[str, Any], name: str) -> str | None:
    value = item.get(name)
    return value if isinstance(value, str) else None


def _is_azure(job_id: str, run: _Run) -> bool:
    ids = [job_id, *(_text(event, "id") or "" for event in run.events[:1])]
    return any(map(_AZURE_ID.fullmatch, ids))


def _copied(checkpoint: dict[str, Any]) -> dict[str, Any]:
    metrics = checkpoint.get("metrics")
    return {**checkpoint, "metrics": dict(metrics) if isinstance(metrics, dict) else metrics}


def _each_once(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Drop the events that overlapping pages repeat."""
    return list({str(event["id"]): event for event in events}.values())


def _event_steps(events: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Give the steps that events of metrics tell of, oldest first, as the fields of `CheckpointOut`."""
    found = []
    for event in _each_once(events):
        data = event["data"] if isinstance(event.get("data"), dict) else {}
        step = whole_step(data.get("step"))
        if step is None:
            continue
        metrics = {
            name: value
            for name, value in data.items()
            if type(value) in (int, float) and name not in _EVENT_METADATA
        }
        if metrics:
            found.append({"metrics": metrics, "step_number": step, "created_at": event["created_at"]})
    return reversed(found) if _newest_first(found) else iter(found)


def _newest_first(found: list[dict[str, Any]]) -> bool:
    return len(found) > 1 and found[0]["step_number"] > found[-1]["step_number"]


# -- and back -----------------------------------------------------------------------------------


def kept(checkpoint: CheckpointOut) -> bool:
    """Tell whether the service kept the checkpoint itself, or only its metrics are known."""
    return "id" in (checkpoint.__pydantic_extra__ or {})


def _export(made: Job) -> object:
    events = [_event_as_it_came(event_object(event)) for event in reversed(made.events)]
    derived = {item["step_number"]: item for item in one_a_step(_event_steps(events))}
    checkpoints, rows = [], []
    for checkpoint in reversed(made.checkpoints):
        item = checkpoint_object(checkpoint)
        if kept(checkpoint):
            checkpoints.append(item)
        elif derived.get(checkpoint.step_number) != item:
            rows.append(item)
    lists = {
        name: items if name == "step_metrics" else _page(items)
        for name, items in zip(_LISTS, (checkpoints, events, rows), strict=True)
        if items
    }
    if not made.document and len(lists) == 1 and not rows:
        return next(iter(lists.values()))
    return {**made.document, **lists}


def _page(items: list[Any]) -> dict[str, Any]:
    return {"object": "list", "data": items, "has_more": False}


def _event_as_it_came(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != "name"}


SOURCE = Source(
    OPENAI,
    "OpenAI's and Azure OpenAI's fine-tuning jobs",
    _recognises,
    _read,
    _export,
    joined=_joined,
    is_job=_is_job,
    kept=kept,
    also=(AZURE,),
)
