"""A document with one thing in it changed: what a source must keep, tell apart, or refuse."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuneledger.sources import Document

__all__ = [
    "EMPTY",
    "EXACT",
    "KEPT",
    "OtherKinds",
    "beginnings",
    "empty_fields",
    "empty_values",
    "exact_numbers",
    "is_text",
    "other_kinds",
    "spoiled_numbers",
    "with_broken_lines",
    "with_unknown_fields",
]

EXACT: Final = "0.30000000000000004"
KEPT: Final = "kept as it came"
EMPTY: Final = {"0": "zero", "0.0": "zero", "false": "false", "null": "null", "NaN": "NaN", '""': "no text"}
"""What programs take for nothing though it is something, as JSON, and what it is: 0 and 0.0 are one."""

_NUMBER = re.compile(r"(?<![\w.:+-])-?\d+(\.\d+)?(?![\w.:+-])")
_END_OF_OBJECT = re.compile(r"(?<=[^{\s])(?=\s*\})")
_NAME_BEFORE = re.compile(r'(,\s*)?"(?:[^"\\]|\\.)*"\s*:\s*\Z')
_COMMA_AFTER = re.compile(r"\s*,")
_NO_ROWS: Final = ('{"cut', "[]", "7", "null")
_MOST_DIGITS: Final = 15
"""More may be none that a double has."""


@dataclass(frozen=True, slots=True)
class OtherKinds:
    """A document with one whole number of it changed."""

    number: str
    other: Document
    """With another whole number there: it shows whether that is a step."""
    kinds: dict[str, Document]
    """With values there that are no whole number, by their JSON text."""


def exact_numbers(document: Document) -> Iterator[Document]:
    """Give it with each of its decimal fractions, in turn, a double that needs all of its digits."""
    for found in _fractions(document):
        yield _changed(document, found, EXACT)


def spoiled_numbers(document: Document) -> Iterator[Document]:
    """Give it with each of its numbers, in turn, a text in quotes."""
    for found in _numbers(document):
        yield _changed(document, found, '"spoiled"')


def other_kinds(document: Document) -> Iterator[OtherKinds]:
    """Give it with each of its whole numbers, in turn, as a fraction, and in JSON as a text and as true."""
    for found in _numbers(document):
        number = found[0]
        if not found[1] and len(number) <= _MOST_DIGITS:
            kinds = [f"{number}.5", *((f'"{number}"', "true") if _is_json(document) else ())]
            yield OtherKinds(
                number,
                _changed(document, found, str(int(number) + 7919)),
                {kind: _changed(document, found, kind) for kind in kinds},
            )


def with_unknown_fields(document: Document, value: str = f'"{KEPT}"') -> Iterator[Document]:
    """Give it with one field more in each object of its JSON in turn; not around a page's list of jobs."""
    ends = list(_END_OF_OBJECT.finditer(_text(document)))
    if isinstance(document.json_or_none, dict) and isinstance(document.json.get("data"), list):
        del ends[-1]
    for found in ends:
        yield _changed(document, found, f', "a_new_field": {value}')


def empty_fields(document: Document) -> Iterator[dict[str, Document]]:
    """Give it with each value of `EMPTY` in one field more, object by object."""
    for documents in zip(*(with_unknown_fields(document, value) for value in EMPTY), strict=True):
        yield dict(zip(EMPTY, documents, strict=True))


def empty_values(document: Document) -> Iterator[tuple[Document | None, dict[str, Document]]]:
    """Give its JSON with each value of `EMPTY` in place of a decimal fraction, and without that member."""
    for found in _fractions(document) if _is_json(document) else ():
        yield _without(document, found), {value: _changed(document, found, value) for value in EMPTY}


def with_broken_lines(document: Document) -> Iterator[Document]:
    """Give JSON lines with a line between two of them that is no JSON, or no object."""
    lines = _json_lines(document)
    for index in range(1, len(lines)):
        for broken in _NO_ROWS:
            yield _of_lines(document, [*lines[:index], broken, *lines[index:]])


def beginnings(document: Document) -> Iterator[Document]:
    """Give JSON lines as they were when the last of them, the last two, ... were not yet written."""
    lines = _json_lines(document)
    for count in range(1, len(lines)):
        yield _of_lines(document, lines[:count])


def is_text(document: Document) -> bool:
    """Tell whether something in it can be changed: bytes have checksums."""
    return bool(_text(document))


def _is_json(document: Document) -> bool:
    return document.json_or_none is not None or bool(_json_lines(document))


def _json_lines(document: Document) -> list[str]:
    """Give its lines where they are several JSON objects; else none."""
    lines = [line for line in _text(document).splitlines() if line.strip()]
    try:
        values = [json.loads(line) for line in lines]
    except ValueError:
        return []
    return lines if len(lines) > 1 and all(isinstance(value, dict) for value in values) else []


def _numbers(document: Document) -> Iterator[re.Match[str]]:
    return _NUMBER.finditer(_text(document))


def _fractions(document: Document) -> Iterator[re.Match[str]]:
    return (found for found in _numbers(document) if found[1])


def _text(document: Document) -> str:
    """Give its text; none of one that is bytes, where nothing can be changed without its checksums."""
    try:
        return document.data.decode()
    except UnicodeDecodeError:
        return ""


def _of_lines(document: Document, lines: list[str]) -> Document:
    return replace(document, data="".join(f"{line}\n" for line in lines).encode())


def _changed(document: Document, found: re.Match[str], to: str) -> Document:
    return _replaced(document, found.start(), found.end(), to)


def _without(document: Document, found: re.Match[str]) -> Document | None:
    """Give it without the member of an object whose value that is; None where it is no member."""
    text = _text(document)
    name = _NAME_BEFORE.search(text[: found.start()])
    if name is None:
        return None
    comma = None if name[1] else _COMMA_AFTER.match(text, found.end())
    return _replaced(document, name.start(), comma.end() if comma else found.end(), "")


def _replaced(document: Document, start: int, end: int, to: str) -> Document:
    text = _text(document)
    return replace(document, data=(text[:start] + to + text[end:]).encode())
