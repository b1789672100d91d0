"""What single values are as rows, the digest of content, and damage told as such."""

from __future__ import annotations

import enum
import math
from functools import reduce, wraps
from hashlib import blake2b
from operator import xor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from tuneledger.errors import DatabaseDamaged
from tuneledger.models import NOT_EVALUATED, Placeholder

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["VALUES", "Kind", "content_digest", "job_digest", "metric_from", "metric_values", "of_rows"]

P = ParamSpec("P")
T = TypeVar("T")


class Kind(enum.IntEnum):
    """What stands behind a row of ``metrics`` that is no plain number (``kind`` is NULL for one)."""

    NULL = 1
    NAN = 2
    POSITIVE_INFINITY = 3
    NEGATIVE_INFINITY = 4
    NEGATIVE_ZERO = 5
    """``value`` is 0.0 on both engines: SQLite would drop the sign."""
    NOT_EVALUATED = 6
    """A provider's 0.0 that means "no value", see `tuneledger.models.Placeholder`."""


VALUES: dict[int | None, float | None] = {
    Kind.NULL: None,
    Kind.NAN: math.nan,
    Kind.POSITIVE_INFINITY: math.inf,
    Kind.NEGATIVE_INFINITY: -math.inf,
    Kind.NEGATIVE_ZERO: -0.0,
    Kind.NOT_EVALUATED: NOT_EVALUATED,
}


def metric_values(value: float | None) -> tuple[float | None, int | None]:
    """Give (value, kind) as the row holds them."""
    if value is None:
        return None, Kind.NULL
    if math.isfinite(value):
        if value != 0.0:
            return value, None
        if isinstance(value, Placeholder):
            return None, Kind.NOT_EVALUATED
        return (0.0, Kind.NEGATIVE_ZERO) if math.copysign(1.0, value) < 0 else (0.0, None)
    if math.isnan(value):
        return None, Kind.NAN
    return None, Kind.POSITIVE_INFINITY if value > 0 else Kind.NEGATIVE_INFINITY


def metric_from(value: float | None, kind: int | None) -> float | None:
    """Give back what `metric_values` took."""
    return value if kind is None else VALUES[kind]


def of_rows(read: Callable[P, T]) -> Callable[P, T]:
    """Tell damage as such, in a function that reads what somebody may have changed behind our back."""

    @wraps(read)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return read(*args, **kwargs)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            raise DatabaseDamaged(
                "a stored row holds what tuneledger never writes; `tuneledger verify` names the job and step"
            ) from None

    return checked


def content_digest(content: bytes) -> int:
    return int.from_bytes(blake2b(content, digest_size=8).digest()) >> 1


def job_digest(*digests: int) -> int:
    """XOR digests into one; of none it is 0."""
    return reduce(xor, digests, 0)
