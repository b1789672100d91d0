"""Hugging Face's Trainer and what is built on it: TRL, LLaMA-Factory, Axolotl, Unsloth.

Read are ``trainer_state.json``, LLaMA-Factory's ``trainer_log.jsonl`` and the results that
``save_metrics`` writes (``all_results.json``, ``train_results.json``, ``eval_results.json``).

A trainer state is a growing file: each ``checkpoint-N`` folder has the log so far. Its rows of one step
(the losses, then each set of evaluations) become one checkpoint. Two kinds of rows are about the run
and not a step's measurements; they stay in the document's ``log_history``: rows without a step
(predictions), and the closing summary, whose ``train_loss`` is the mean over the run. A state that has
that summary is of a finished run. There are no times in these files.

No file names its run: the job's id is its folder (see `tuneledger.sources.source.local_job_id`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneledger.errors import InvalidPayload
from tuneledger.models import Job, validated
from tuneledger.sources.document import Document, Hints
from tuneledger.sources.source import Source, local_job_id
from tuneledger.sources.steps import checkpoints_of_rows, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SOURCE"]

_NAME = "huggingface"
_FILES = (
    "trainer_state.json",
    "trainer_log.jsonl",
    "all_results.json",
    "train_results.json",
    "eval_results.json",
)
_SUMMARY = "train_runtime"
_RUNTIMES = {_SUMMARY, "eval_runtime", "predict_runtime", "test_runtime"}
_RESULT = "results."
"""What the document puts before the names of a results file: some are the state's own (epoch, total_flos)."""


def _is_state(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    history = value.get("log_history")
    return isinstance(history, list) and all(isinstance(row, dict) for row in history)


def _is_results(value: object) -> bool:
    return (
        isinstance(value, dict)
        and not _RUNTIMES.isdisjoint(value)
        and not any(isinstance(item, (dict, list)) for item in value.values())
    )


def _is_log(document: Document) -> bool:
    row = document.first_json_line
    return isinstance(row, dict) and {"current_steps", "total_steps"} <= row.keys()


def _recognises(document: Document) -> bool:
    return _is_log(document) or _is_state(document.json_or_none) or _is_results(document.json_or_none)


def _read(document: Document, hints: Hints) -> Iterator[Job]:
    if _is_log(document):
        given = _of_log(document)
    elif _is_state(document.json):
        given = _of_state(document.json, document.name)
    elif _is_results(document.json):
        given = {"document": {_RESULT + name: value for name, value in document.json.items()}}
    else:
        raise InvalidPayload(
            source=document.name,
            reason="not a trainer's record: neither log_history, a list of objects, nor the results of a run",
        )
    given |= {"job_id": local_job_id(document, hints, of_folder=_FILES), "provider": _NAME}
    yield validated(Job, given, source=document.name)


def _of_state(state: dict[str, Any], source: str) -> dict[str, Any]:
    steps: list[int] = []
    rows: list[dict[str, Any]] = []
    aside: list[dict[str, Any]] = []
    for index, row in enumerate(state["log_history"]):
        if "step" not in row or _SUMMARY in row:
            aside.append(row)
            continue
        metrics = dict(row)
        step = metrics.pop("step")
        if type(step) is not int:
            raise InvalidPayload(
                source=source, position=f"log_history[{index}]", field="step", reason="must be an integer"
            )
        steps.append(step)
        rows.append(metrics)
    document = {name: value for name, value in state.items() if name != "log_history"}
    if aside:  # absent otherwise: an earlier state of the same step must not take the summary away
        document["log_history"] = aside
    reached = state.get("global_step")
    given = {
        # The step that the run had reached; a shortened state has the last one it logged.
        "revision": max(steps, default=0) if reached is None else reached,
        "document": document,
        "checkpoints": checkpoints_of_rows(steps, rows),
    }
    if any(_SUMMARY in row for row in aside):
        given["status"] = "finished"
    return given


def _of_log(document: Document) -> dict[str, Any]:
    steps: list[int] = []
    rows: list[dict[str, Any]] = []
    for place, row in document.placed_json_lines:
        step = row.get("current_steps") if isinstance(row, dict) else None
        if type(step) is not int:
            raise InvalidPayload(
                source=document.name, position=place, field="current_steps", reason="must be an integer"
            )
        steps.append(step)
        rows.append({name: value for name, value in row.items() if name != "current_steps"})
    return {"revision": max(steps), "checkpoints": checkpoints_of_rows(steps, rows)}


def _export(job: Job) -> object:
    """Give a trainer state: a row a step, then the rows that are about the run; or the results alone."""
    results = {
        name.removeprefix(_RESULT): value for name, value in job.document.items() if name.startswith(_RESULT)
    }
    if results and len(results) == len(job.document) and not job.checkpoints:
        return results
    rows = [{**metrics, "step": step} for step, metrics in rows_of(job.checkpoints)]
    return {**job.document, "log_history": rows + job.document.get("log_history", [])}


SOURCE = Source(
    _NAME,
    "Hugging Face trainers' states, logs and results",
    _recognises,
    _read,
    _export,
    files_of_a_run=_FILES,
)
