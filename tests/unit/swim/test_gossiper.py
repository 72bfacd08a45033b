"""Spreading: early copies, the transmit limit, ticks, packets that fill, push/pull."""

from __future__ import annotations

from collections import Counter

from gossipd.addresses import Address
from gossipd.effects import Rejected, SendDatagram
from gossipd.swim.broadcasts import retransmit_limit
from gossipd.swim.gossiper import BURST_BYTES_MAX
from gossipd.swim.members import ALIVE, DEAD, LEFT, SUSPECT
from gossipd.swim.sync import MERGE_SLICE, PENDING_ENTRIES_MAX
from gossipd.wire.messages import COMPRESS, PUSH_PULL, Alive, Dead, PushPull, PushPullEntry, Suspect, User
from tests.support.swim import STRANGER, Bench, address_number, alive

MANY = [f"m{i:02}" for i in range(30)]


def gossip_only(**settings: object) -> Bench:
    return Bench(**{"probe_interval_s": 1000, "push_pull_interval_s": 0, **settings})


def test_news_leaves_at_once_to_three_and_then_to_others_until_the_limit() -> None:
    bench = gossip_only()
    bench.add(*MANY)
    bench.swim.on_alive(alive("new"), STRANGER, 10.0, bench.out)
    times: dict[float, list[str]] = {}
    while (now := bench.gossiper.next_deadline()) < 10.15:
        bench.out.clear()
        bench.gossiper.advance(now, bench.out)
        times[round(now - 10.0, 3)] = [to[0] for to, m in bench.packets() if isinstance(m, Alive)]
    limit = retransmit_limit(4, 32)
    assert {at: len(to) for at, to in times.items() if to} == {0.0: 3, 0.010: 3, 0.030: 2} and limit == 8
    reached = [to for peers in times.values() for to in peers]
    assert len(set(reached)) == limit, "nobody gets it twice"
    assert bench.gossiper.next_deadline() == float("inf"), "nothing left for the tick"


def test_news_goes_neither_back_to_its_sender_nor_to_whom_it_is_about() -> None:
    bench = gossip_only()
    bea, new = bench.add("bea", "new")
    bench.swim.on_alive(alive("new", 2), bea.address, 10.0, bench.out)
    bench.run(10.1)
    assert bench.packets() == []
    bench.run(12.0)     # the tick goes to anybody
    assert len(bench.sent(Alive)) == retransmit_limit(4, 3)


def test_an_accusation_reaches_the_accused() -> None:
    bench = gossip_only(verify_suspicions=False)
    bea, = bench.add("bea")
    bench.swim.on_suspect(Suspect(1, "bea", "x"), STRANGER, 10.0, bench.out)
    bench.run(10.01)
    assert [to for to, m in bench.packets() if isinstance(m, Suspect)] == [bea.address]


def test_what_early_copies_leave_over_goes_out_by_ticks_and_the_total_is_the_limit() -> None:
    for eager in (True, False):
        bench = gossip_only(eager=eager)
        bench.add("bea", "cal")
        bench.swim.on_alive(alive("new"), None, 10.0, bench.out)
        bench.run(20.0)
        assert len(bench.sent(Alive)) == retransmit_limit(4, 4) == 4


def test_without_eager_sending_everything_waits_for_a_tick() -> None:
    bench = gossip_only(eager=False)
    bench.add(*MANY)
    bench.swim.on_alive(alive("new"), None, 10.0, bench.out)
    assert 10.0 < bench.gossiper.next_deadline() <= 10.2 + 1e-9


def test_a_burst_of_news_fills_packets() -> None:
    bench = gossip_only()
    bench.add("bea")
    for i in range(200):
        bench.swim.on_alive(alive(f"new{i:03}"), STRANGER, 10.0, bench.out)
    bench.gossiper.advance(10.0, bench.out)
    packets = [e for e in bench.out if isinstance(e, SendDatagram)]
    sizes: Counter[Address] = Counter()
    for packet in packets:
        sizes[packet.to] += len(packet.data)
    assert BURST_BYTES_MAX <= max(sizes.values()) < BURST_BYTES_MAX + bench.config.packet_bytes
    assert all(len(e.data) <= 1405 for e in packets) and len(packets[0].data) > 1200


def test_an_idle_node_has_no_gossip_deadline() -> None:
    bench = gossip_only()
    bench.add("bea")
    assert bench.gossiper.next_deadline() == float("inf")


def test_the_recently_dead_still_hear_gossip_and_the_left_do_not() -> None:
    bench = gossip_only()
    bea, cal, dan = bench.add("bea", "cal", "dan")
    bea.set_state(DEAD, 9.0, "")
    cal.set_state(LEFT, 9.0, "")
    dan.set_state(DEAD, -30.0, "")
    bench.swim.on_alive(alive("new", addr=bytes([10, 7, 7, 7])), None, 10.0, bench.out)
    bench.run(12.0)
    assert {to for to, _ in bench.packets()} == {bea.address, ("10.7.7.7", 7946)}


def test_a_replaced_update_is_never_sent_again() -> None:
    bench = gossip_only()
    bench.add(*MANY)
    bench.swim.on_alive(alive("new", 1), STRANGER, 10.0, bench.out)
    bench.swim.on_alive(alive("new", 2), STRANGER, 10.0, bench.out)
    bench.run(20.0)
    assert {m.incarnation for m in bench.sent(Alive)} == {2}


# push/pull

def entry(name: str, state: int = ALIVE, incarnation: int = 1) -> PushPullEntry:
    return PushPullEntry(name, address_number(name), 7946, b"", incarnation, state, bytes([1, 5, 2, 2, 5, 5]))


def test_a_remote_death_is_only_a_suspicion_and_a_remote_leave_is_real() -> None:
    bench = gossip_only()
    bea, cal = bench.add("bea", "cal")
    state = PushPull(False, [entry("bea", DEAD), entry("cal", LEFT), entry("ghost", DEAD)], b"upper")
    bench.membership.sync.respond(state, STRANGER, 1.0, bench.out)
    assert (bea.state, cal.state) == (SUSPECT, LEFT)
    assert bench.swim.members.get("ghost") is None
    assert bench.upper.states == [(b"upper", False)]


def test_a_long_list_is_merged_in_slices_and_the_user_state_comes_last() -> None:
    bench = gossip_only()
    names = [f"x{i}" for i in range(3 * MERGE_SLICE)]
    bench.membership.sync.respond(PushPull(True, [entry(n) for n in names], b"upper"), STRANGER, 1.0, bench.out)
    assert len(bench.swim.members) == 1 + MERGE_SLICE and bench.upper.states == []
    assert bench.gossiper.next_deadline() <= 1.0
    for _ in range(2):
        bench.membership.sync.advance(1.0, bench.out)
    assert len(bench.swim.members) == 1 + len(names) and bench.upper.states == [(b"upper", True)]


def test_a_join_says_how_many_answered_and_why_others_did_not() -> None:
    bench = gossip_only()
    results: list[tuple[int, list[str]]] = []
    bench.membership.join([("10.0.0.1", 1), ("10.0.0.2", 2)], lambda n, failed, now, out: results.append((n, failed)),
                          0.0, bench.out)
    first, second = bench.exchanges("sync")
    bench.membership.exchanges.finished(first.id, PushPull(True, [entry("bea")]), "", 0.1, bench.out)
    bench.membership.exchanges.finished(second.id, None, "refused", 0.2, bench.out)
    assert results == [(1, ["Failed to join 10.0.0.2: dial tcp 10.0.0.2:2: connect: connection refused"])]


def test_a_join_tells_failures_in_the_order_given_and_an_address_given_twice_counts_twice() -> None:
    bench = gossip_only()
    results: list[tuple[int, list[str]]] = []
    one, two, bea = ("10.0.0.1", 1), ("10.0.0.2", 2), ("10.0.0.3", 3)
    for addresses in ([one, two, one], [bea, one, bea]):
        bench.membership.join(addresses, lambda n, failed, now, out: results.append((n, failed)), 0.0, bench.out)
    first, second, third, fourth = bench.exchanges("sync")
    finished = bench.membership.exchanges.finished
    finished(second.id, None, "connect: no route to host", 0.1, bench.out)
    finished(first.id, None, "timeout", 0.1, bench.out)
    finished(third.id, PushPull(True, [entry("bea")]), "", 0.1, bench.out)
    finished(fourth.id, None, "closed", 0.1, bench.out)
    late = "Failed to join 10.0.0.1: dial tcp 10.0.0.1:1: i/o timeout"
    away = "Failed to join 10.0.0.2: dial tcp 10.0.0.2:2: connect: no route to host"
    assert results == [(0, [late, away, late]), (2, ["Failed to join 10.0.0.1: closed"])]


def test_a_node_that_joined_syncs_once_more_soon_after() -> None:
    bench = gossip_only()
    bench.membership.join([("10.0.0.1", 1)], lambda *_: None, 0.0, bench.out)
    exchange, = bench.exchanges("sync")
    bench.membership.exchanges.finished(exchange.id, PushPull(True, [entry("bea")]), "", 0.1, bench.out)
    bench.run(1.9)
    assert len(bench.exchanges("sync")) == 1
    bench.run(5.2)
    assert len(bench.exchanges("sync")) == 2


def test_push_pull_happens_at_its_interval() -> None:
    bench = Bench(probe_interval_s=0, push_pull_interval_s=30.0)
    bea, = bench.add("bea")
    for _ in range(4):
        bench.run(bench.gossiper.next_deadline())
        exchange = bench.exchanges("sync")[-1]
        bench.membership.exchanges.finished(exchange.id, PushPull(False, [entry("bea")]), "",
                                            exchange.deadline - 10.0, bench.out)
    started = [e.deadline - 10.0 for e in bench.exchanges("sync")]
    assert 30.0 <= started[0] <= 60.0
    assert [round(b - a, 6) for a, b in zip(started, started[1:], strict=False)] == [30.0, 30.0, 30.0]


def test_a_poisoned_entry_is_left_out_and_an_incompatible_list_is_refused_whole() -> None:
    bench = gossip_only()
    poisoned = entry("bad")
    poisoned.vsn = bytes([6, 9, 6, 2, 5, 5])
    bench.membership.sync.respond(PushPull(False, [poisoned, entry("bea")], b""), STRANGER, 1.0, bench.out)
    assert bench.swim.members.get("bea") and bench.swim.members.get("bad") is None
    strange = entry("cal", LEFT)
    strange.vsn = b""
    bench.membership.sync.respond(PushPull(False, [strange, entry("dan")], b""), STRANGER, 1.0, bench.out)
    assert bench.swim.members.get("dan") is None


def test_a_goodbye_is_done_when_it_was_sent_in_full() -> None:
    bench = gossip_only()
    bench.add(*MANY)
    done: list[float] = []
    bench.membership.leave(done.append, 10.0, bench.out)
    assert bench.member("me").state == LEFT
    bench.run(11.0)
    assert done and 10.03 <= done[0] <= 10.1
    assert len(bench.sent(Dead)) == retransmit_limit(4, 31)


def test_a_goodbye_alone_is_done_at_once() -> None:
    bench = gossip_only()
    done: list[float] = []
    bench.membership.leave(done.append, 10.0, bench.out)
    assert done == [10.0]


def test_our_news_for_a_peer_does_not_wait_because_its_own_leave_in_the_same_burst() -> None:
    bench = gossip_only()
    bea, = bench.add("bea")
    bench.swim.queue.add(b"\x08from bea", 10.0, reached=[bea.address])
    bench.swim.queue.add(b"\x08ours", 10.0)
    bench.gossiper.advance(10.0, bench.out)
    assert [m for _, m in bench.packets()] == [User(b"ours")]


def test_push_pulls_that_wait_to_be_applied_are_limited() -> None:
    bench = gossip_only()
    entries = [entry(f"x{i}") for i in range(PENDING_ENTRIES_MAX // 2)]
    for _ in range(5):
        bench.membership.sync.respond(PushPull(False, list(entries), b"upper"), STRANGER, 1.0, bench.out)
    assert [e.reason for e in bench.out if isinstance(e, Rejected)] == ["too many push/pulls"] * 2


def test_a_periodic_push_pull_is_compressed_and_a_join_is_not() -> None:
    for join, kind in ((True, PUSH_PULL), (False, COMPRESS)):
        bench = gossip_only()
        bench.add(*MANY)
        bench.membership.sync.start(STRANGER, join, lambda failure, now, out: None, 1.0, bench.out)
        assert bench.exchanges("sync")[0].request[0] == kind


def test_what_is_not_urgent_begins_later_and_then_goes_the_same_way() -> None:
    bench = gossip_only()
    bench.add(*MANY)
    bench.membership.queue_user(bench.swim.queue, b"slow", 10.0, source=bench.member("m00").address, delay_s=0.25)
    assert bench.gossiper.next_deadline() == 10.25
    bench.run(10.4)
    reached = [to for to, m in bench.packets() if isinstance(m, User)]
    assert len(reached) == len(set(reached)) == 8 and bench.member("m00").address not in reached
