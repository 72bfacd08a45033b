from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossipd.commands import Leave, SendEvent
from gossipd.effects import Record
from gossipd.events import MEMBER_FAILED, MEMBER_JOIN, MEMBER_LEAVE, MEMBER_UPDATE
from gossipd.serf import snapshot as module
from gossipd.serf.messages import QueryMessage, encode_query
from gossipd.serf.queryfilters import encode_filters
from gossipd.serf.snapshot import LINE_BYTES_MAX, PIECE_BYTES, Replay, Restored, Snapshot, replay
from tests.support.serf import SerfBench
from tests.unit.serf.vectors import load

VECTORS = load("snapshots.json")["snapshots"]
HERE = ("10.0.0.1", 7946)


@pytest.mark.parametrize("rejoin", [False, True], ids=["", "rejoin after leave"])
@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
def test_a_file_of_the_reference_restores_what_it_restores_there(vector, rejoin):
    text = vector["text"].encode()
    restored = replay(text, rejoin)
    theirs = vector["replay_with_rejoin_after_leave" if rejoin else "replay"]
    assert restored.alive == theirs["alive"]
    assert (restored.clock, restored.event_clock, restored.query_clock) == (
        theirs["clock"], theirs["event_clock"], theirs["query_clock"])
    assert len(restored.warnings) == restored.warnings_count == theirs["log_lines"]
    assert restored.ends_in_newline is (not text or text.endswith(b"\n"))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
def test_a_compacted_file_says_the_same(vector):
    before = replay(vector["text"].encode())
    after = replay(Snapshot(before, 0, False).compaction()())
    assert (after.alive, after.failed, after.clock, after.event_clock, after.query_clock, after.warnings) == (
        before.alive, before.failed, before.clock, before.event_clock, before.query_clock, [])


def test_the_lines_are_those_of_the_reference():
    snapshot = Snapshot(Restored(), 0, False)
    text = (snapshot.member(MEMBER_JOIN, "a", HERE) + snapshot.clock(2) + snapshot.member(MEMBER_JOIN, "v6", ("::1", 7))
            + snapshot.user_event(3) + snapshot.query(4) + snapshot.member(MEMBER_UPDATE, "a", HERE)
            + snapshot.member(MEMBER_LEAVE, "a", HERE) + snapshot.leave())
    assert text == (b"alive: a 10.0.0.1:7946\nclock: 1\nalive: v6 [::1]:7\nevent-clock: 3\nquery-clock: 4\n"
                    b"not-alive: a\nleave\n")


def test_only_rising_clocks_are_written():
    snapshot = Snapshot(Restored(clock=5, event_clock=5, query_clock=5), 0, False)
    assert snapshot.clock(6) + snapshot.user_event(5) + snapshot.query(4) == b""
    assert snapshot.clock(7) + snapshot.clock(7) == b"clock: 6\n"


def test_failed_members_are_remembered_in_lines_that_are_comments_to_serf():
    snapshot = Snapshot(Restored(), 0, False)
    text = snapshot.member(MEMBER_JOIN, "a", HERE) + snapshot.member(MEMBER_FAILED, "a", HERE)
    assert text.splitlines()[1:] == [b"not-alive: a", b"# failed: a 10.0.0.1:7946"]
    for restored in (replay(text), replay(snapshot.compaction()())):
        assert (restored.alive, restored.failed) == ({}, {"a": "10.0.0.1:7946"})
        assert restored.peers("me") == {"a": HERE} and restored.peers("a") == {}
    assert replay(text + snapshot.member(MEMBER_JOIN, "a", HERE)).failed == {}
    snapshot.member(MEMBER_FAILED, "a", HERE)
    assert replay(text + snapshot.forget("a")).failed == {} and snapshot.forget("a") == b""


def test_a_member_pruned_while_it_was_alive_is_forgotten_too():
    snapshot = Snapshot(Restored(), 0, False)
    text = snapshot.member(MEMBER_JOIN, "a", HERE) + snapshot.forget("a")
    assert replay(text).peers("me") == replay(snapshot.compaction()()).peers("me") == {}


def test_after_a_leave_only_the_member_clock_is_written():
    snapshot = Snapshot(Restored({"a": "10.0.0.1:7946"}, clock=3), 0, False)
    assert snapshot.leave() == b"leave\n"
    assert snapshot.member(MEMBER_LEAVE, "me", HERE) + snapshot.user_event(9) + snapshot.query(9) == b""
    assert snapshot.clock(9) == b"clock: 8\n" and replay(snapshot.compaction()()).alive == {}


def test_whoever_wants_to_rejoin_keeps_its_peers_through_a_leave():
    snapshot = Snapshot(Restored({"a": "10.0.0.1:7946"}), 0, True)
    snapshot.leave()
    assert replay(snapshot.compaction()()).alive == {"a": "10.0.0.1:7946"}


@pytest.mark.parametrize("name", ["a\nleave", "a\rb"])
def test_no_name_can_forge_a_line(name):
    snapshot = Snapshot(Restored(), 0, False)
    assert snapshot.member(MEMBER_JOIN, name, HERE) + snapshot.member(MEMBER_FAILED, name, HERE) == b""
    assert b"leave" not in snapshot.compaction()()


def test_a_compaction_is_due_beyond_the_minimum_and_twice_the_room_of_the_peers():
    few = Snapshot(Restored(), 1000, False)
    assert not few.wants_compaction(1000) and few.wants_compaction(1001)
    many = Snapshot(Restored({f"n{n}": "h:1" for n in range(10)}), 1000, False)
    assert not many.wants_compaction(2560) and many.wants_compaction(2561)


def test_every_truncation_of_a_file_can_be_read():
    text = b"alive: a 10.0.0.1:7946\nclock: 12\nevent-clock: 7\n# failed: b 10.0.0.2:1\nquery-clock: 9\n"
    whole = replay(text)
    for end in range(len(text)):
        part = replay(text[:end])
        assert part.warnings == [] and part.clock in (0, whole.clock) and part.alive in ({}, whole.alive)


@given(st.binary(max_size=200))
def test_any_file_can_be_read_and_compacted(text):
    restored = replay(text)
    restored.peers("me")
    again = replay(Snapshot(restored, 0, False).compaction()())
    assert (again.clock, again.event_clock, again.query_clock) == (
        restored.clock, restored.event_clock, restored.query_clock)


def test_nul_bytes_and_odd_numbers_are_skipped():
    restored = replay(b"clock: 3\n\x00\x00\x00\nclock: 4\x00\nclock: +5\nclock: 6 \n" + "clock: ٧\n".encode())
    assert restored.clock == 3 and len(restored.warnings) == 5


def test_a_file_that_is_no_snapshot_does_not_fill_the_memory_with_complaints():
    restored = replay(b"\n" * 100_000)
    assert (len(restored.warnings), restored.warnings_count) == (10, 100_000)


# in a node

def records(bench: SerfBench) -> bytes:
    return b"".join(record.lines for record in bench.takes(Record))


def test_a_node_records_everything_uncoalesced():
    bench = SerfBench(restored=Restored(), member_period_s=3.0)
    for name in ("a", "b", "b"):
        bench.joins(name)
    bench.leaves("a")
    bench.asks(SendEvent(1, "deploy"))
    text = records(bench)
    assert text == (b"alive: a 127.0.47.2:7946\nalive: b 127.0.47.3:7946\nalive: b 127.0.47.3:7946\nnot-alive: a\n"
                    b"# failed: a 127.0.47.2:7946\nevent-clock: 1\n")
    assert b"alive: me 127.0.47.1:7946\n" in b"".join(e.lines for e in bench.first_out if isinstance(e, Record))


def test_a_query_counts_only_if_it_passed_our_filters():
    bench = SerfBench(restored=Restored())
    for ltime, nodes in ((1, ["me"]), (2, ["other"]), (3, [])):
        filters = encode_filters(nodes, {})
        bench.hears(encode_query(QueryMessage(ltime, 1, bytes(4), 1, "x", "_serf_ping", None, 1, filters)))
    assert records(bench) == b"query-clock: 1\nquery-clock: 3\n"


def test_a_graceful_leave_is_recorded_before_anything_that_follows_from_it():
    bench = SerfBench(restored=Restored())
    bench.asks(Leave(1))
    bench.runs_until(bench.now + 2.0)
    assert records(bench) == b"leave\nclock: 1\n"


def test_the_member_clock_is_written_when_asked_for():
    bench = SerfBench(restored=Restored())
    bench.serf.clocks.member.witness(41)
    assert (bench.serf.clock_lines(), bench.serf.clock_lines()) == (b"clock: 41\n", b"")


def test_a_node_starts_with_the_clocks_of_its_snapshot_and_does_not_hear_old_things_again():
    bench = SerfBench(restored=Restored(clock=7, event_clock=8, query_clock=9))
    clocks = bench.serf.clocks
    assert (clocks.member.time, clocks.event.time, clocks.query.time) == (8, 9, 10)
    assert (bench.serf.events.minimum, bench.serf.answers.minimum) == (9, 10)


def test_a_poisoned_snapshot_does_not_poison_the_node():
    bench = SerfBench(restored=Restored(clock=(1 << 64) - 1, event_clock=1 << 63, query_clock=5))
    assert (bench.serf.clocks.member.time, bench.serf.clocks.event.time) == (1, 1) and bench.serf.events.minimum == 1
    bench.asks(SendEvent(1, "deploy"))
    assert records(bench) == b"event-clock: 1\n"


def test_a_node_without_a_snapshot_records_nothing():
    bench = SerfBench()
    bench.joins("a")
    bench.asks(SendEvent(1, "deploy"))
    assert records(bench) == b"" and bench.serf.clock_lines() == b""


# long ones

LINES = [
    b"clock: 5", b"clock: 6", b"clock: 07", b"event-clock: 8", b"event-clock: 9", b"query-clock: 1", b"clock: x",
    b"clock: 99999999999999999999", b"leave", b"alive: a clock: 1:2", b"alive: b 1:2", b"not-alive: a", b"",
    b"# failed: b 1:3", b"alive: b " + b"1" * 50 + b":2", b"alive: " + b"c" * 50 + b" 1:4", b"z" * 50 + b"clock: 4"]


@given(st.lists(st.sampled_from(LINES), max_size=60), st.integers(1, 300), st.booleans(), st.booleans())
def test_a_snapshot_says_the_same_in_pieces_of_any_size(lines, size, rejoin, ends):
    """Line by line no run of clocks is ever seen."""
    text = b"\n".join(lines) + b"\n" * ends
    readings = [Replay(rejoin), Replay(rejoin), Replay(rejoin)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LINE_BYTES_MAX", 40)
        for reading, pieces in zip(readings, (
                text.splitlines(keepends=True), [text[at:at + size] for at in range(0, len(text), size)], [text]),
                strict=True):
            for piece in pieces:
                reading.feed(piece)
        found = [reading.end() for reading in readings]
    assert found[0].ends_in_newline == (not text or text.endswith(b"\n"))
    for one in found:
        one.warnings.clear()        # they may call the same line too long or something else
    assert found[0] == found[1] == found[2]


def test_of_too_many_members_the_first_are_remembered_and_those_who_left_make_room():
    reading = Replay(members_max=3)
    reading.feed(b"".join(b"alive: n%d 10.0.0.1:1\n" % number for number in range(5)))
    reading.feed(b"# failed: n0 10.0.0.1:2\nnot-alive: n1\nalive: n7 10.0.0.1:3\nalive: n8 10.0.0.1:4\n")
    restored = reading.end()
    assert restored.alive == {"n2": "10.0.0.1:1", "n7": "10.0.0.1:3"} and restored.failed == {"n0": "10.0.0.1:2"}
    assert restored.warnings == ["more than 3 members, 3 lines left out"]


def test_a_line_without_end_takes_no_memory_and_is_told_once():
    reading = Replay()
    for _ in range(20):
        reading.feed(b"x" * PIECE_BYTES)
        assert len(reading._piece) <= LINE_BYTES_MAX
    reading.feed(b"clock: 7\nclock: 8\n")
    restored = reading.end()
    assert restored.clock == 8 and restored.warnings_count == 1 and "too long" in restored.warnings[0]


def test_a_file_of_nothing_but_clocks_is_read_at_the_speed_of_a_search():
    """Each line by itself would be hundreds of times as many steps."""
    reading, steps = Replay(), 0
    text = b"clock: 1\nevent-clock: 2\nquery-clock: 3\n" * 10000

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal steps
        steps += 1

    sys.setprofile(count)
    try:
        reading.feed(text)
    finally:
        sys.setprofile(None)
    restored = reading.end()
    assert (restored.clock, restored.event_clock, restored.query_clock) == (1, 2, 3) and steps < 300
