"""How results look in a notebook: small HTML tables and curves, everything in them escaped."""

from __future__ import annotations

import math
from dataclasses import fields
from html import escape
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Record", "curve", "described", "table"]

_WIDTH: Final = 480
_HEIGHT: Final = 120
_LONGEST: Final = 120
_MOST_POINTS: Final = 2_000


def table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table; None is an empty cell."""
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def described(title: str, members: Iterable[tuple[str, object]]) -> str:
    """Write the members of one thing, a row each."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{_cell(value)}</td></tr>" for name, value in members)
    return f"<table><caption>{escape(title)}</caption><tbody>{rows}</tbody></table>"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if type(value) is float:
        return f"{value:.6g}"
    if isinstance(value, (list, tuple, dict)):
        count = len(value)
        return f"{count} {'entry' if count == 1 else 'entries'}"
    text = str(value)
    return escape(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")


def curve(steps: Sequence[int], values: Sequence[float | None]) -> str:
    """Draw the numbers of a series as SVG; of a long one every so many, first and last among them."""
    points = [
        (step, value)
        for step, value in zip(steps, values, strict=True)
        if type(value) is float and math.isfinite(value)
    ]
    if not points:
        return ""
    points = [*points[:: len(points) // _MOST_POINTS + 1], points[-1]]
    left, right = points[0][0], points[-1][0]
    low, high = min(value for _, value in points), max(value for _, value in points)
    # Halves, for the whole span of two doubles may be none.
    across, up = (right - left) or 1, (high / 2 - low / 2) or 1.0
    line = " ".join(
        f"{(step - left) / across * _WIDTH:.1f},{(high / 2 - value / 2) / up * _HEIGHT:.1f}"
        for step, value in points
    )
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="-2 -2 {_WIDTH + 4} {_HEIGHT + 4}">'
        f'<polyline points="{line}" fill="none" stroke="currentColor" stroke-width="1.5"/></svg>'
    )


class Record:
    """A dataclass whose fields a notebook shows as a table."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        own: Any = self
        return described(
            type(self).__name__, ((field.name, getattr(self, field.name)) for field in fields(own))
        )
