"""What becomes of stored content when a payload arrives: pure decisions, no SQL.

The rules, of which every order of payloads is meant to end in the same state:

* A field or value that only one side has is kept.
* Where both differ, the one of the larger revision stands; at equal revisions that of a final status,
  then the one that arrived later. The job's own fields are compared one by one, each at the revision it
  is of: a field that the newest payload lacked keeps the revision of the newest that had it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tuneledger import json_text
from tuneledger.errors import Conflict, shortened
from tuneledger.mapping import JobContent
from tuneledger.models import CheckpointOut, Placeholder, is_final
from tuneledger.repository.records import ABSENT, Change, OnConflict

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Decisions", "merged_checkpoint", "merged_content", "payload_is_newer"]

_DOCUMENT = "document."


@dataclass(slots=True)
class Decisions:
    """The differences met on the way, and what became of each."""

    on_conflict: OnConflict
    job_id: str
    changed: list[Change] = field(default_factory=list)
    kept: list[Change] = field(default_factory=list)

    def takes(self, change: Change, *, newer: bool) -> bool:
        """Tell whether the payload's value goes in, and note it; or raise `Conflict` if that was asked."""
        if self.on_conflict is OnConflict.REPLACE or (newer and self.on_conflict is OnConflict.MERGE):
            self.changed.append(change)
            return True
        if newer and self.on_conflict is OnConflict.ERROR:
            where = "" if change.step_number is None else f" at step {change.step_number}"
            raise Conflict(
                f"job {shortened(self.job_id)!r}{where}: {shortened(change.field)} is stored as "
                f"{shortened(change.old)} and would become {shortened(change.new)}; "
                f"nothing was written (--on-conflict merge, keep or replace decides instead)"
            )
        self.kept.append(change)
        return False


def payload_is_newer(payload: JobContent, stored: JobContent) -> bool:
    """Tell whether the payload's values stand where both differ."""
    ours, theirs = stored.fields["revision"], payload.fields["revision"]
    if ours != theirs:
        return bool(theirs > ours)
    return is_final(payload.fields.get("status")) or not is_final(stored.fields.get("status"))


def merged_content(stored: JobContent, payload: JobContent, decisions: Decisions) -> JobContent:
    """Merge the fields of a job. Raises `Conflict` for jobs of two providers, in every mode."""
    if stored.fields["provider"] != payload.fields["provider"]:
        raise Conflict(
            f"job {shortened(stored.job_id)!r} is stored as one of {shortened(stored.fields['provider'])}, "
            f"not of {shortened(payload.fields['provider'])}; give this one another id with --job-id"
        )
    if decisions.on_conflict is OnConflict.REPLACE:
        _note_replaced(_flat(stored), _flat(payload), decisions)
        _note_revision(stored, payload, decisions)
        return payload
    ours, theirs = stored.fields["revision"], payload.fields["revision"]
    revision = max(ours, theirs)
    ties_to_payload = payload_is_newer(payload, stored)
    values = _flat(stored)
    revisions = {name: stored.older_fields.get(name, ours) for name in values}
    for name, new in _flat(payload).items():
        if name not in values:
            decisions.changed.append(Change(None, name, ABSENT, new))
            values[name], revisions[name] = new, theirs
        elif _same(values[name], new):
            revisions[name] = max(revisions[name], theirs)
        else:
            newer = theirs > revisions[name] or (theirs == revisions[name] and ties_to_payload)
            if decisions.takes(Change(None, name, values[name], new), newer=newer):
                values[name], revisions[name] = new, theirs
    if decisions.on_conflict is OnConflict.KEEP and decisions.kept:
        # What stayed is still of the stored revision; counted as newer it would win over its successors.
        revision = ours
    merged = JobContent(stored.job_id, {"revision": revision}, {})
    for name, value in values.items():
        if name.startswith(_DOCUMENT):
            merged.document[name.removeprefix(_DOCUMENT)] = value
        else:
            merged.fields[name] = value
    merged.fields.setdefault("created_at", 0)
    merged.older_fields = {name: of for name, of in revisions.items() if of < revision}
    _note_revision(stored, merged, decisions)
    return merged


def _note_revision(stored: JobContent, merged: JobContent, decisions: Decisions) -> None:
    before, after = stored.fields["revision"], merged.fields["revision"]
    if before != after:
        decisions.changed.append(Change(None, "revision", before, after))


def _flat(content: JobContent) -> dict[str, Any]:
    """Give every field of a job under one name; a time of 0 is no time."""
    fields = {name: value for name, value in content.fields.items() if name != "revision"}
    if not fields["created_at"]:
        del fields["created_at"]
    return fields | {_DOCUMENT + name: value for name, value in content.document.items()}


def _note_replaced(stored: Mapping[str, Any], payload: Mapping[str, Any], decisions: Decisions) -> None:
    for name in sorted(stored.keys() | payload.keys()):
        old, new = stored.get(name, ABSENT), payload.get(name, ABSENT)
        if ABSENT in (old, new) or not _same(old, new):
            decisions.changed.append(Change(None, name, old, new))


def _same(one: object, other: object) -> bool:
    """Tell whether two values would be stored as the same text: 1 is not 1.0, NaN is NaN."""
    return one is other or json_text.canonical(one) == json_text.canonical(other)


def merged_checkpoint(
    stored: CheckpointOut, payload: CheckpointOut, decisions: Decisions, *, newer: bool
) -> CheckpointOut:
    """Merge two checkpoints of one step, value by value."""
    step = stored.step_number
    metrics = _merged_values(
        step,
        "metrics.",
        stored.metrics.named_values(),
        payload.metrics.named_values(),
        decisions,
        newer=newer,
    )
    fields = _merged_values(step, "", _fields(stored), _fields(payload), decisions, newer=newer)
    return CheckpointOut.model_validate({"created_at": 0, **fields, "metrics": metrics, "step_number": step})


def _fields(checkpoint: CheckpointOut) -> dict[str, Any]:
    """Give the fields of a checkpoint beside its metrics; a time of 0 is no time."""
    time = {"created_at": checkpoint.created_at} if checkpoint.created_at else {}
    return time | (checkpoint.__pydantic_extra__ or {})


def _merged_values(
    step: int,
    prefix: str,
    stored: Mapping[str, Any],
    payload: Mapping[str, Any],
    decisions: Decisions,
    *,
    newer: bool,
) -> dict[str, Any]:
    merged = dict(stored)
    for name, new in payload.items():
        if name not in stored:
            decisions.changed.append(Change(step, prefix + name, ABSENT, new))
            merged[name] = new
        elif not _same_metric(stored[name], new) and decisions.takes(
            Change(step, prefix + name, stored[name], new), newer=newer
        ):
            merged[name] = new
    if decisions.on_conflict is OnConflict.REPLACE:
        for name in sorted(stored.keys() - payload.keys()):
            decisions.changed.append(Change(step, prefix + name, merged.pop(name), ABSENT))
    return merged


def _same_metric(one: object, other: object) -> bool:
    if type(one) is type(other) is float and one == other != 0.0:
        return True
    # Not by type: a float of a class of its own, as NumPy's, is the number it is.
    return isinstance(one, Placeholder) is isinstance(other, Placeholder) and _same(one, other)
