from __future__ import annotations

from gossipd.daemon.throttle import INTERVAL_S, KINDS_MAX, Throttle, more


def test_a_kind_goes_through_once_in_an_interval_with_the_number_held_back():
    throttle = Throttle()
    assert throttle.admit("bad crc", 10.0) == 0
    assert [throttle.admit("bad crc", 10.5) for _ in range(3)] == [None, None, None]
    assert throttle.admit("bad crc", 10.0 + INTERVAL_S) == 3
    assert throttle.admit("bad crc", 12.5) == 0


def test_kinds_do_not_silence_each_other():
    throttle = Throttle()
    assert (throttle.admit("bad crc", 10.0), throttle.admit("no key", 10.0)) == (0, 0)


def test_kinds_beyond_the_limit_are_one():
    throttle = Throttle()
    admitted = [throttle.admit(f"kind {number}", 10.0) for number in range(10 * KINDS_MAX)]
    assert admitted.count(0) == KINDS_MAX + 1


def test_kinds_of_long_ago_make_room():
    throttle = Throttle(60.0)
    for number in range(KINDS_MAX):
        throttle.admit(f"kind {number}", 10.0)
    assert throttle.admit("kind 1", 11.0) is None
    assert throttle.admit("new", 69.0) == 0 and throttle.admit("newer", 69.0) is None      # both are "other"
    assert throttle.admit("newest", 70.0) == 0 and throttle.admit("kind 1", 70.0) == 0


def test_kinds_of_long_ago_make_room_though_they_held_something_back():
    throttle = Throttle(60.0)
    for number in range(KINDS_MAX):
        assert [throttle.admit(f"kind {number}", 10.0) for _ in range(2)] == [0, None]
    assert [throttle.admit(f"new {number}", 1000.0) for number in range(KINDS_MAX)] == [0] * KINDS_MAX
    assert [throttle.admit(kind, 1000.0) for kind in ("one", "too many")] == [KINDS_MAX, None]     # both are "other"


def test_a_line_says_for_how_many_it_speaks():
    assert (more(0), more(3)) == ("", " more=3")
