"""Times as providers write them, in UNIX seconds."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

__all__ = ["unix_seconds"]


def unix_seconds(value: Any) -> int | None:
    """Give a time as whole UNIX seconds: a number of them, or ISO 8601 (without an offset: UTC).

    None is no time. Raises `ValueError` for what is neither.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    try:
        if math.isnan(seconds):
            parsed = datetime.fromisoformat(value)
            seconds = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
        return math.floor(seconds)
    except (TypeError, ValueError, OverflowError):
        message = "must be UNIX seconds or an ISO 8601 time"
        raise ValueError(message) from None
