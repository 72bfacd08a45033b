"""Expressions as Go reads them: Serf's recorded answers, Python's `re` where both agree, and what Go refuses."""

from __future__ import annotations

import gc
import json
import re
from pathlib import Path
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossipd.regex import Regex
from gossipd.regexparser import RegexError

FILTERS = Path(__file__).parents[1] / "vectors" / "serf" / "filters.json"
TAG_CASES = [case for case in json.loads(FILTERS.read_text())["cases"]
             if len(case["decoded"]) == 1 and isinstance(case["decoded"][0], dict) and "Tag" in case["decoded"][0]]


def cpu_now() -> float:
    """Seconds of this process. What other tests left to collect is not collected in the measured time."""
    gc.collect()
    return process_time()


def matches(pattern: str, text: str) -> bool:
    return Regex(pattern).search(text)


@pytest.mark.parametrize("case", TAG_CASES, ids=lambda case: case["name"])
def test_tag_filters_match_as_the_serf_library_matches_them(case):
    wanted = case["decoded"][0]
    try:
        result = matches(wanted.get("Expr", ""), case["node_tags"].get(wanted["Tag"], ""))
    except RegexError:
        result = False      # Serf: an expression that does not compile matches nothing
    assert result == case["match"]


# --- against Python's re: pairs of the same expression in both dialects ---

def both(*same: str) -> st.SearchStrategy[tuple[str, str]]:
    return st.sampled_from(same).map(lambda text: (text, text))


ATOMS = st.one_of(
    both("a", "b", "0", "_", "-", " ", r"\n", ".", r"\.", r"\d", r"\D", r"\w", r"\W", r"\S", "[ab]", "[^ab]", "[a-c0]",
         r"[\d_]", r"[^\w-]", "[]a]", "[a-]", "^", r"\b", r"\x61", r"\A", "()", "(?i:A)", "(?i:[A-B])", "(?s:.)",
         "(?m:^)", "(?m:$)", "(?:)"),
    st.sampled_from([("$", r"\Z"), (r"\z", r"\Z"), ("[[:alpha:]]", "[a-zA-Z]"), ("[[:^digit:]]", "[^0-9]"),
                     (r"\Qa.\E", r"a\."), (r"\pL", "[A-Za-z]"), (r"\PL", "[^A-Za-z]"), (r"[\pN-]", r"[\d-]")]),
)
EMPTY_WIDTH = {"^", r"\b", r"\A", "(?m:^)", "(?m:$)", r"\Z"}
REPEATS = ("*", "+", "?", "{2}", "{0,2}", "{1,}", "*?", "+?", "??", "{1,2}?", "{0}")


def larger(inner: st.SearchStrategy[tuple[str, str]]) -> st.SearchStrategy[tuple[str, str]]:
    pairs = st.tuples(inner, inner)
    return st.one_of(
        pairs.map(lambda p: (p[0][0] + p[1][0], p[0][1] + p[1][1])),
        pairs.map(lambda p: (f"(?:{p[0][0]}|{p[1][0]})", f"(?:{p[0][1]}|{p[1][1]})")),
        pairs.map(lambda p: (f"{p[0][0]}|{p[1][0]}", f"{p[0][1]}|{p[1][1]}")),
        st.tuples(inner, st.sampled_from(REPEATS)).map(
            lambda p: (f"(?:{p[0][0]}){p[1]}", f"(?:{p[0][1]}){p[1]}")),
        st.tuples(inner, st.sampled_from(REPEATS)).map(lambda p: (f"({p[0][0]}){p[1]}", f"({p[0][1]}){p[1]}")),
    )


@settings(max_examples=400, deadline=None)
@given(st.recursive(ATOMS, larger, max_leaves=8), st.text("abcAB01_-. \n", max_size=8))
def test_what_both_dialects_have_matches_as_in_python(expression, text):
    ours, pythons = expression
    assert matches(ours, text) == bool(re.search(pythons, text, re.ASCII)), (ours, text)


@settings(max_examples=200, deadline=None)
@given(st.text(r"ab(|)*+?[]{}0,1\dwzQE^$.-:i<P", max_size=20), st.text("ab01\n", max_size=10))
def test_any_text_is_an_expression_or_a_regex_error(pattern, text):
    try:
        assert matches(pattern, text) in (True, False)
    except RegexError:
        pass


# --- single facts ---

@pytest.mark.parametrize("pattern", [
    "(", ")", "a)", "[", "[a", "[b-a]", "*", "a**", "a+*", "a{2}{3}", "(*)", "a|*", "{2}", "(?=a)", "(?!a)", "(?<=a)",
    r"(a)\1", r"\Z", r"\8", r"\y", r"\_", "\\", "a{1001}", "a{3,2}", "(?:a{100}){100}", "[[:nope:]]", r"\p{Nope}",
    r"\pX", "(?P<n>a)(?P<n>b)", "(?P<>a)", "(?z)a", "(?", "(?i", r"\x{110000}", r"\xg0", "a\udc80",
])
def test_what_go_refuses_is_refused(pattern):
    with pytest.raises(RegexError):
        Regex(pattern)


@pytest.mark.parametrize(("pattern", "text", "expected"), [
    ("^web$", "web", True), ("^web$", "web\n", False), ("web", "my web", True), ("^web", "webs", True),
    ("web$", "cobweb", True), ("web$", "webs", False), ("", "", True), ("^$", "", True), ("^$", "a", False),
    ("^alive|failed$", "alive and well", True), ("^alive|failed$", "it failed", True),
    ("^alive|failed$", "left", False), ("(?i)WEB", "web", True),
    ("a(?i)b", "AB", False), ("a(?i)b|c", "C", True), ("(?i-i:A)", "a", False),
    ("(?i)é", "É", True), ("(?i)k", "\u212a", True), ("a{,2}", "a{,2}", True), ("a{", "a{", True),
    ("a{1,b}", "a{1,b}", True), (r"\Q*a", "*a", True),
    (r"\Qa\E+b", "aab", True), (r"^\x{1F600}$", "😀", True), (r"\101", "A", True),
    (r"\pL", "é", True), (r"^\p{Lu}\P{Lu}$", "Éa", True), (r"^\p{^Lu}$", "A", False), ("[[:^alpha:]]", "a", False),
    ("[[:word:]-]", "-", True), ("[^a]", "\n", True), (".", "\n", False), ("(?s).", "\n", True), (r"\s", "\v", False),
    ("(?P<role>web)", "web", True), ("[[a]", "[", True), (r"\B", "", True), (r"(|a)+$", "aa", True),
    ("w{0}$", "", True), ("(?m)^b$", "a\nb\nc", True), ("(?m)^b", "ab", False), ("(?m)a$", "ab", False),
])
def test_one_expression_at_a_time(pattern, text, expected):
    assert matches(pattern, text) is expected


def test_a_byte_that_is_not_utf8_counts_as_one_replacement_character():
    text = b"a\xffb".decode("utf-8", "surrogateescape")
    assert matches("^a.b$", text) and matches("\ufffd", text) and not matches("^ab$", text)


def test_a_pattern_that_makes_backtracking_explode_takes_no_time():
    began = cpu_now()
    assert not matches("^(a+a+)+$", "a" * 2000 + "b")
    assert process_time() - began < 1.0


def test_work_is_bounded_and_then_refused():
    expression = Regex("(?:x?){999}y|(?:.{0,999}z){1}w")
    began = cpu_now()
    with pytest.raises(RegexError, match="too much work"):
        for i in range(1000):
            expression.search("".join(chr(97 + (i * 7 + k * k) % 25) for k in range(500)))
    assert process_time() - began < 2.0


@pytest.mark.parametrize("some_class", ["[" + "!#%&*,;<=>@_`~" * 270 + "]", "[" + r"\w" * 1900 + "]",
                                        "[" + "[:^alpha:]" * 300 + "]"], ids=len)
def test_large_classes_count_as_the_work_that_they_are(some_class):
    began = cpu_now()
    try:
        Regex(f"(?i)(?:{some_class}?){{1000}}Q", work_max=20_000).search("web-frontend-1")
    except RegexError:
        pass
    assert process_time() - began < 0.2


@given(st.lists(st.tuples(st.characters(max_codepoint=300), st.characters(max_codepoint=300)), min_size=1),
       st.characters(max_codepoint=300))
def test_a_class_of_any_spans_has_what_one_of_them_has(pairs, c):
    spans = [(min(pair), max(pair)) for pair in pairs]
    written = "".join(f"\\x{{{ord(low):x}}}-\\x{{{ord(high):x}}}" for low, high in spans)
    assert matches(f"^[{written}]$", c) is any(low <= c <= high for low, high in spans)


def test_size_and_depth_are_bounded():
    for pattern in ("a" * 5000, "(" * 200 + ")" * 200, "(?:(?:a{30}){30})" * 20, "(){1000}" * 100):
        with pytest.raises(RegexError):
            Regex(pattern)


def test_what_was_seen_before_costs_no_work():
    expression = Regex("^(web|db)-[0-9]+$")
    for i in range(100_000):
        if i % 1000 == 0:
            assert expression.search(f"web-{i}")
    assert all(expression.search(f"db-{i % 97}") for i in range(30_000))
