"""What commands print on standard output: tables and curves for people, JSON and CSV for machines."""

from __future__ import annotations

import csv
import json
import math
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from tuneledger.cli.choosing import log
from tuneledger.errors import printable
from tuneledger.models import Placeholder
from tuneledger.spreadsheets import marked_as_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.console import Console

    from tuneledger.models import CheckpointOut, Job
    from tuneledger.repository import JobSummary

__all__ = [
    "Column",
    "checkpoint_value",
    "cost",
    "counted",
    "curve",
    "number",
    "print_csv",
    "print_json",
    "print_line",
    "print_table",
    "printable",
    "printing_json_list",
    "time",
]

_ROWS_A_PORTION = 1_000
_ANY_WIDTH = 100_000
_GAP = 2
_MOST_NAMED = 5
_WRAPPED_WIDTH = 36
"""Characters of a job's usual id; wider names are wrapped where room is scarce."""
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    title: str
    right: bool = False
    spare: int = 0
    """Whether it can be left out on a narrow terminal: the highest number goes first, 0 never does."""


def print_line(text: str = "") -> None:
    """Print a line."""
    sys.stdout.write(text + "\n")


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]], *, indent: int = 0) -> int:
    """Print rows under titles, fitted to the terminal, whole where there is none; in constant memory.

    Columns to spare are left out where they do not fit, which is said; what is still too wide is wrapped.
    Give the number of rows.
    """
    console = _console(indent) if sys.stdout.isatty() else None
    titles = [printable(column.title) for column in columns]
    widths = [_width(title) for title in titles]
    fitting = list(range(len(columns)))
    remaining = iter(rows)
    first, count = True, 0
    while (portion := list(islice(remaining, _ROWS_A_PORTION))) or first:
        cells = [[printable(cell) for cell in row] for row in portion]
        # Later portions are at least as wide, so that columns stay below each other.
        widths = [max(width, *(_width(row[i]) for row in cells), 0) for i, width in enumerate(widths)]
        if first:
            empty = [not any(row[i] for row in cells) for i in range(len(columns))]
            fitting = _fitting(columns, widths, empty, console.width if console else _ANY_WIDTH)
        shown = [columns[i] for i in fitting]
        head = [[titles[i] for i in fitting]] if first else []
        body = [[row[i] for i in fitting] for row in cells]
        if console:
            lines = _folded_lines(console, shown, head, body)
        else:
            lines = _whole_lines(shown, [widths[i] for i in fitting], head + body)
        for line in lines:
            print_line(" " * indent + line.rstrip())
        first = False
        count += len(portion)
    if left_out := [column.title for i, column in enumerate(columns) if i not in fitting]:
        named = ", ".join([*map(printable, left_out[:_MOST_NAMED]), *["…"][: len(left_out) - _MOST_NAMED]])
        log.info("no room for %s (%s); --json gives all", counted(len(left_out), "column"), named)
    return count


def _console(indent: int) -> Console:
    from rich.console import Console

    console = Console(file=sys.stdout, markup=False, highlight=False, emoji=False)
    console.width -= indent
    return console


def _width(text: str) -> int:
    """Give the cells that a text takes up on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _whole_lines(
    columns: Sequence[Column], widths: Sequence[int], rows: Iterable[Sequence[str]]
) -> Iterable[str]:
    """Give the lines of a table where no terminal is: nothing is wrapped or bold, so rich is not needed."""
    for row in rows:
        padded = [
            " " * (width - _width(cell)) + cell if column.right else cell + " " * (width - _width(cell))
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        yield (" " * _GAP).join(padded)


def _folded_lines(
    console: Console,
    columns: Sequence[Column],
    head: Sequence[Sequence[str]],
    body: Iterable[Sequence[str]],
) -> Iterable[str]:
    """Give the lines of a table on a terminal, wrapped where it is too narrow; ``head`` is bold, or empty."""
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=None, pad_edge=False, show_header=bool(head), header_style="bold", padding=(0, _GAP, 0, 0)
    )
    for i, column in enumerate(columns):
        titles = [Text(row[i]) for row in head]
        table.add_column(*titles, justify="right" if column.right else "left", overflow="fold")
    for row in body:
        table.add_row(*map(Text, row))
    with console.capture() as captured:
        console.print(table)
    return captured.get().splitlines()


def _fitting(
    columns: Sequence[Column], widths: Sequence[int], empty: Sequence[bool], width: int
) -> list[int]:
    """Choose the columns that are shown on so wide a terminal, by their places; empty ones go first."""
    fitting = list(range(len(columns)))

    def needed() -> int:
        # One that always stays may be wrapped to that width.
        return sum(min(widths[i], _WRAPPED_WIDTH) + _GAP for i in fitting) - _GAP

    while needed() > width:
        last = max(fitting, key=lambda i: (columns[i].spare > 0, empty[i], columns[i].spare, i))
        if not columns[last].spare:
            break
        fitting.remove(last)
    return fitting


def print_csv(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows as CSV. Text that a spreadsheet would run as a formula gets an apostrophe before it."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(map(_cell, titles))
    writer.writerows(map(_cell, row) for row in rows)


def _cell(value: object) -> object:
    if isinstance(value, str):
        return marked_as_text(value)
    if isinstance(value, float):
        return json_value(value)
    if isinstance(value, (dict, list)):
        return json.dumps(json_value(value), allow_nan=False)
    return value


def print_json(value: object) -> None:
    """Print one JSON document, see `json_value`."""
    print_line(json.dumps(json_value(value), indent=2, allow_nan=False))


def json_value(value: Any) -> Any:
    """Make a value strict JSON, for programs that know no other.

    NaN and infinities are the texts ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``; a value that was not
    evaluated is null. (`export` gives back what came.)
    """
    if isinstance(value, float):
        if isinstance(value, Placeholder):
            return None
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    return value


@contextmanager
def printing_json_list(
    name: str, *, endless: bool = False, **before: object
) -> Iterator[tuple[Callable[[object], None], dict[str, object]]]:
    """Print one JSON object: members ``before``, then the list ``name`` item by item, in constant memory.

    Give what adds an item, and a dict for the members after it. An ``endless`` list is ended by Ctrl-C, and
    whole then; any other is not, and shows it.
    """
    sys.stdout.write("{")
    for key, value in before.items():
        sys.stdout.write(f"\n  {_member(key, value)},")
    sys.stdout.write(f"\n  {json.dumps(name)}: [")
    separator = "\n    "

    def add(item: object) -> None:
        nonlocal separator
        sys.stdout.write(separator + json.dumps(json_value(item), allow_nan=False))
        separator = ",\n    "

    after: dict[str, object] = {}

    def end() -> None:
        sys.stdout.write("\n  ]" if separator.startswith(",") else "]")
        for key, value in after.items():
            sys.stdout.write(f",\n  {_member(key, value)}")
        print_line("\n}")

    try:
        yield add, after
    except KeyboardInterrupt:
        if endless:
            end()
        raise
    end()


def _member(key: str, value: object) -> str:
    return f"{json.dumps(key)}: {json.dumps(json_value(value), allow_nan=False)}"


def counted(count: int, thing: str) -> str:
    """Say how many there are of something: 1 checkpoint, 2 checkpoints."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def time(seconds: int | None) -> str:
    """Show a time given in UNIX seconds, in UTC; nothing where the source gave none."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}" if seconds else ""


def cost(job: Job | JobSummary) -> str:
    """Show what a job costs; nothing where that is not known."""
    return "" if job.cost is None else f"{job.cost:g} {job.cost_currency or ''}".rstrip()


def number(value: object) -> str:
    """Show a metric's value in a table: six digits, and a word for what is no number."""
    if isinstance(value, Placeholder):
        return "not evaluated"
    if value is None:
        return "null"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def checkpoint_value(checkpoint: CheckpointOut) -> dict[str, Any]:
    """Give a checkpoint as JSON output shows it: step, time, metrics, then every other field."""
    return {
        "step_number": checkpoint.step_number,
        "created_at": checkpoint.created_at,
        "metrics": checkpoint.metrics.named_values(),
        **(checkpoint.__pydantic_extra__ or {}),
    }


def curve(steps: Sequence[int], values: Sequence[float], width: int) -> str:
    """Draw finite numbers over their steps in one line of at most ``width`` characters.

    Where several fall on one character the one furthest from the median of all is drawn, so that a spike
    shows. A stretch of steps without any stays blank.
    """
    if not values:
        return ""
    # Halved where the range of values is wider than a double.
    factor = 0.5 if math.isinf(max(values) - min(values)) else 1.0
    scaled = [value * factor for value in values]
    low, middle, high = min(scaled), sorted(scaled)[len(scaled) // 2], max(scaled)
    places = min(width, len(values)) - 1
    stretch = max(steps[-1] - steps[0], 1)
    shown: dict[int, float] = {}
    for step, value in zip(steps, scaled, strict=True):
        place = (step - steps[0]) * places // stretch
        if place not in shown or abs(value - middle) > abs(shown[place] - middle):
            shown[place] = value
    height, top = (high - low) or 1.0, len(_BARS) - 1
    return "".join(
        _BARS[round((shown[place] - low) / height * top)] if place in shown else " "
        for place in range(max(shown) + 1)
    )
