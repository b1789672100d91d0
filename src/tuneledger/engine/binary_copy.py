"""Rows in the binary format of PostgreSQL's COPY.

The driver's own ``write_row`` looks up how to dump each value, at ten times the cost; here a column's type
says it once. https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
"""

from __future__ import annotations

from itertools import chain, repeat
from struct import Struct, calcsize
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END: Final = b"\xff\xff"
_NULL: Final = b"\xff\xff\xff\xff"
_FORMATS: Final = {"int8": "q", "int4": "i", "int2": "h", "float8": "d"}


def rows(length: int, types: Sequence[str], columns: Sequence[Sequence[Any]]) -> bytes:
    """Give rows of ``columns``, whose PostgreSQL types are ``types``; None is NULL."""
    if "text" not in types and not any(None in column for column in columns):
        formats = [_FORMATS[kind] for kind in types]
        row_format = Struct(">h" + "".join(f"i{form}" for form in formats))
        sizes = (repeat(calcsize(f">{form}"), length) for form in formats)
        parts = chain.from_iterable(zip(sizes, columns, strict=True))
        return b"".join(map(row_format.pack, repeat(len(columns), length), *parts))
    count = len(columns).to_bytes(2)
    fields = [_fields(kind, column) for kind, column in zip(types, columns, strict=True)]
    return b"".join(chain.from_iterable(zip(repeat(count, length), *fields, strict=True)))


def _fields(kind: str, column: Sequence[Any]) -> Iterable[bytes]:
    """Give the values of a column, each as its length and its bytes."""
    if kind == "text":
        encoded = (None if value is None else value.encode() for value in column)
        return (_NULL if value is None else len(value).to_bytes(4) + value for value in encoded)
    field = Struct(f">i{_FORMATS[kind]}")
    size = field.size - 4
    return (_NULL if value is None else field.pack(size, value) for value in column)
