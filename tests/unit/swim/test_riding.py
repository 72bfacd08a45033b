"""What is heard from many rides: its last copies leave in packets that leave anyway."""

from __future__ import annotations

from collections import Counter

import pytest

from gossipd.addresses import Address
from gossipd.effects import SendDatagram
from gossipd.swim.broadcasts import CROWD, RIDER_BYTES_MAX, RIDERS_MAX, RIDES_MORE, BroadcastQueue, retransmit_limit
from gossipd.wire.codec import encode
from gossipd.wire.messages import Ping, User
from tests.support.swim import Bench
from tests.unit.swim.test_gossiper import MANY, gossip_only

LONG = bytes(1390)      # no room beside it


def heard_from(bench: Bench, text: bytes, names: list[str]) -> None:
    for name in names:
        bench.membership.heard_user(bench.users, text, bench.member(name).address, 10.005)


def told(bench: Bench) -> list[Address]:
    """Who got user messages so far, in order."""
    return [to for to, m in bench.packets() if isinstance(m, User)]


def test_who_is_heard_sending_it_too_gets_no_copy() -> None:
    bench = gossip_only()
    bench.add(*MANY)
    bench.membership.queue_user(bench.users, b"news", 10.0)
    bench.run(10.001)
    others = [name for name in MANY if bench.member(name).address not in told(bench)][:20]
    for name in others:         # one by one, as so many would make it ride
        bench.membership.queue_user(bench.users, name.encode(), 10.0)
        heard_from(bench, name.encode(), [name])
    bench.run(10.2)
    assert len(told(bench)) == 21 * 8
    got = {(m.payload, to) for to, m in bench.packets() if isinstance(m, User)}
    assert not got & {(name.encode(), bench.member(name).address) for name in others}


def test_the_last_copies_of_what_is_heard_from_many_ride_on_packets_that_leave_anyway() -> None:
    bench, done = gossip_only(), []
    bench.add(*MANY)
    bench.membership.queue_user(bench.users, b"news", 10.0, on_done=done.append)
    bench.run(10.001)
    others = [name for name in MANY if bench.member(name).address not in told(bench)]
    heard_from(bench, b"news", others[:4])
    bench.run(20.0)
    assert len(told(bench)) == 6 and done == [10.030], "no packet of its own for the last two"
    rest = [name for name in others[4:] if bench.member(name).address not in told(bench)]
    for name in [others[0], *rest]:
        bench.membership.outbox.send(encode(Ping(1, name)), bench.member(name).address, 20.0, bench.out)
    assert told(bench)[6:] == [bench.member(name).address for name in rest[:2 + RIDES_MORE - 1]], \
        "the one who has it gets none, which counts"
    assert not len(bench.users) and not bench.users._nameless and done == [10.030]


def crowd(bench: Bench) -> None:
    """Ticks have much to carry off already."""
    for number in range(CROWD + 1):
        bench.users.add(b"%01300d" % number, 10.0, early=False)


@pytest.mark.parametrize(("heard", "crowded", "left"), [("m03", True, 0), ("m03", False, 1), ("", True, 1)])
def test_what_all_were_sent_and_another_sends_too_does_not_wait_for_ticks_in_a_crowd(heard, crowded, left) -> None:
    bench = gossip_only()
    bench.add(*MANY[:4])
    if crowded:
        crowd(bench)
    before = len(bench.users)
    bench.membership.queue_user(bench.users, b"news", 10.0, source=bench.member("m00").address)
    heard_from(bench, b"news", [heard] if heard else [])
    bench.run(10.05)
    assert told(bench).count(bench.member("m03").address) == (0 if heard else 1)
    assert len(bench.users) - before == left


def test_senders_that_are_no_members_do_not_stand_for_members() -> None:
    bench = gossip_only()
    bench.add(*MANY[:4])
    crowd(bench)
    before = len(bench.users)
    bench.membership.queue_user(bench.users, b"news", 10.0, source=("10.9.9.9", 1))     # a member behind NAT
    for port in range(2, 8):
        bench.membership.heard_user(bench.users, b"news", ("10.9.9.9", port), 10.0)
    bench.run(10.05)
    news = [to for to, m in bench.packets() if m == User(b"news")]
    assert len(set(news)) == 3 and len(bench.users) - before == 1, "the fourth's copy rides"


def test_too_few_who_are_heard_spare_nothing_and_one_who_repeats_itself_is_one() -> None:
    bench = gossip_only()
    bench.add(*MANY)
    bench.membership.queue_user(bench.users, b"news", 10.0, source=bench.member("m00").address)
    heard_from(bench, b"news", ["m00", "m01", "m01", "m02", "m03", "m03"])
    bench.run(10.2)
    assert len(told(bench)) == 8


def test_what_might_find_no_room_beside_a_ping_does_not_ride() -> None:
    bench = gossip_only()
    bench.add(*MANY)
    for size, copies in ((RIDER_BYTES_MAX - 1, 6), (RIDER_BYTES_MAX, 8)):       # and the type byte
        bench.out.clear()
        bench.membership.queue_user(bench.users, bytes(size), 10.0)
        heard_from(bench, bytes(size), MANY[:4])
        bench.run(20.0)
        assert len(told(bench)) == copies


def test_eager_off_means_that_hearing_it_spares_nothing() -> None:
    bench = gossip_only(eager=False)
    bench.add(*MANY)
    bench.membership.queue_user(bench.users, b"news", 10.0)
    heard_from(bench, b"news", MANY)
    bench.run(20.0)
    assert len(told(bench)) == 8


def test_what_waits_for_a_tick_rides_as_soon_as_enough_are_heard() -> None:
    bench = gossip_only(gossip_nodes=2)
    bench.add(*MANY)
    bench.membership.queue_user(bench.users, b"news", 10.0)
    bench.run(10.05)
    assert len(told(bench)) == 6 and bench.gossiper.next_deadline() < 10.3
    heard_from(bench, b"news", [name for name in MANY if bench.member(name).address not in told(bench)][:4])
    assert bench.gossiper.next_deadline() == float("inf") and len(bench.users) == 1


def test_few_ride_at_a_time_and_the_rest_has_packets_of_its_own() -> None:
    bench = gossip_only()
    bench.add(*MANY)
    for i in range(RIDERS_MAX + 3):
        text = b"%03d" % i
        bench.membership.queue_user(bench.users, text, 10.0)
        heard_from(bench, text, MANY[:4])
    bench.run(20.0)
    assert len(bench.users) == RIDERS_MAX
    counts = Counter(m.payload for _, m in bench.packets() if isinstance(m, User))
    assert Counter(counts.values()) == {6: RIDERS_MAX, 8: 3}
    assert bench.users.prune(10, 20.0) == RIDERS_MAX - 10


def test_a_flood_of_repetitions_from_invented_addresses_is_not_remembered() -> None:
    bench = gossip_only()
    bench.add(*MANY)
    bench.membership.queue_user(bench.users, b"news", 10.0)
    for number in range(1000):
        bench.membership.heard_user(bench.users, b"news", ("10.9.9.9", number), 10.0)
    bench.run(10.001)
    (_, entry), = [(at, entry) for at, _, entry in bench.users._early]
    assert len(entry.reached) == retransmit_limit(4, 31) + 3


def queue_heard(limit: int, *texts: bytes, early: bool = True) -> BroadcastQueue:
    """A queue whose messages were heard from as many others as it takes; the early ones went to four peers."""
    queue = BroadcastQueue(lambda: limit, (0.0,), riding=True)
    for text in texts:
        queue.add(text, 10.0, early=early)
    for entry in queue.take_early(10.0, 0, 1 << 20):
        queue.sent_early(entry, 10.0, [("10.8.8.8", port) for port in range(4)])
    for text in texts:
        for port in range(limit // 2):
            queue.heard(text, ("10.9.9.9", port), 10.0)
    return queue


def test_what_begins_to_ride_is_not_in_the_same_packet_twice() -> None:
    queue = queue_heard(8, b"news")
    sent = [queue.select(0, 1400, 11.0, to=("10.1.1.1", port)) for port in range(7)]
    assert sent == [[b"news"]] * 6 + [[]], "4 early, 2 by ticks, then 2 + 2 riding"
    assert not len(queue) and not queue._nameless


def test_what_was_heard_before_its_last_early_copies_rides_after_them() -> None:
    queue = BroadcastQueue(lambda: 6, (0.0,), riding=True)
    queue.add(b"news", 10.0)
    for port in range(3):
        queue.heard(b"news", ("10.9.9.9", port), 10.0)
    entry, = queue.take_early(10.0, 0, 1400)
    queue.sent_early(entry, 10.0, [("10.8.8.8", port) for port in range(4)])
    assert queue.waiting_since == queue.early_deadline() == float("inf") and len(queue) == 1


def test_what_rides_goes_to_nobody_twice_and_respects_the_room() -> None:
    queue = queue_heard(6, b"aaaa", b"bbbb", b"cccc")       # 4 of 6 went early: all ride
    assert queue.waiting_since == float("inf")
    assert queue.select(2, 13, 11.0, to=("10.1.1.1", 1)) == [b"aaaa", b"bbbb"]
    assert queue.select(2, 1400, 11.0, 1, ("10.1.1.1", 1)) == [b"cccc"]
    assert queue.select(2, 1400, 11.0, 0, ("10.1.1.1", 2)) == []
    assert queue.select(2, 1400, 11.0, 9, ("10.1.1.1", 1)) == []


def test_no_packet_leaves_for_what_rides_alone() -> None:
    bench = gossip_only()
    bench.add(*MANY)
    bench.membership.queue_user(bench.users, b"rides", 10.0)
    heard_from(bench, b"rides", MANY[:4])
    bench.run(10.2)
    assert len(told(bench)) == 6
    bench.out.clear()
    bench.membership.queue_user(bench.users, LONG, 10.2)     # goes by ticks
    bench.run(20.0)
    packets = [message for _, message in bench.packets()]
    assert len([e for e in bench.out if isinstance(e, SendDatagram)]) == 8
    assert packets.count(User(LONG)) == 8


def test_without_probes_nothing_rides() -> None:
    bench = gossip_only(probe_interval_s=0.0)
    bench.add(*MANY)
    bench.membership.queue_user(bench.users, b"news", 10.0)
    heard_from(bench, b"news", MANY[:6])
    bench.run(20.0)
    assert len(told(bench)) == 8 and not len(bench.users)
