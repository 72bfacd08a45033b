"""Go's flag syntax, as the real program was seen to read it."""

from __future__ import annotations

import pytest

from gossipd.serfcli.flags import DURATION, LIST, SWITCH, TEXT, WHOLE, FlagError, parse_flags, split_pair

KINDS = {"text": TEXT, "on": SWITCH, "list": LIST, "more": f"{LIST}:list", "whole": WHOLE, "time": DURATION}


@pytest.mark.parametrize("argv, given, words", [
    (["-text=a", "x"], {"text": "a"}, ["x"]),
    (["--text", "a"], {"text": "a"}, []),
    (["-text", "-on"], {"text": "-on"}, []),
    (["-text="], {"text": ""}, []),
    (["-text=a=b"], {"text": "a=b"}, []),
    (["-text=a", "-text=b"], {"text": "b"}, []),
    (["-on", "true"], {"on": True}, ["true"]),
    (["-on=f", "-on=T"], {"on": True}, []),
    (["-list=a", "-more", "b", "-list=c"], {"list": ["a", "b", "c"]}, []),
    (["x", "-on"], {}, ["x", "-on"]),
    (["--", "-on"], {}, ["-on"]),
    (["-", "-on"], {}, ["-", "-on"]),
    (["", "-on"], {}, ["", "-on"]),
    (["-whole=0x1F"], {"whole": 31}, []),
    (["-whole=010"], {"whole": 8}, []),
    (["-whole=-1_000"], {"whole": -1000}, []),
    (["-time=1m30s"], {"time": 90.0}, []),
])
def test_flags_are_read_as_go_reads_them(argv, given, words):
    flags = parse_flags(KINDS, argv)
    assert (flags.given, flags.words) == (given, words)


@pytest.mark.parametrize("argv, text", [
    (["-bogus"], "flag provided but not defined: -bogus"),
    (["---text"], "bad flag syntax: ---text"),
    (["-=x"], "bad flag syntax: -=x"),
    (["-text"], "flag needs an argument: -text"),
    (["-on="], 'invalid boolean value "" for -on: parse error'),
    (["-on=yes"], 'invalid boolean value "yes" for -on: parse error'),
    (["-whole=x"], 'invalid value "x" for flag -whole: parse error'),
    (["-whole= 1"], 'invalid value " 1" for flag -whole: parse error'),
    (["-whole=--1"], 'invalid value "--1" for flag -whole: parse error'),
    (["-whole=99999999999999999999"], 'invalid value "99999999999999999999" for flag -whole: value out of range'),
    (["-time=5"], 'invalid value "5" for flag -time: parse error'),
    (["-h=false"], ""),
    (["-help"], ""),
])
def test_what_cannot_be_read_is_told_in_gos_words(argv, text):
    with pytest.raises(FlagError) as caught:
        parse_flags(KINDS, argv)
    assert str(caught.value) == text


@pytest.mark.parametrize("text, pair", [
    ("a=b", ("a", "b")), ("a=b=c", ("a", "b=c")), ("a=", ("a", "")), ("=b", None), ("a", None), ("", None)])
def test_a_pair_is_split_at_its_first_equals_sign(text, pair):
    assert split_pair(text) == pair
