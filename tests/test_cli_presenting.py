"""Curves, tables and JSON by themselves."""

import io
import json
import math
import pty
import re
import sys
from collections.abc import Callable
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
def test_a_list_in_pieces(items: list[object], before: dict[str, Any], after: dict[str, object]) -> None:
    """A list printed item by item is the same document as at once."""
    with redirect_stdout(io.StringIO()) as out, printing_json_list("items", **before) as (add, members):
        for item in items:
            add(item)
        members.update(after)
    assert json.loads(out.getvalue()) == {**before, "items": json_value(items), **after}


@pytest.mark.parametrize("endless", [True, False])
def test_a_list_that_is_interrupted(*, endless: bool) -> None:
    """Is whole where that is how it ends; no other is taken for all there was."""
    out = io.StringIO()
    with (  # noqa: PT012 - the end of the block raises
        pytest.raises(KeyboardInterrupt),
        redirect_stdout(out),
        printing_json_list("items", endless=endless) as (add, _),
    ):
        add(1)
        raise KeyboardInterrupt
    assert out.getvalue().endswith("\n  ]\n}\n" if endless else "[\n    1")


# -- tables -------------------------------------------------------------------------------------


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], io.StringIO]:
    """Puts a terminal of so many columns in place of standard output, and gives what is shown on it."""
    _, slave = pty.openpty()

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

        def fileno(self) -> int:
            return slave

    def terminal(columns: int) -> io.StringIO:
        for name, value in {"COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1"}.items():
            monkeypatch.setenv(name, value)
        shown = Terminal()
        monkeypatch.setattr(sys, "stdout", shown)
        return shown

    return terminal


def lines_of(shown: io.StringIO) -> list[str]:
    """Its lines without what makes text bold."""
    return re.sub(r"\x1b\[\d*m", "", shown.getvalue()).splitlines()


def test_a_table_on_a_narrow_terminal(on_terminal: Callable[[int], io.StringIO]) -> None:
    """On a terminal a table keeps within its width and loses no character of a name."""
    shown = on_terminal(40)
    name = "9def64f2-fc63-435c-80ee-c3fac35dff8b"
    assert print_table([Column("job"), Column("loss", right=True)], [[name, "0.5"]] * 2, indent=2) == 2
    lines = lines_of(shown)
    assert max(map(len, lines)) <= 40
    assert "".join(line[2:36].strip() for line in lines[1:]) == name * 2


def test_columns_to_spare_go_first(
    on_terminal: Callable[[int], io.StringIO], caplog: pytest.LogCaptureFixture
) -> None:
    """What does not fit is left out and named, the empty ones first, then those that can best be spared."""
    columns = [Column("step"), *(Column(f"metric {n}", spare=2 - n // 4) for n in range(8))]
    row = ["1", "", *["0.123456"] * 7]
    caplog.set_level("INFO", logger="tuneledger.cli")
    for width, titles, said in (
        (90, [0, 1, 2, 3, 4, 5, 6, 7], []),
        (70, [1, 2, 4, 5, 6, 7], ["no room for 2 columns (metric 0, metric 3); --json gives all"]),
        (20, [4], ["no room for 7 columns (metric 0, metric 1, metric 2, metric 3, metric 5, …); --json"]),
        (5, [], ["no room for 8 columns"]),
    ):
        caplog.clear()
        shown = on_terminal(width)
        assert print_table(columns, [row]) == 1
        (title, _) = lines_of(shown)
        assert title.split("  ") == ["step", *(f"metric {n}" for n in titles)], width
        assert [message[: len(start)] for message, start in zip(caplog.messages, said, strict=True)] == said
    shown = on_terminal(20)
    print_table([Column("step"), Column("metric", spare=0)], [["1", "0.123456789012345"]])
    assert len(lines_of(shown)) == 3  # none to spare, so it is wrapped


def test_nothing_is_left_out_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe takes lines of any length."""
    print_table([Column(f"metric {n}", spare=1) for n in range(200)], [["0.5"] * 200])
    assert capsys.readouterr().out.splitlines()[0].endswith("metric 199")


def test_a_pipe_gets_what_a_wide_terminal_shows(
    on_terminal: Callable[[int], io.StringIO], capsys: pytest.CaptureFixture[str]
) -> None:
    """With and without a terminal columns stand below each other, also where characters are wide."""
    columns = [Column("模型\0"), Column("loss", right=True), Column("cost", right=True), Column("status")]
    rows = [
        ["mistral-7b", "0.5", "", "RUNNING"],
        ["模型-7b", "12.25", "1 EUR", ""],
        ["e\u0301🚀", "", "9 €", "x"],
    ]
    print_table(columns, rows * 400, indent=2)
    piped = capsys.readouterr().out.splitlines()
    shown = on_terminal(200)
    print_table(columns, rows * 400, indent=2)
    assert [line.rstrip() for line in lines_of(shown)] == piped
    assert piped[:3] == [
        "  模型?        loss   cost  status",
        "  mistral-7b    0.5         RUNNING",
        "  模型-7b     12.25  1 EUR",
    ]


def test_an_empty_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Without rows the titles stand alone."""
    assert print_table([Column("a"), Column("b")], []) == 0
    assert capsys.readouterr().out == "a  b\n"
