"""JSON as the archive reads and writes it: strict, lossless, one canonical form.

Python's own parser is lax where an archive must not be (a repeated key silently wins, ``1e400``
becomes infinity) and its ``NaN``, ``Infinity`` and ``-Infinity``, which Hugging Face's trainer
writes as bare words, are wanted here. So the texts stay text in the database: PostgreSQL's json
types refuse those words.
"""

from __future__ import annotations

import json
import math
import re
from typing import NoReturn

from tuneledger.errors import InvalidPayload, LimitExceeded

MAX_DEPTH = 100
"""Levels of nesting that are accepted below a payload's own fields."""

# Only a number with a three-digit exponent, or with 200 digits before one of two, can overflow a
# double; the hook that looks at each number costs a Python call a number, so it is used where one of
# these may stand.
_LARGE_EXPONENT = re.compile(r"[eE]\+?0*\d{3}")
_MANY_DIGITS = 200

_LONGEST_INTEGER_BITS = 13_000
"""Python converts no integer of more than 4,300 digits (14,284 bits) to text or back."""


def parse(data: bytes | str, *, source: str) -> object:
    """Parse one JSON document, given as UTF-8 bytes (with or without a byte-order mark) or text.

    ``NaN``, ``Infinity`` and ``-Infinity`` are taken as floats. Refused with `InvalidPayload`
    naming ``source``: other encodings, a key that stands twice in one object, numbers no double
    can hold, anything that is not one whole document.
    """
    text = decoded(data, source=source)
    try:
        return decoder(text, source=source).decode(text)
    except InvalidPayload:
        raise
    except (ValueError, RecursionError) as error:
        refused = refusal(error, source=source)
    raise refused


def decoder(text: str, *, source: str) -> json.JSONDecoder:
    """Give what reads the values in ``text`` by the rules of `parse`.

    It raises `InvalidPayload`, and errors of its own that `refusal` translates.
    """

    def finite(digits: str) -> float:
        number = float(digits)
        if math.isinf(number):
            raise InvalidPayload(source=source, reason=f"the number {digits} is beyond what a double holds")
        return number

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        members = dict(pairs)
        if len(members) != len(pairs):
            _refuse_repeated_key(pairs, source)
        return members

    return json.JSONDecoder(
        object_pairs_hook=unique,
        parse_float=finite if _may_overflow(text) else None,
    )


def refusal(error: ValueError | RecursionError, *, source: str) -> InvalidPayload:
    """Translate what a `decoder` raised."""
    if isinstance(error, RecursionError):
        return LimitExceeded(source=source, reason="nested too deeply to be read")
    if isinstance(error, json.JSONDecodeError):
        return InvalidPayload(
            source=source,
            position=f"line {error.lineno} column {error.colno}",
            reason=f"not valid JSON: {error.msg}",
        )
    return InvalidPayload(source=source, reason="an integer of thousands of digits")


def _may_overflow(text: str) -> bool:
    # So many digits in a row fill at least one of the halves that the text is cut into: a pattern for
    # them would look at every digit many times over.
    half = _MANY_DIGITS // 2
    return bool(_LARGE_EXPONENT.search(text)) or any(
        text[first : first + half].isdigit() for first in range(0, len(text), half)
    )


def decoded(data: bytes | str, *, source: str) -> str:
    """Give UTF-8 bytes as text, without a byte-order mark. Raises `InvalidPayload` naming ``source``."""
    if isinstance(data, str):
        return data.removeprefix("\ufeff")
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise not_utf_8(error.start, source=source) from None


def not_utf_8(byte: int, *, source: str) -> InvalidPayload:
    """Make the error about bytes that are no UTF-8 from that one on, counted from 0."""
    return InvalidPayload(
        source=source, position=f"byte {byte}", reason="not UTF-8 text; convert it to UTF-8 first"
    )


def _refuse_repeated_key(pairs: list[tuple[str, object]], source: str) -> NoReturn:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise InvalidPayload(source=source, field=key, reason="this key stands twice in one object")
        seen.add(key)
    raise AssertionError(pairs)  # pragma: no cover - only called with a repeated key


def canonical(value: object) -> str:
    """Give the one text that stands for ``value``: keys sorted by code point, no spaces.

    ``NaN``, ``Infinity``, ``-Infinity`` and ``-0.0`` are written as those words, floats with as
    many digits as bring them back bit by bit, text as it is rather than escaped.
    """
    return _CANONICAL.encode(value)


_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), check_circular=False)


def load(text: str) -> object:
    """Read back a text that `canonical` wrote."""
    return json.loads(text)


def flaw(value: object, depth: int = MAX_DEPTH) -> tuple[str, str] | None:
    """Find what keeps ``value`` from being stored as JSON: (path, reason), or None when nothing does.

    Refused are other types than JSON's, more than ``depth`` levels, NUL characters and lone
    surrogates (PostgreSQL refuses both, SQLite does not: one archive, one verdict).
    """
    if value is None or isinstance(value, float):
        return None
    reason = None
    if isinstance(value, str):
        reason = text_flaw(value)
    elif isinstance(value, int):
        if value.bit_length() > _LONGEST_INTEGER_BITS:
            reason = "an integer of thousands of digits"
    elif isinstance(value, (dict, list)):
        if depth:
            return _flaw_inside(value, depth)
        reason = f"nested more than {MAX_DEPTH} levels deep"
    else:
        reason = f"a {type(value).__name__} is not a JSON value"
    return ("", reason) if reason else None


def _flaw_inside(container: dict[object, object] | list[object], depth: int) -> tuple[str, str] | None:
    if isinstance(container, list):
        for index, item in enumerate(container):
            found = flaw(item, depth - 1)
            if found:
                return f"[{index}]{found[0]}", found[1]
        return None
    for key, item in container.items():
        if not isinstance(key, str):
            return "", "a key that is not text"
        reason = text_flaw(key)
        if reason:
            return f".{key.encode(errors='replace').decode()}", f"in the key: {reason}"
        found = flaw(item, depth - 1)
        if found:
            return f".{key}{found[0]}", found[1]
    return None


def text_flaw(text: str) -> str | None:
    """Say why ``text`` cannot be stored on every engine, or None when it can."""
    if "\0" in text:
        return "a NUL character"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "half of a surrogate pair, which is no character"
    return None
