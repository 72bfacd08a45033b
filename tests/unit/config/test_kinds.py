from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipd.config.kinds import (
    Addresses,
    AddressText,
    Choice,
    Durations,
    InterfaceName,
    Key,
    Seconds,
    Switch,
    Tags,
    Text,
    Whole,
    read_duration,
    show_duration,
)
from gossipd.config.schema import SETTINGS

ALL = [(f"{section}.{key}", setting) for section, settings in SETTINGS.items() for key, setting in settings.items()]


@pytest.mark.parametrize(("text", "seconds"), [
    ("1.5s", 1.5), ("200ms", 0.2), ("1h30m", 5400), ("0", 0), ("0s", 0), ("10us", 1e-5), ("10µs", 1e-5), ("3ns", 3e-9),
    (".5s", 0.5), ("1.s", 1), ("+2m", 120), ("-1s", -1), (3, 3), (2.5, 2.5),
])
def test_a_duration_is_gos_syntax_or_a_number_of_seconds(text, seconds):
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "1x", "1 s", "1s ", "١s", "1s2", "--1s", ".s", True, None, [], math.nan,
                                  math.inf, 1e30, "99999999999999h"])
def test_anything_else_is_no_duration(text):
    assert read_duration(text) is None


@given(st.integers(0, 10**9).map(lambda ms: ms / 1000))
def test_a_duration_reads_back_as_it_is_shown(seconds):
    assert read_duration(show_duration(seconds)) == pytest.approx(seconds, rel=1e-6)


@pytest.mark.parametrize(("seconds", "text"), [
    (0.2, "200ms"), (1.5, "1.5s"), (60, "1m"), (5400, "1h30m"), (86400, "24h"), (0, "0s"), (90, "90s"), (0.003, "3ms"),
])
def test_durations_are_shown_as_people_write_them(seconds, text):
    assert show_duration(seconds) == text


@pytest.mark.parametrize(("kind", "value", "result"), [
    (Text(), "x", "x"),
    (Text("short", 3), "abc", "abc"),
    (Choice("lan", "wan"), "WAN", "wan"),
    (Choice("info", others={"inf": "info"}), "inf", "info"),
    (Switch(), True, True),
    (Whole(1, 5), 5, 5),
    (Seconds(1.0), "1s", 1.0),
    (Seconds(1.0, off=True), "0s", 0.0),
    (Durations(), ["0s", "10ms"], (0.0, 0.01)),
    (Durations(2), ["2s", 5], (2.0, 5.0)),
    (AddressText(), "", ""),
    (AddressText(port_needed=True), "[::1]:7373", "[::1]:7373"),
    (AddressText(everywhere=True), ":7373", "[::]:7373"), (AddressText(everywhere=True), "0.0.0.0:1", "0.0.0.0:1"),
    (AddressText(everywhere=True), "::1", "::1"),
    (Addresses(), ["a", "b:1", "2001:db8::1"], ("a", "b:1", "2001:db8::1")),
    (Addresses(), ["node/a:1", "a_b.example."], ("node/a:1", "a_b.example.")),
    (Addresses(), ["127.1", "fe80::1%eth0"], ("127.1", "fe80::1%eth0")),
    (AddressText(own=True), "[::1]:0", "[::1]:0"), (AddressText(own=True), "ff.example", "ff.example"),
    (AddressText(own=True), "fe80::1%eth0", "fe80::1%eth0"),
    (AddressText(own=True), "223.255.255.255", "223.255.255.255"),
    (InterfaceName(), "eth0.100", "eth0.100"), (InterfaceName(), "", ""),
    (Tags(), {"role": "web", "empty": "", "": "x"}, {"role": "web", "empty": "", "": "x"}),
    (Key(), "AAECAwQFBgcICQoLDA0ODw==", bytes(range(16))),
    (Key(), "", b""),
    (Key(), "AAECAwQFBgcI\r\nCQoLDA0ODw==\n", bytes(range(16))),
])
def test_a_kind_reads_what_it_promises(kind, value, result):
    assert kind.read(value) == result


@pytest.mark.parametrize(("kind", "value"), [
    (Text(), 5), (Text("short", 3), "äö"), (Choice("lan"), "fast"), (Choice("lan"), 1),
    (Switch(), 1), (Switch(), "true"), (Whole(1, 5), 0), (Whole(1, 5), 6), (Whole(0, 5), True), (Whole(1, 5), 2.0),
    (Seconds(1.0), "0.5s"), (Seconds(1.0), "0s"), (Seconds(0.0), "-1s"), (Seconds(1.0, off=True), "0.5s"),
    (Durations(), []), (Durations(2), ["1s"]), (Durations(), ["2s", "1s"]), (Durations(), ["-1s"]), (Durations(), "1s"),
    (AddressText(), ":7373"), (AddressText(everywhere=True), ":x"),
    (AddressText(), "a b"), (AddressText(), "300.1.1.1"), (AddressText(), "1:2:3"), (AddressText(), "a..b"),
    (AddressText(), "a@b"), (AddressText(), "x" * 64), (AddressText(), "a." * 130), (AddressText(), "1.2.3.4.5"),
    (AddressText(own=True), "224.0.0.1"), (AddressText(own=True), "239.255.255.255:1"),
    (AddressText(own=True), "ff02::1"),
    (AddressText(own=True), "[::ffff:224.0.0.1]:1"), (AddressText(own=True), "255.255.255.255"),
    (AddressText(any_port=False), "192.0.2.1:0"), (AddressText(any_port=False), "[::1]:0"),
    (Addresses(), ["a b"]), (Addresses(), ["h:99999"]), (Addresses(), ["h:0"]), (Addresses(), ["/h"]),
    (Addresses(), ["a/b c"]),
    (InterfaceName(), "eth 0"), (InterfaceName(), "a/b"), (InterfaceName(), 16 * "x"), (InterfaceName(), 1),
    (AddressText(needed=True), ""), (AddressText(port_needed=True), "127.0.0.1"), (AddressText(), "h:99999"),
    (AddressText(), 7946), (Addresses(), "a"), (Addresses(), [""]), (Addresses(), [1]),
    (Tags(), {"a": 1}), (Tags(), ["a=b"]),
    (Key(), "AAEC"), (Key(), "not base64!"), (Key(), 5), (Key(), "AAECAwQFBgcICQoLDA0OD===w"),
])
def test_a_kind_refuses_the_rest_and_says_what_it_expected(kind, value):
    with pytest.raises(ValueError) as refusal:
        kind.read(value)
    assert str(refusal.value).startswith(kind.expected)


@pytest.mark.parametrize(("name", "setting"), ALL, ids=[name for name, _ in ALL])
def test_every_default_is_a_value_its_kind_shows_and_reads_back(name, setting):
    import tomllib

    shown = tomllib.loads(f"value = {setting.default_text()}")["value"]
    assert setting.kind.read(shown) == setting.default


@pytest.mark.parametrize(("name", "setting"), ALL, ids=[name for name, _ in ALL])
def test_every_help_text_is_made_of_sentences(name, setting):
    assert setting.help[0].isupper() and setting.help[-1] in ".:" and setting.kind.expected


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_any_tags_survive_being_shown(tags):
    import tomllib

    assert tomllib.loads(f"value = {Tags().show(tags)}")["value"] == tags
