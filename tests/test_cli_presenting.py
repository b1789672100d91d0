"""Curves, tables and JSON by themselves."""

import io
import json
import math
import pty
import re
import sys
from contextlib import redirect_stdout
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneledger import NOT_EVALUATED
from tuneledger.cli.presenting import Column, curve, json_value, print_table, printing_json_list

FINITE = st.floats(allow_nan=False, allow_infinity=False)
SERIES = st.dictionaries(st.integers(0, 2**63 - 1), FINITE, min_size=1, max_size=200).map(
    lambda found: sorted(found.items())
)


# -- curves -------------------------------------------------------------------------------------


@given(SERIES, st.integers(2, 60))
def test_a_curve_fits(series: list[tuple[int, float]], width: int) -> None:
    """However far apart steps and values are, the line is as short as allowed and ends at the last step."""
    drawn = curve([step for step, _ in series], [value for _, value in series], width)
    assert 1 <= len(drawn) <= width
    assert set(drawn) <= set("▁▂▃▄▅▆▇█ ")
    assert drawn[0] != " "
    assert drawn[-1] != " "


@given(SERIES.filter(lambda series: len({value for _, value in series}) > 1), st.integers(2, 60))
def test_a_curve_shows_both_extremes(series: list[tuple[int, float]], width: int) -> None:
    """The highest or the lowest number is lost only to the other at the same place."""
    drawn = curve([step for step, _ in series], [value for _, value in series], width)
    assert "█" in drawn or "▁" in drawn
    if len(drawn) == len(series) and " " not in drawn:
        assert {"█", "▁"} <= set(drawn)


def test_a_curve_by_hand() -> None:
    """Steps lie where they belong: a gap in them is a gap in the line; one spike among many values shows."""
    assert curve([0, 1, 2, 3], [0.0, 1.0, 2.0, 7.0], 40) == "▁▂▃█"
    assert curve([0, 1, 10], [1.0, 1.0, 2.0], 3) == "▁ █"
    spike = [1.0] * 100
    spike[57] = 9.0
    assert curve(list(range(100)), spike, 10) == "▁▁▁▁▁█▁▁▁▁"
    assert curve([0, 1, 2], [0.0, 5e-324, 0.0], 10) == "▁█▁"
    assert curve([0, 1, 2], [-1.7e308, 0.0, 1.7e308], 10) == "▁▅█"
    assert curve([5], [3.0], 10) == "▁"
    assert curve([], [], 10) == ""


# -- JSON ---------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(NOT_EVALUATED),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_json_is_strict(value: object) -> None:
    """Whatever a record holds is JSON that every program reads; what JSON can carry comes back as it was."""
    back = json.loads(json.dumps(json_value(value), allow_nan=False))
    assert repr(back) == repr(_expected(value))


def _expected(value: Any) -> Any:
    if value is NOT_EVALUATED:
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    if isinstance(value, dict):
        return {key: _expected(item) for key, item in value.items()}
    return [_expected(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("items", [[], [1], [{"a": [1, float("nan")]}, 2]])
@pytest.mark.parametrize("before", [{}, {"job_id": 'a"b'}])
@pytest.mark.parametrize("after", [{}, {"next_page": None}])
def test_a_list_in_pieces(items: list[object], before: dict[str, object], after: dict[str, object]) -> None:
    """A list printed item by item is the same document as at once."""
    with redirect_stdout(io.StringIO()) as out, printing_json_list("items", **before) as (add, members):
        for item in items:
            add(item)
        members.update(after)
    assert json.loads(out.getvalue()) == {**before, "items": json_value(items), **after}


# -- tables -------------------------------------------------------------------------------------


def test_a_table_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a table keeps within its width and loses no character of a name."""
    _, slave = pty.openpty()

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

        def fileno(self) -> int:
            return slave

    for name, value in {"COLUMNS": "40", "TERM": "xterm", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    shown = Terminal()
    monkeypatch.setattr(sys, "stdout", shown)
    name = "9def64f2-fc63-435c-80ee-c3fac35dff8b"
    assert print_table([Column("job"), Column("loss", right=True)], [[name, "0.5"]] * 2, indent=2) == 2
    lines = re.sub(r"\x1b\[\d*m", "", shown.getvalue()).splitlines()
    assert max(map(len, lines)) <= 40
    assert "".join(line[2:36].strip() for line in lines[1:]) == name * 2


def test_an_empty_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Without rows the titles stand alone."""
    assert print_table([Column("a"), Column("b")], []) == 0
    assert capsys.readouterr().out == "a  b\n"
