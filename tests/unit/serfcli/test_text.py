from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipd.serfcli.text import columns, go_json, go_literal

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


def test_columns_leave_blanks_behind_the_last_cell_but_not_at_the_very_end():
    assert columns(["a|1.2.3.4:5|alive|", "bcd|1.2.3.4:55|alive|x=y", "c|1|failed|"]) == (
        "a    1.2.3.4:5   alive   \n"
        "bcd  1.2.3.4:55  alive   x=y\n"
        "c    1           failed")


def test_a_bar_in_a_name_makes_a_column_and_widths_count_characters():
    assert columns(["é|b", "a|b|c"]) == "é  b\na  b  c"
    assert columns([" x | y ", "long|y"]) == "x     y\nlong  y"


def test_no_lines_are_no_text():
    assert columns([]) == ""


@pytest.mark.parametrize("value, text", [
    ("<a&b>", '"\\u003ca\\u0026b\\u003e"'),
    ("\u2028\u2029é\x7f", '"\\u2028\\u2029é\x7f"'),
    ('"\\\n\r\t\b\x00', '"\\"\\\\\\n\\r\\t\\u0008\\u0000"'),
    ("\udcff\udce9", '"\\ufffd\\ufffd"'),
    ({}, "{}"), ([], "[]"), (None, "null"), (True, "true"),
    ({"a": [1, "b"]}, '{\n  "a": [\n    1,\n    "b"\n  ]\n}'),
])
def test_json_is_escaped_as_go_escapes_it(value, text):
    assert go_json(value) == text


@given(JSON)
def test_json_means_what_it_was_made_of(value):
    assert json.loads(go_json(value)) == value


@pytest.mark.parametrize("value, text", [
    (None, "<nil>"), (False, "false"), (127, "127"), (-1, "-1"), (7946, "0x1f0a"), ("user", '"user"'),
    (b"v1", "[]byte{0x76, 0x31}"), (b"", "[]byte{}"), ('a"\n\x00\udcff\u200b', '"a\\"\\n\\x00\\xff\\u200b"'),
    ([{"b": b"\x01", "a": None}],
     '[]interface {}{map[interface {}]interface {}{"a":interface {}(nil), "b":[]uint8{0x1}}}'),
])
def test_values_are_shown_as_go_literals(value, text):
    assert go_literal(value) == text
