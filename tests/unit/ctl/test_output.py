from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipd.ctl.jsontext import json_line, json_text
from gossipd.ctl.output import age, printable, rfc3339, table

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4))


@given(VALUES)
def test_json_reads_back_as_what_was_written(value):
    assert json.loads(json_text(value)) == value
    line = json_line(value)
    assert json.loads(line) == value and line.endswith("\n") and line.count("\n") == 1


def test_bytes_that_are_not_utf8_become_escapes_in_json():
    assert json_line({"a\udc80": "é\udcff😀"}) == '{"a\\\\x80": "\\u00e9\\\\xff\\ud83d\\ude00"}\n'
    assert json.loads(json_line({"a\udc80": "é\udcff😀"})) == {"a\\x80": "é\\xff😀"}
    assert json.loads(json_line("é\x7f\x1b")) == "é\x7f\x1b"


@given(st.text())
def test_json_cannot_command_a_terminal_either(text):
    """Nor can the controls above ASCII, or what turns the direction of text."""
    assert json_line(text)[:-1].isprintable() and json.loads(json_line(text)) == text
    assert json_line("\x9b2J\u202e") == '"\\u009b2J\\u202e"\n'


def test_json_is_indented_for_documents():
    assert json_text({"a": [1, {}], "b": {"c": None}}) == json.dumps({"a": [1, {}], "b": {"c": None}}, indent=2) + "\n"


ANY_BYTES = st.binary(max_size=20).map(lambda data: data.decode("utf-8", "surrogateescape"))
HALF_PAIRS = st.lists(st.integers(0xD800, 0xDFFF).map(chr), max_size=3).map("".join)


@given(st.dictionaries(ANY_BYTES, ANY_BYTES | HALF_PAIRS))
def test_json_is_unicode_whatever_bytes_it_is_made_of(value):
    """Strict parsers, jq for one, refuse half a surrogate pair."""
    read = json.loads(json_line(value).encode())
    assert not any("\ud800" <= c <= "\udfff" for item in read.items() for text in item for c in text)
    assert bool(read) is bool(value)


@given(st.text())
def test_what_is_printed_cannot_command_a_terminal(text):
    assert printable(text).isprintable()


def test_columns_are_as_wide_as_what_a_terminal_shows():
    assert table(["A", "B"], [["日本", "x"], ["n", "y"]]) == "A     B\n日本  x\nn     y\n"


@pytest.mark.parametrize(("seconds", "text"), [
    (0.4, "0s"), (-5, "0s"), (59.9, "59s"), (60, "1m"), (190, "3m10s"), (3600, "1h"), (18_120, "5h2m"),
    (86_400 * 12 + 3600 * 4 + 59, "12d4h")])
def test_ages_have_two_units_at_most(seconds, text):
    assert age(seconds) == text


def test_moments_are_utc_in_milliseconds():
    assert rfc3339(1_700_000_000.0615) == "2023-11-14T22:13:20.061Z"
