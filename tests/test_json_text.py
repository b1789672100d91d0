import json
import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneledger import json_text
from tuneledger.errors import InvalidPayload, LimitExceeded

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), inner, max_size=4
        )
    ),
    max_leaves=12,
)


def refusal(data: bytes | str) -> InvalidPayload:
    """The error that parsing ends in."""
    with pytest.raises(InvalidPayload) as caught:
        json_text.parse(data, source="dump.json")
    assert caught.value.source == "dump.json"
    return caught.value


@given(JSON_VALUES)
def test_every_json_value_comes_back_bit_by_bit(value: object) -> None:
    """What `canonical` writes, `load` and `parse` read as the same value: NaN, -0.0 and big integers too."""
    text = json_text.canonical(value)
    for back in (json_text.load(text), json_text.parse(text, source="s")):
        assert json_text.canonical(back) == text
        assert repr(back) == repr(json.loads(json.dumps(value, sort_keys=True)))


def test_canonical_text_is_one() -> None:
    """Keys are sorted by code point, nothing is padded, text is not escaped, floats keep all digits."""
    assert json_text.canonical({"é": 1.0, "a": [True, None, -0.0, math.nan, -math.inf], "Z": "é\n"}) == (
        '{"Z":"é\\n","a":[true,null,-0.0,NaN,-Infinity],"é":1.0}'
    )
    assert json_text.canonical(0.1 + 0.2) == "0.30000000000000004"
    assert json_text.canonical(16777217.0) == "16777217.0"


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\xef\xbb\xbf[1]", [1]),
        ("\ufeff[1]", [1]),
        (b'{"a":NaN,"b":Infinity,"c":-Infinity}', {"a": math.nan, "b": math.inf, "c": -math.inf}),
        (b"[1e300, 0.5e-999, 1E+0100, 12]", [1e300, 0.0, 1e100, 12]),
        ('"\\u00e9"', "é"),
        (b"9223372036854775807", 2**63 - 1),
    ],
)
def test_parses(data: bytes | str, value: object) -> None:
    """JSON of bytes or text, with or without a byte-order mark, and the three words JSON lacks."""
    assert json_text.canonical(json_text.parse(data, source="s")) == json_text.canonical(value)


@pytest.mark.parametrize("number", ["1e400", "-1E400", "1e+0400", "9" * 250 + "e99", "9" * 310 + ".0"])
def test_a_number_beyond_doubles_is_refused(number: str) -> None:
    """1e400 and its like are refused with the number, however written, and never become infinity."""
    assert "beyond what a double holds" in refusal(f'{{"loss": {number}}}').reason


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '[{"b": {"a": 1, "c": 2, "a": 3}}]'])
def test_a_repeated_key_is_refused_by_name(text: str) -> None:
    """Python's own parser lets the last one win; an archive cannot know which was meant."""
    error = refusal(text)
    assert error.field == "a"
    assert "stands twice" in error.reason


@pytest.mark.parametrize(
    ("data", "position", "reason"),
    [
        (b'{\n "a": }', "line 2 column 7", "not valid JSON"),
        (b"", "line 1 column 1", "not valid JSON"),
        (b"[1] 2", "line 1 column 5", "not valid JSON"),
        (b"\xff\xfe[\x001\x00]\x00", "byte 0", "UTF-8"),
        (b'"\xc3', "byte 1", "UTF-8"),
        (b"1" * (sys.get_int_max_str_digits() + 1), "", "thousands of digits"),
    ],
)
def test_refusals_say_where(data: bytes, position: str, reason: str) -> None:
    """What is no JSON is refused with the place and the reason."""
    error = refusal(data)
    assert error.position == position
    assert reason in error.reason


def test_bottomless_nesting_is_a_limit() -> None:
    """A document nested beyond the interpreter's stack ends in our error, not in its."""
    assert isinstance(refusal("[" * 200_000), LimitExceeded)


def nested(levels: int) -> list[object]:
    """Lists inside each other."""
    inside: list[object] = []
    for _ in range(levels - 1):
        inside = [inside]
    return inside


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        ("a\0b", "", "NUL"),
        ({"a": ["x", "\ud800"]}, ".a[1]", "surrogate"),
        ({"a\0": 1}, ".a\0", "in the key: a NUL"),
        ({"a": {"\udfff": 1}}, ".a.?", "in the key: half of a surrogate"),
        ({"a": {1: 2}}, ".a", "a key that is not text"),
        ((1, 2), "", "a tuple is not a JSON value"),
        ([b"x"], "[0]", "a bytes is not a JSON value"),
        ([10**4299], "[0]", "thousands of digits"),
        (nested(101), "[0]" * 100, "nested more than 100 levels deep"),
    ],
)
def test_flaws(value: object, path: str, reason: str) -> None:
    """What one of the engines, or a reader of ours, could not take is found, with its place."""
    found = json_text.flaw(value)
    assert found is not None
    assert found[0] == path
    assert reason in found[1]


@given(JSON_VALUES)
def test_json_values_have_no_flaw(value: object) -> None:
    """Whatever JSON can say can be stored."""
    assert json_text.flaw(value) is None
    assert json_text.flaw(nested(100)) is None
    assert json_text.flaw(10**3900) is None
