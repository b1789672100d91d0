import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneledger.spreadsheets import marked_as_text, unmarked


@given(st.text() | st.text(st.sampled_from("=+-@'\t\r\n1"), max_size=3))
def test_text_that_was_marked_comes_back(text: str) -> None:
    """Whatever it begins with, and what is marked runs nowhere."""
    assert unmarked(marked_as_text(text)) == text
    assert not marked_as_text(text).startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


@pytest.mark.parametrize("text", ["", "loss", "1=1", " =1"])
def test_other_text_is_as_it_was(text: str) -> None:
    """A spreadsheet shows it as it is."""
    assert marked_as_text(text) == text
