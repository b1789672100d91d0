"""Checkpoints and their metrics, in the shape that Mistral's ``CheckpointOut`` gave them."""

from __future__ import annotations

from typing import Any

from tuneledger import json_text
from tuneledger.models.archived import ArchivedModel
from tuneledger.models.values import (
    MetricName,
    MetricValue,
    Placeholder,
    StepNumber,
    UndeclaredMetric,
    UnixSeconds,
    UnknownName,
    UnknownValue,
)

__all__ = ["CANONICAL_METRIC_NAMES", "CheckpointOut", "MetricOut"]

CANONICAL_METRIC_NAMES = {
    "loss": "train_loss",
    "training_loss": "train_loss",
    "eval_loss": "valid_loss",
    "val_loss": "valid_loss",
    "validation_loss": "valid_loss",
    "mean_token_accuracy": "train_mean_token_accuracy",
    "eval_mean_token_accuracy": "valid_mean_token_accuracy",
}
"""What other trainers call the metrics declared here (Hugging Face: loss, eval_loss; Lightning:
val_loss; Bedrock: training_loss, validation_loss; TRL: mean_token_accuracy). Names are stored as
they came; queries take either."""


class MetricOut(ArchivedModel):
    """The metrics of one checkpoint: an open set of named doubles.

    Four states are kept apart for each: absent (not in ``model_fields_set``), null (None), a number,
    and NaN or an infinity. A fifth is a source's `Placeholder`. An integer that no double holds
    exactly, and text or objects under undeclared names, come back as they came but are no numbers
    to any query.
    """

    __pydantic_extra__: dict[MetricName, UndeclaredMetric]

    train_loss: MetricValue = None
    valid_loss: MetricValue = None
    valid_mean_token_accuracy: MetricValue = None
    """Despite its name no share of 1: Mistral sends 2 ** valid_loss here (1.0004 to 1.90 in real jobs)."""

    def named_values(self) -> dict[str, Any]:
        """Give every metric that is present, by name, in the order it came; null is None."""
        declared, extra, named = self.__dict__, self.__pydantic_extra__ or {}, self.__pydantic_fields_set__
        if len(named) == len(extra):  # none of the declared ones, as with most trainers
            return dict(extra)
        return {name: declared[name] for name in declared if name in named} | extra

    def canonical_text(self) -> str:
        """Give the text that two equal ones share."""
        values = self.named_values()
        placeholders = sorted(name for name, value in values.items() if isinstance(value, Placeholder))
        return json_text.canonical([values, placeholders])


class CheckpointOut(ArchivedModel):
    """One checkpoint of a job: the metrics at a step. Unknown fields are kept as they came."""

    __pydantic_extra__: dict[UnknownName, UnknownValue]

    metrics: MetricOut
    step_number: StepNumber
    created_at: UnixSeconds

    def canonical_text(self) -> str:
        """Give the text that two equal ones share."""
        return json_text.canonical(
            [self.step_number, self.created_at, self.metrics.canonical_text(), self.__pydantic_extra__ or {}]
        )
