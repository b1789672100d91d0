"""Curves in a terminal, eight dots a character."""

from __future__ import annotations

import math
import shutil
import string
from typing import TYPE_CHECKING, Final

from tuneledger.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["chart"]

_HEIGHT: Final = 16
_COLORS: Final = ("cyan", "yellow", "magenta", "green", "red", "blue")
# The bits of a braille character, by column and row of its dots.
_DOTS: Final = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BLANK: Final = 0x2800
_MARGIN: Final = 11

Points = tuple[list[int], list[float]]


def chart(
    curves: Mapping[str, Points],
    *,
    relative: bool = False,
    log: bool = False,
    color: bool = False,
    width: int | None = None,
) -> Iterator[str]:
    """Draw curves over each other, the scales beside them and a line of legend each.

    ``log`` is taken where every value is above 0. Of curves that meet in a character the later has its color.
    Where colors do not tell them apart, each begins with its letter, or has it where there is room.
    """
    import typer

    drawn = {name: points for name, points in curves.items() if points[0]}
    letters = _letters(len(drawn)) if len(drawn) > (len(_COLORS) if color else 1) else ""
    if drawn:
        log = log and all(value > 0 for _, values in drawn.values() for value in values)
        yield from _canvas(
            drawn, relative=relative, log=log, color=color, width=width or _terminal(), letters=letters
        )
    numbers = {name: number for number, name in enumerate(drawn)}
    for name in curves:
        mark = f"━{letters[numbers[name]]}" if letters and name in drawn else "━━"
        if color and name in drawn:
            mark = typer.style(mark, fg=_COLORS[numbers[name] % len(_COLORS)])
        yield f"{'':{_MARGIN}}{mark} {printable(name)}" + ("" if name in drawn else " (no numbers)")


def _letters(count: int) -> str:
    """Give a letter each, again from the first where there are more."""
    return "".join(string.ascii_letters[at % len(string.ascii_letters)] for at in range(count))


def _terminal() -> int:
    return max(20, shutil.get_terminal_size().columns - _MARGIN - 2)


def _canvas(
    curves: Mapping[str, Points], *, relative: bool, log: bool, color: bool, width: int, letters: str
) -> Iterator[str]:
    import typer

    placed = {
        name: (
            [step / (steps[-1] or 1) for step in steps] if relative else [float(step) for step in steps],
            [math.log(value) for value in values] if log else values,
        )
        for name, (steps, values) in curves.items()
    }
    every_x = [x for xs, _ in placed.values() for x in xs]
    left, right = _ends(every_x)
    low, high = _ends([y for _, ys in placed.values() for y in ys])
    dots = [[0] * width for _ in range(_HEIGHT)]
    owner = [[0] * width for _ in range(_HEIGHT)]
    written: dict[tuple[int, int], str] = {}
    for number, (xs, ys) in enumerate(placed.values()):
        columns = [round((x - left) / (right - left) * (width * 2 - 1)) for x in xs]
        rows = [round((high / 2 - y / 2) / (high / 2 - low / 2) * (_HEIGHT * 4 - 1)) for y in ys]
        for column, row in _joined(columns, rows):
            dots[row // 4][column // 2] |= _DOTS[column % 2][row % 4]
            owner[row // 4][column // 2] = number
        places = [(row // 4, column // 2) for column, row in zip(columns, rows, strict=True)]
        if letters:
            free = next((place for place in places if place not in written), places[0])
            written[free] = letters[number]
        elif len(xs) == 1:
            dots[places[0][0]][places[0][1]] = 0xFF  # one dot would not be seen
    for at, line in enumerate(dots):
        share = at / (_HEIGHT - 1)
        value = high * (1 - share) + low * share
        label = f"{math.exp(value) if log else value:.4g}" if at % 5 == 0 else ""
        characters = [written.get((at, column), chr(_BLANK | bits)) for column, bits in enumerate(line)]
        cells = [
            typer.style(character, fg=_COLORS[owner[at][column] % len(_COLORS)])
            if color and line[column]
            else character
            for column, character in enumerate(characters)
        ]
        yield f"{label:>{_MARGIN - 2}} ┤{''.join(cells)}"
    first, last = (f"{x:.0%}" if relative else f"{x:.0f}" for x in (min(every_x), max(every_x)))
    if min(every_x) == max(every_x):
        yield f"{'':{_MARGIN}}{first:^{width}}"
    else:
        yield f"{'':{_MARGIN}}{first}{last:>{max(1, width - len(first))}}"


def _ends(numbers: list[float]) -> tuple[float, float]:
    low, high = min(numbers), max(numbers)
    if low < high:
        return low, high
    # One value: somewhere in the middle, also where adding 1 would change nothing.
    margin = abs(low) / 2 or 1.0
    return low - margin, high + margin


def _joined(columns: list[int], rows: list[int]) -> Iterator[tuple[int, int]]:
    """Give every dot of the line through the points."""
    yield columns[0], rows[0]
    for before, after, start, end in zip(columns, columns[1:], rows, rows[1:], strict=False):
        length = max(after - before, abs(end - start))
        for at in range(1, length + 1):
            yield before + round((after - before) * at / length), start + round((end - start) * at / length)
