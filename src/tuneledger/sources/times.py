"""Times as providers write them, in UNIX seconds."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

__all__ = ["unix_milliseconds", "unix_seconds"]


def unix_seconds(value: Any) -> int | None:
    """Give a time as whole UNIX seconds: a number of them, or ISO 8601 (without an offset: UTC).

    None is no time. Raises `ValueError` for what is neither.
    """
    if value is None:
        return None
    try:
        # What float() takes beyond numbers of seconds (true, 1_700) is no time to whoever wrote it.
        seconds = math.nan if isinstance(value, bool) or "_" in str(value) else float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    try:
        return math.floor(_timestamp(value) if math.isnan(seconds) else seconds)
    except (TypeError, ValueError, OverflowError):
        message = "must be UNIX seconds or an ISO 8601 time"
        raise ValueError(message) from None


def unix_milliseconds(text: str) -> int:
    """Give a time in ISO 8601 (without an offset: UTC) as UNIX milliseconds. Raises `ValueError`."""
    return round(_timestamp(text) * 1000)


def _timestamp(text: str) -> float:
    parsed = datetime.fromisoformat(text)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
