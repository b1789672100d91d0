"""CSV files as columns: strict about their shape, and numbers read as a whole column at a time."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

from tuneledger.errors import InvalidPayload

if TYPE_CHECKING:
    from tuneledger.sources.document import Document
__all__ = ["Table", "header", "table"]

# What float() takes beyond this (1_000, digits of other scripts) is no number to whoever wrote the file.
_NUMBER = re.compile(
    r"\s*+[+-]?(\d++\.?\d*+([eE][+-]?\d+)?|\.\d++([eE][+-]?\d+)?|nan|inf|infinity)\s*+",
    re.IGNORECASE | re.ASCII,
)
_WHOLE = re.compile(r"\s*[+-]?\d+\s*", re.ASCII)
_WHOLE_STEP = re.compile(r"\s*(\d{1,19})(\.0*)?\s*", re.ASCII)
"""Longer ones are beyond any step, and Python refuses to read those of thousands of digits."""
_INDEX = "the index of pandas, which is left out"
_EXACT_BELOW = 2.0**53
_LIFTING = Lock()
_LONGEST_CELL = 2**31 - 1
"""What fits into a C long everywhere. csv's own limit, 131,072, refuses a table for one long text in it."""


@dataclass(frozen=True, slots=True)
class Table:
    """The cells of a CSV file, column by column, as text."""

    source: str
    columns: dict[str, Sequence[str]]
    lines: Sequence[int]
    """The line that each row ends on, for messages."""

    def numbers(self, name: str) -> list[Any]:
        """Give a column as values: doubles, integers where no double holds them, other text; None is absent.

        Raises `InvalidPayload` for a number beyond what a double holds.
        """
        cells = self.columns[name]
        try:
            values: list[Any] = [float(cell) if cell else None for cell in cells]
        except ValueError:
            values = [_value(cell) for cell in cells]
        else:
            if not all(map(_NUMBER.fullmatch, filter(None, cells))):
                values = [_value(cell) for cell in cells]
        for index, value in enumerate(values):
            if type(value) is float and not -_EXACT_BELOW < value < _EXACT_BELOW:  # NaN too
                values[index] = self._exact(name, index, value)
        return values

    def _exact(self, name: str, index: int, value: float) -> float | int:
        cell = self.columns[name][index]
        if math.isinf(value) and any(map(str.isdigit, cell)):
            raise InvalidPayload(
                source=self.source,
                position=f"line {self.lines[index]}",
                field=name,
                reason=f"the number {cell} is beyond what a double holds",
            )
        return int(cell) if _WHOLE.fullmatch(cell) else value

    def steps(self, name: str) -> list[int | None]:
        """Give a column of whole numbers; None is an empty cell. ``50.0`` is 50: spreadsheets write it so."""
        steps: list[int | None] = []
        for index, cell in enumerate(self.columns[name]):
            found = _WHOLE_STEP.fullmatch(cell)
            if found is None and cell and not cell.isspace():
                raise InvalidPayload(
                    source=self.source,
                    position=f"line {self.lines[index]}",
                    field=name,
                    reason=f"must be a whole number, not {cell!r}",
                )
            steps.append(int(found[1]) if found else None)
        return steps

    def rows(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Give each row's values of some columns, by name, without the absent ones."""
        if not names:
            yield from ({} for _ in self.lines)
            return
        for values in zip(*map(self.numbers, names), strict=True):
            yield {name: value for name, value in zip(names, values, strict=True) if value is not None}


def _value(cell: str) -> float | str | None:
    if not cell:
        return None
    return float(cell) if _NUMBER.fullmatch(cell) else cell


def header(document: Document) -> tuple[str, ...]:
    """Give the names of a table's columns, as `table` does; of what is no table some text, or none."""
    if document.looks_like_json:
        return ()
    try:
        return tuple(next(csv.reader([document.first_line], strict=True), ()))
    except csv.Error:
        return ()


@contextmanager
def _cells_of_any_length() -> Iterator[None]:
    """Lift csv's limit on a cell, the whole process's, for a while: the input is bounded as a whole."""
    with _LIFTING:
        before = csv.field_size_limit(_LONGEST_CELL)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def table(document: Document, *, with_index: bool = False) -> Table:
    """Read a CSV file with a header. Raises `InvalidPayload` naming the line that does not fit it.

    ``with_index`` takes a first column without a name for pandas' index, and leaves it out.
    """
    reader = csv.reader(io.StringIO(document.text, newline=""), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        with _cells_of_any_length():
            names = next(reader, [])
            for row in reader:
                if row:
                    rows.append(row)
                    lines.append(reader.line_num)
    except csv.Error as error:
        raise InvalidPayload(
            source=document.name, position=f"line {reader.line_num}", reason=f"not valid CSV: {error}"
        ) from None
    indexed = with_index and names[:1] == [""]
    if indexed:
        names[0] = _INDEX
    repeated = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if not names or "" in names or repeated is not None:
        reason = "a column without a name" if repeated is None else f"two columns named {repeated!r}"
        raise InvalidPayload(source=document.name, position="line 1", reason=reason)
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise InvalidPayload(
                source=document.name,
                position=f"line {line}",
                reason=f"has {len(row)} cells where the header has {len(names)}",
            )
    cells: list[Sequence[str]] = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    if indexed:
        del names[0], cells[0]
    return Table(document.name, dict(zip(names, cells, strict=True)), lines)
