"""CSV that others open in a spreadsheet: text in it must not run there as a formula."""

from __future__ import annotations

from typing import Final

__all__ = ["marked_as_text", "unmarked"]

_MARK: Final = "'"
_RUNNING: Final = ("=", "+", "-", "@", "\t", "\r", "\n", _MARK)
"""What a formula begins with; and the mark itself, or nobody could tell whose it is."""


def marked_as_text(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet would run, or take for marked already."""
    return f"{_MARK}{text}" if text.startswith(_RUNNING) else text


def unmarked(text: str) -> str:
    """Give the text of which `marked_as_text` made this."""
    return text.removeprefix(_MARK)
