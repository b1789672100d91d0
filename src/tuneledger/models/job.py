"""Jobs and their events, the same for every provider."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from tuneledger import json_text
from tuneledger.errors import shortened
from tuneledger.models.archived import ArchivedModel
from tuneledger.models.checkpoint import CheckpointOut
from tuneledger.models.values import (
    FiniteNumber,
    JobId,
    JsonObject,
    NameText,
    Revision,
    Tokens,
    UnixSeconds,
    UnknownName,
    UnknownValue,
)

__all__ = ["FINAL_STATUSES", "Event", "Job", "duration_seconds", "is_final"]

FINAL_STATUSES: Final = frozenset(
    {
        "cancelled",
        "canceled",
        "complete",
        "completed",
        "error",
        "expired",
        "failed",
        "failed_validation",
        "finished",
        "killed",
        "stopped",
        "succeeded",
        "success",
        "user_error",
    }
)
"""Statuses after which providers change a job no more (Mistral, OpenAI, Azure, Together, Cohere,
MLflow; compared in lower case). Any other status, also an unknown one, is taken as not final."""


def is_final(status: str | None) -> bool:
    """Tell whether a job of this status is over; an unknown or missing status is not."""
    return status is not None and status.lower() in FINAL_STATUSES


def duration_seconds(created_at: int, finished_at: int | None, status: str | None) -> int | None:
    """Give how long a job took; None where that is not known, or where it goes on since its last end."""
    if not created_at or finished_at is None or finished_at < created_at:
        return None
    return finished_at - created_at if status is None or is_final(status) else None


class Event(ArchivedModel):
    """Something that happened to a job. Equal events may occur more than once. Unknown fields are kept."""

    __pydantic_extra__: dict[UnknownName, UnknownValue]

    name: NameText
    created_at: UnixSeconds
    data: UnknownValue = None
    """What the provider says of it; absent and null are kept apart (Mistral's SDK 1.0 left it out)."""

    def details(self) -> dict[str, Any]:
        """Give every field but name and time, as it came."""
        details = dict(self.__pydantic_extra__ or {})
        if "data" in self.model_fields_set:
            details["data"] = self.data
        return details

    def canonical_text(self) -> str:
        """Give the text that two equal ones share."""
        return json_text.canonical([self.name, self.created_at, self.details()])


class Job(ArchivedModel):
    """A fine-tuning job with what was recorded of it.

    Checkpoints are in step order, events in order of time. A step that stands twice with the same
    content counts once, with different content it is refused. Fields that are not declared here go
    into ``document``.
    """

    job_id: JobId
    provider: NameText
    model: NameText | None = None
    status: NameText | None = None
    """As the provider spells it; new ones appear, and a job can go back (`is_final` tells the end)."""
    created_at: UnixSeconds = 0
    """0 where the source gives no times; views show NULL then."""
    revision: Revision = 0
    """Which of two payloads of one job is newer: the larger. Drawn from the payload, never the clock."""
    finished_at: UnixSeconds | None = None
    """The last end that is known. A job that went on since keeps it until it ends again: `status` tells."""
    fine_tuned_model: NameText | None = None
    trained_tokens: Tokens | None = None
    cost: FiniteNumber | None = None
    """What the provider charged or expects to charge, in ``cost_currency``."""
    cost_currency: NameText | None = None
    document: JsonObject = Field(default_factory=dict)
    """The provider's own job object, verbatim, its lists of checkpoints and events emptied."""
    events: list[Event] = Field(default_factory=list)
    checkpoints: list[CheckpointOut] = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _keep_unknown_fields(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        unknown = given.keys() - cls.model_fields.keys()
        if not unknown:
            return given
        known = {name: value for name, value in given.items() if name not in unknown}
        document = known.get("document", {})
        if not isinstance(document, dict):
            return given
        twice = unknown & document.keys()
        if twice:
            raise PydanticCustomError(
                "twice",
                "{name} stands both in the job and in its document",
                {"name": shortened(min(twice, key=str))},
            )
        known["document"] = document | {name: given[name] for name in given if name in unknown}
        return known

    @field_validator("events")
    @classmethod
    def _in_order_of_time(cls, events: list[Event]) -> list[Event]:
        return sorted(events, key=lambda event: (event.created_at, event.canonical_text()))

    @field_validator("checkpoints")
    @classmethod
    def _each_step_once(cls, checkpoints: list[CheckpointOut]) -> list[CheckpointOut]:
        ordered = sorted(checkpoints, key=lambda checkpoint: checkpoint.step_number)
        repeated = False
        for earlier, later in pairwise(ordered):
            if earlier.step_number == later.step_number:
                repeated = True
                if earlier != later:
                    raise PydanticCustomError(
                        "contradiction",
                        "step {step} stands twice, with different content",
                        {"step": earlier.step_number},
                    )
        if repeated:
            return list({checkpoint.step_number: checkpoint for checkpoint in ordered}.values())
        return ordered

    def fields(self) -> dict[str, Any]:
        """Give the declared fields that are known (not None), less the id and the lists."""
        declared = self.__dict__
        return {name: declared[name] for name in JOB_FIELDS if declared[name] is not None}

    def canonical_text(self) -> str:
        """Give the text that two equal ones share."""
        return json_text.canonical(
            [
                self.job_id,
                self.fields(),
                self.document,
                [event.canonical_text() for event in self.events],
                [checkpoint.canonical_text() for checkpoint in self.checkpoints],
            ]
        )


JOB_FIELDS: Final = tuple(
    name for name in Job.model_fields if name not in {"job_id", "document", "events", "checkpoints"}
)
"""The declared fields of a job beside its id, its document and its lists."""
