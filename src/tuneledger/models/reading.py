"""The way into a model: any accepted input, one kind of error."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from tuneledger import json_text
from tuneledger.errors import InvalidPayload
from tuneledger.models.checkpoint import CheckpointOut, MetricOut
from tuneledger.models.job import Event, Job

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["json_schemas", "plain", "validated"]

Model = TypeVar("Model", bound=BaseModel)

# The unions of `values` put a fast test before one that explains; both leave their name in the place.
_UNION_BRANCH = re.compile(r"constrained-int|(function-plain|is-instance)\[.*\]")

_REASONS = {
    "missing": "is required, but absent",
    "string_pattern_mismatch": "must not contain control characters",
    "string_too_short": "must not be empty",
    "string_too_long": "must not be longer than 512 characters",
    "string_type": "must be text",
    "string_unicode": "contains half of a surrogate pair, which is no character",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "float_type": "must be a number",
}


def plain(payload: object, *, source: str) -> object:
    """Give ``payload`` as plain JSON values.

    Taken are JSON bytes or text, dicts and lists, and any object with ``model_dump()``, as the
    classes of the providers' SDKs are: its fields that are set, under the provider's own names.
    """
    if isinstance(payload, (bytes, bytearray, memoryview, str)):
        return json_text.parse(payload if isinstance(payload, str) else bytes(payload), source=source)
    dump = getattr(payload, "model_dump", None)
    if callable(dump):
        return dump(by_alias=True, exclude_unset=True)
    return payload


def validated(
    model: type[Model],
    payload: object,
    *,
    source: str = "<payload>",
    position: str = "",
    names: Mapping[str, str] | None = None,
) -> Model:
    """Make a ``model`` of ``payload`` (see `plain`), or raise `InvalidPayload` saying what and where.

    ``position`` says where in ``source`` the payload stands, when it is one of several; ``names`` what the
    source calls fields of the model (``{"job_id": "run"}``), for the message.
    """
    value = plain(payload, source=source)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        place, field, reason = _first(error)
        if names and not place:
            field = names.get(field, field)
    raise InvalidPayload(
        source=source, position=" ".join(filter(None, (position, place))), field=field, reason=reason
    )


def _first(error: ValidationError) -> tuple[str, str, str]:
    """Give place, field and reason of the first thing wrong, and how many more there are."""
    details = error.errors(include_url=False, include_input=False)
    explained = {_location(detail["loc"]): detail for detail in details}  # of two at one place, the later
    (place, field), detail = next(iter(explained.items()))
    reason = _REASONS.get(detail["type"], detail["msg"])
    more = len(explained) - 1
    if more:
        reason += f" (and {more} more of its fields {'is' if more == 1 else 'are'} wrong)"
    return place, field, reason


def _location(location: tuple[int | str, ...]) -> tuple[str, str]:
    """Split pydantic's path into the place and the field: checkpoints[4].metrics, train_loss."""
    parts = list(location)
    if len(parts) > 1 and isinstance(parts[-1], str) and _UNION_BRANCH.fullmatch(parts[-1]):
        parts.pop()
    field = parts.pop() if parts and isinstance(parts[-1], str) else ""
    place = ""
    for part in parts:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else part
    return place, str(field)


def json_schemas() -> dict[str, dict[str, Any]]:
    """Give the JSON Schema (2020-12) of each public model, by its name."""
    return {model.__name__: model.model_json_schema() for model in (CheckpointOut, Event, Job, MetricOut)}
