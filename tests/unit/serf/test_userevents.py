from __future__ import annotations

import tracemalloc

import pytest

from gossipd.commands import Join, SendEvent
from gossipd.effects import Reply
from gossipd.errors import CommandError, WireError
from gossipd.events import UserEvent
from gossipd.serf.coalesce import UserCoalescer
from gossipd.serf.messages import (
    EVENTS_BYTES_MAX,
    EventSlot,
    PushPullState,
    UserEventMessage,
    decode_push_pull,
    encode_push_pull,
    encode_user_event,
)
from gossipd.serf.userevents import EVENTS_IN_SLOT_MAX, RING_BYTES_MAX
from gossipd.timers import TimerQueue
from tests.support.serf import SerfBench
from tests.unit.serf.vectors import load


def event(ltime: int, name: str = "deploy", payload: bytes | None = None, coalesce: bool = False) -> bytes:
    return encode_user_event(UserEventMessage(ltime, name, payload, coalesce))


def test_a_sent_event_is_heard_by_the_sender_and_gossiped_with_the_next_time():
    bench = SerfBench()
    bench.asks(SendEvent(1, "deploy", b"v1", coalesce=False))
    bench.asks(SendEvent(2, "deploy", b"v1", coalesce=False))
    assert bench.replies() == [Reply(1), Reply(2)]
    assert bench.told() == ["user:deploy:v1@1 cc=false", "user:deploy:v1@2 cc=false"]
    assert sorted(bench.gossips()) == [event(1, payload=b"v1"), event(2, payload=b"v1")]


@pytest.mark.parametrize(("name", "payload_bytes", "settings", "complaint", "size"), [
    ("n" * 6, 507, {}, "user event exceeds configured limit of 512 bytes before encoding", 513),
    ("n" * 6, 477, {}, "encoded user event exceeds configured limit of 512 bytes after encoding", 513),
    ("n", 9216, {"user_event_bytes": 9216}, "user event exceeds configured limit of 9216 bytes before encoding", 9217),
    ("é", 511, {}, "user event exceeds configured limit of 512 bytes before encoding", 513),
])
def test_an_event_too_large_is_refused_naming_limit_and_size(name, payload_bytes, settings, complaint, size):
    bench = SerfBench(**settings)
    with pytest.raises(CommandError, match=f"^{complaint}$") as refused:
        bench.asks(SendEvent(1, name, bytes(payload_bytes)))
    assert refused.value.full == f"{complaint}: {size} bytes"
    assert bench.told() == [] and bench.serf.clocks.event.time == 1 and bench.gossips() == []


def test_the_largest_event_that_fits_is_sent():
    bench = SerfBench()
    bench.asks(SendEvent(1, "n" * 6, bytes(476)))
    assert [len(message) for message in bench.gossips()] == [512]


def test_an_event_heard_twice_is_told_and_passed_on_once():
    bench = SerfBench()
    assert bench.hears(event(5)) and not bench.hears(event(5)) and not bench.hears(event(5, coalesce=True))
    assert bench.told() == ["user:deploy:@5 cc=false"]


def test_events_from_before_the_buffer_are_too_old():
    bench = SerfBench(event_buffer=10)
    bench.hears(event(100))
    assert [bench.hears(event(ltime)) for ltime in (90, 91)] == [False, True]       # the clock is 101


def test_the_buffer_remembers_what_peers_get_in_a_push_pull():
    bench = SerfBench(event_buffer=4)
    for ltime in (7, 5, 9, 8):
        bench.hears(event(ltime, payload=b"p"))
    bench.hears(event(8, name="other"))
    assert bench.serf.events.slots() == [     # 9 took the place of 5
        EventSlot(7, [("deploy", b"p")]), EventSlot(8, [("deploy", b"p"), ("other", None)]),
        EventSlot(9, [("deploy", b"p")])]


def test_a_large_history_of_a_peer_is_merged_and_not_passed_on():
    bench = SerfBench()
    slots = [EventSlot(ltime, [(f"e{k}", b"x") for k in range(20)]) for ltime in range(1, 513)]
    history = PushPullState(1, {}, [], 513, 1, slots)
    bench.serf.merge_remote_state(encode_push_pull(history), True, bench.now, bench.out)
    assert len(bench.told()) == 512 * 20 and bench.gossips() == []
    assert bench.serf.clocks.event.time == 513


def test_a_join_brings_old_events_only_when_replay_is_asked_for():
    history = encode_push_pull(PushPullState(1, {}, [], 8, 1, [EventSlot(7, [("old", None)])]))
    heard = {}
    for replay in (False, True):
        bench = SerfBench()
        bench.asks(Join(1, [("127.0.47.8", 7946)], replay=replay))
        bench.serf.merge_remote_state(history, True, bench.now, bench.out)
        heard[replay] = bench.told()
        assert bench.hears(event(8, "new"))
    assert heard == {False: [], True: ["user:old:@7 cc=false"]}


def test_a_poisoned_clock_in_a_join_does_not_deafen_us():
    bench = SerfBench()
    bench.hears(event(3))
    bench.asks(Join(1, [("127.0.47.8", 7946)]))
    poison = encode_push_pull(PushPullState(1, {}, [], (1 << 63) - 1, 1))
    bench.serf.merge_remote_state(poison, True, bench.now, bench.out)
    assert bench.hears(event(4))


def test_oversized_and_implausible_events_in_a_push_pull_are_dropped_alone():
    bench = SerfBench()
    bench.hears(event(3))
    bench.told()
    slots = [EventSlot(4, [("big", bytes(9214))]), EventSlot(1 << 60, [("far", None)]), EventSlot(5, [("good", None)])]
    bench.serf.merge_remote_state(encode_push_pull(PushPullState(1, {}, [], 6, 1, slots)), False, bench.now, bench.out)
    assert bench.told() == ["user:good:@5 cc=false"]


def test_events_of_one_time_are_bounded():
    bench = SerfBench()
    for number in range(EVENTS_IN_SLOT_MAX):
        bench.hears(event(5, f"e{number}"))
    assert not bench.hears(event(5, "one too many")) and not bench.hears(event(5, "e0"))


def test_a_poisoned_event_changes_nothing():
    bench = SerfBench()
    bench.hears(event(3))
    for ltime in (1 << 60, 1 << 63, (1 << 64) - 1):
        with pytest.raises(WireError, match="LTime"):
            bench.hears(event(ltime))
    assert bench.serf.clocks.event.time == 4 and bench.hears(event(4))


# coalescing

def held(bench: SerfBench) -> list[str]:
    return [line.removeprefix("user:") for line in bench.told()]


def test_the_first_event_of_each_name_passes_at_once_and_of_its_followers_the_newest():
    bench = SerfBench(user_period_s=3.0, user_quiescent_s=1.0)
    bench.hears(event(5, "d", b"1", True))
    bench.hears(event(1, "e", b"x", True))
    assert held(bench) == ["d:1@5 cc=true", "e:x@1 cc=true"]
    for ltime, payload in ((7, b"2"), (6, b"3"), (7, b"4"), (4, b"5")):
        bench.hears(event(ltime, "d", payload, True))
    assert held(bench) == []
    bench.runs_until(bench.now + 1.0)
    assert held(bench) == ["d:2@7 cc=true", "d:4@7 cc=true"]
    bench.runs_until(bench.now + 1.0)
    bench.hears(event(2, "d", b"old", True))        # nothing is remembered beyond the burst
    assert held(bench) == ["d:old@2 cc=true"]


def test_an_event_older_than_the_first_of_its_burst_is_dropped():
    bench = SerfBench(user_period_s=3.0, user_quiescent_s=1.0)
    bench.hears(event(5, "d", coalesce=True))
    bench.hears(event(4, "d", coalesce=True))
    bench.hears(event(5, "d", b"same time", coalesce=True))
    bench.told()
    bench.runs_until(bench.now + 2.0)
    assert held(bench) == ["d:same time@5 cc=true"]


def test_events_that_may_not_coalesce_overtake_those_held():
    bench = SerfBench(user_period_s=3.0, user_quiescent_s=1.0)
    for ltime, coalesce in ((1, True), (2, True), (3, False)):
        bench.hears(event(ltime, "d", coalesce=coalesce))
    assert held(bench) == ["d:@1 cc=true", "d:@3 cc=false"]


def test_a_steady_stream_is_told_every_period():
    bench = SerfBench(user_period_s=3.0, user_quiescent_s=1.0)
    start, told = bench.now, []
    for tick in range(1, 70):
        bench.runs_until(start + tick / 10)
        told += [(round(bench.now - start, 1), line) for line in held(bench)]
        bench.hears(event(tick, "d", coalesce=True))
        told += [(round(bench.now - start, 1), line) for line in held(bench)]
    assert told == [(0.1, "d:@1 cc=true"), (3.1, "d:@30 cc=true"), (6.1, "d:@60 cc=true")]


def test_followers_come_out_as_from_the_reference():
    """The reference holds the first event too: an older one of each name opens the burst here."""
    timers: TimerQueue[object] = TimerQueue()
    coalescer = UserCoalescer(3.0, 1.0, timers)
    for step in load("queues.json")["user_coalescer_one_instance"]:
        out = []
        for name in dict.fromkeys(e["name"] for e in step["in"]):
            coalescer.hear(UserEvent(name, b"first", 0, True), 0.0, out)
        del out[:]
        for e in step["in"]:
            coalescer.hear(UserEvent(e["name"], e["payload"].encode(), e["ltime"], True), 0.0, out)
        assert out == []
        coalescer.quiet(out)
        told = [(e.event.name, e.event.payload.decode(), e.event.ltime) for e in out]
        assert sorted(told) == sorted((e["name"], e["payload"], e["ltime"]) for e in step["flush_out"])


def test_of_a_very_long_history_peers_get_the_newest_that_they_take():
    bench = SerfBench(user_event_bytes=9216)
    for ltime in range(1, 513):
        for name in ("a", "b"):
            bench.hears(encode_user_event(UserEventMessage(ltime, name, bytes(9000), False)))
    state = bench.serf.local_state(False)
    slots = decode_push_pull(state).events
    assert len(state) < EVENTS_BYTES_MAX and slots[-1].ltime == 512 and len(slots) > 100


def test_a_ring_full_of_the_largest_events_is_told_in_full():
    bench = SerfBench(user_event_bytes=9216)
    for ltime in range(1, 513):
        bench.hears(encode_user_event(UserEventMessage(ltime, "a", bytes(9215), False)))
    assert len(decode_push_pull(bench.serf.local_state(False)).events) == 512


def test_a_long_history_of_names_of_wide_characters_is_one_that_peers_take():
    bench = SerfBench()
    for number in range(1700):
        bench.hears(event(600 + number % 500, "\U0001f600" * 2300 + str(number)))
    state = bench.serf.local_state(False)
    assert len(state) < EVENTS_BYTES_MAX and decode_push_pull(state).events[-1].ltime == 1099


def test_sizes_in_a_push_pull_are_bytes():
    bench = SerfBench()
    slots = [EventSlot(4, [("\U0001f600" * 2305, None)]), EventSlot(5, [("good", None)])]
    bench.serf.merge_remote_state(encode_push_pull(PushPullState(1, {}, [], 6, 1, slots)), False, bench.now, bench.out)
    assert bench.told() == ["user:good:@5 cc=false"]


def test_very_much_is_forgotten_oldest_first_and_then_no_news():
    bench, per_time = SerfBench(), 10
    count = RING_BYTES_MAX // (9000 * per_time)
    for ltime in range(1, count + 20):
        for number in range(per_time):
            assert bench.hears(event(ltime, f"e{number}", bytes(9000)))
    ring = bench.serf.events._ring.values()
    assert RING_BYTES_MAX * 0.9 < sum(len(slot.events) * 9000 for slot in ring) < RING_BYTES_MAX
    assert not bench.hears(event(1, "e0", bytes(9000))) and not bench.hears(event(count + 19, "e0", bytes(9000)))
    bench.hears(event(count + 600, "later"))
    assert bench.hears(event(count + 601, "e0", bytes(9000)))


def test_nested_arrays_in_a_peers_history_are_refused_before_they_are_built():
    nested = b"\xdc\x03\xe8" + b"\x90" * 1000
    slots = b"\xdc\x1f\x40" + nested * 8000
    tracemalloc.start()
    with pytest.raises(WireError):
        decode_push_pull(b"\x02\x81\xa6Events" + slots)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * len(slots)
