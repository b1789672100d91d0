"""The values that models are made of: steps, times, ids, metric values, JSON kept as it came."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, NoReturn, Self

from pydantic import AfterValidator, Field, GetPydanticSchema, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from tuneledger import json_text

__all__ = [
    "LAST_SECOND",
    "LONGEST_NAME",
    "NOT_EVALUATED",
    "JobId",
    "JsonObject",
    "MetricName",
    "MetricValue",
    "NameText",
    "Placeholder",
    "Revision",
    "StepNumber",
    "UnixSeconds",
    "UnknownName",
    "UnknownValue",
]

LAST_SECOND: Final = 253_402_300_799
"""The last UNIX second of the year 9999, the latest time both engines can show."""

_BIGINT_END: Final = 2**63
LONGEST_NAME: Final = 512
"""Characters of an id or another name, at most."""


class Placeholder(float):
    """A number that a provider sends in place of a value it does not have.

    Mistral reports ``valid_loss`` and ``valid_mean_token_accuracy`` as 0.0 where a step was not
    evaluated. A source that knows so puts `NOT_EVALUATED` there: it reads as 0.0 and is exported as
    0.0, while queries, views and `best` treat it as no value at all.
    """

    __slots__ = ()

    def __new__(cls) -> Self:
        """Give the one number it can be."""
        return super().__new__(cls, 0.0)

    def __repr__(self) -> str:
        return "NOT_EVALUATED"

    def __reduce__(self) -> tuple[type[Placeholder], tuple[()]]:
        return Placeholder, ()


NOT_EVALUATED: Final = Placeholder()


def _refuse_integer(value: object, end: int, unit_hint: str) -> NoReturn:
    if type(value) is not int:
        raise PydanticCustomError("integer", "must be an integer, not {kind}", {"kind": _kind_of(value)})
    raise PydanticCustomError(
        "range", "must be between 0 and {last}{hint}", {"last": end - 1, "hint": unit_hint}
    )


def _kind_of(value: object) -> str:
    names = {bool: "a boolean", str: "text", float: "a number with a fraction", type(None): "null"}
    return names.get(type(value), f"a {type(value).__name__}")


def _integer_schema(end: int, description: str, explain: Any = None) -> GetPydanticSchema:
    """Integers from 0 to below ``end``: checked in Rust, explained in Python only when refused."""

    def refuse(value: object) -> NoReturn:
        _refuse_integer(value, end, explain(value) if explain else "")

    def build(_source: object, _handler: object) -> CoreSchema:
        return core_schema.union_schema(
            [
                core_schema.int_schema(strict=True, ge=0, lt=end),
                core_schema.no_info_plain_validator_function(refuse),
            ],
            mode="left_to_right",
            metadata={"pydantic_js_functions": [lambda _s, _h: _integer_json_schema(end, description)]},
        )

    return GetPydanticSchema(build)


def _integer_json_schema(end: int, description: str) -> dict[str, Any]:
    return {"type": "integer", "minimum": 0, "maximum": end - 1, "description": description}


def _explain_time(value: object) -> str:
    if isinstance(value, int) and LAST_SECOND < value <= LAST_SECOND * 1000:
        return "; it looks like milliseconds: give UNIX seconds"
    return " (UNIX seconds)"


StepNumber = Annotated[int, _integer_schema(_BIGINT_END, "training step, counted as the provider counts")]
Revision = Annotated[int, _integer_schema(_BIGINT_END, "grows with each state of the job a provider reports")]
Tokens = Annotated[int, _integer_schema(_BIGINT_END, "number of tokens")]
UnixSeconds = Annotated[
    int, _integer_schema(LAST_SECOND + 1, "UNIX seconds; 0 where the source gives no time", _explain_time)
]


NameText = Annotated[
    str,
    Field(strict=True, min_length=1, max_length=LONGEST_NAME, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$"),
]
"""1 to 512 characters, none of them a control character. Compared code point by code point: upper and
lower case, composed and decomposed accents are different names. (512 characters of 4 bytes stay
below PostgreSQL's index row limit of 2,704 bytes.)"""

JobId = NameText
MetricName = NameText


def _number(value: object) -> float | int:
    """Take an integer as the double it is; keep it as it came where no double holds it exactly."""
    if type(value) is int:
        try:
            as_double = float(value)
        except OverflowError:
            _stored_json(value)
            return value
        return as_double if int(as_double) == value else value
    if type(value) is float:  # from JSON text, where the exact-type test before this one does not see it
        return value
    raise PydanticCustomError("metric", "must be a number or null, not {kind}", {"kind": _kind_of(value)})


def _number_or_json(value: object) -> object:
    """Take what an undeclared metric may be: a number, null, or any JSON value, kept aside."""
    if type(value) in (int, float):
        return _number(value)
    return _stored_json(value)


def _number_schema(_source: object, _handler: object) -> CoreSchema:
    # The exact-instance test comes first: it is one pointer comparison in Rust, and it lets a
    # Placeholder through as the object it is, where a float schema would turn it into 0.0.
    return core_schema.nullable_schema(
        core_schema.union_schema(
            [
                core_schema.is_instance_schema(float),
                core_schema.no_info_plain_validator_function(_number),
            ],
            mode="left_to_right",
            custom_error_type="metric",
            custom_error_message="must be a number or null",
        )
    )


def _undeclared_schema(_source: object, _handler: object) -> CoreSchema:
    return core_schema.union_schema(
        [
            core_schema.is_instance_schema(float),
            core_schema.no_info_plain_validator_function(_number_or_json),
        ],
        mode="left_to_right",
    )


MetricValue = Annotated[
    float | None, GetPydanticSchema(_number_schema), WithJsonSchema({"type": ["number", "null"]})
]
UndeclaredMetric = Annotated[Any, GetPydanticSchema(_undeclared_schema), WithJsonSchema({})]


def _stored_json(value: object) -> object:
    found = json_text.flaw(value)
    if found:
        raise PydanticCustomError(
            "json",
            "cannot be stored: {reason}{place}",
            {"reason": found[1], "place": f" (at {found[0]})" if found[0] else ""},
        )
    return value


UnknownValue = Annotated[Any, AfterValidator(_stored_json)]
"""A field no model declares: any JSON value, kept as it came."""


def _key_text(key: str) -> str:
    reason = json_text.text_flaw(key)
    if reason:
        raise PydanticCustomError("json", "cannot be stored: in the name: {reason}", {"reason": reason})
    return key


UnknownName = Annotated[str, AfterValidator(_key_text)]
"""The name of a field no model declares."""


def _json_object(value: dict[str, Any]) -> dict[str, Any]:
    _stored_json(value)
    return value


JsonObject = Annotated[dict[str, Any], AfterValidator(_json_object)]


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise PydanticCustomError("finite", "must be a finite number")
    return value + 0.0  # SQLite drops the sign of -0.0


FiniteNumber = Annotated[float, Field(strict=True), AfterValidator(_finite)]
