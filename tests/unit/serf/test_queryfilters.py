from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipd.serf.queryfilters import TAG_FILTERS_MAX, Filters, encode_filters
from tests.unit.serf.vectors import load

CASES = load("filters.json")["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["name"])
def test_a_query_concerns_the_same_nodes_as_in_the_reference(case):
    filters = Filters([bytes.fromhex(one) for one in case["filters_hex"]])
    assert filters.match(case["node_name"], case["node_tags"]) is case["match"]


def test_filters_are_encoded_as_by_the_reference():
    encoded = encode_filters(["web-1"], {"role": "web", "dc": "^ea"})
    theirs = next(case["filters_hex"] for case in CASES if case["name"] == "tag_and_node")
    assert sorted(encoded) == sorted(map(bytes.fromhex, theirs))
    assert encode_filters([], {}) is None


def test_an_empty_filter_passes_nobody():
    assert not Filters([b""]).match("a", {}) and Filters(None).match("a", {}) and Filters([]).match("a", {})


@pytest.mark.parametrize("expression", ["(x+x+)+y", "(.*)*(.*)*z", "(a|aa)+$", r"(?i)\pL{0,900}z", "(x{0,30}){0,30}b"])
def test_a_catastrophic_expression_stalls_nobody(expression):
    filters = encode_filters([], {f"t{number}": expression for number in range(TAG_FILTERS_MAX)})
    tags = {f"t{number}": "x" * 480 for number in range(TAG_FILTERS_MAX)}
    started = time.process_time()
    Filters(filters).match("a", tags)
    assert time.process_time() - started < 0.5


def test_more_expressions_than_anybody_needs_pass_nobody():
    tags = {f"t{number}": ".*" for number in range(TAG_FILTERS_MAX + 1)}
    assert not Filters(encode_filters([], tags)).match("a", {})
    assert not Filters(encode_filters([], {"t": "x" * 1025 + "|."})).match("a", {"t": "y"})


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_no_filter_raises(filters):
    Filters(filters).match("a", {"role": "web"})
