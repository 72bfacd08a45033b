"""Failure detection: who is asked what and when, and what follows from the answers or their absence."""

from __future__ import annotations

import pytest

from gossipd.addresses import Address
from gossipd.effects import Rejected
from gossipd.swim.members import ALIVE, DEAD, LEFT, SUSPECT, Member
from gossipd.swim.relays import RELAYS_MAX
from gossipd.wire.messages import Ack, Dead, IndirectPing, Nack, Ping, Suspect
from tests.support.swim import STRANGER, Bench, alive


def probe_of(bench: Bench, name: str) -> tuple[Ping, float]:
    """Run until `name` is pinged: the ping and when it was sent."""
    target = bench.member(name)
    for _ in range(1000):
        now = bench.prober.next_deadline()
        bench.out.clear()
        bench.prober.advance(now, bench.out)
        for ping in bench.sent(Ping, target.address):
            return ping, now        # type: ignore[return-value]
        for _, ping in bench.packets():
            if isinstance(ping, Ping):
                bench.prober.on_ack(Ack(ping.seq), STRANGER, now, bench.out)
    raise AssertionError(f"{name} was never probed")


def at(bench: Bench, now: float) -> None:
    """Let everything up to `now` happen."""
    while bench.prober.next_deadline() <= now:
        bench.prober.advance(bench.prober.next_deadline(), bench.out)


def helpers_of(bench: Bench) -> list[Address]:
    return [to for to, m in bench.packets() if isinstance(m, IndirectPing)]


def test_a_ping_names_its_target_and_where_to_answer() -> None:
    bench = Bench()
    bench.add("bea")
    ping, _ = probe_of(bench, "bea")
    assert (ping.node, ping.source_addr, ping.source_port, ping.source_node) == ("bea", bench.config.addr, 7946, "me")


def test_an_ack_in_time_ends_the_probe_and_reports_the_round_trip() -> None:
    bench = Bench()
    bea, = bench.add("bea")
    ping, sent = probe_of(bench, "bea")
    bench.prober.on_ack(Ack(ping.seq, b"coordinate"), bea.address, sent + 0.02, bench.out)
    assert bench.upper.pings == [("bea", pytest.approx(0.02), b"coordinate")]
    at(bench, sent + 0.9)
    assert bench.sent(IndirectPing) == [] and bench.exchanges("ping") == []


def test_a_late_ping_is_relayed_by_three_others_and_tried_by_tcp() -> None:
    bench = Bench()
    bench.add("bea", "cal", "dan", "eve", "fay")
    ping, sent = probe_of(bench, "bea")
    at(bench, sent + 0.5)
    asked = bench.sent(IndirectPing)
    assert len(set(helpers_of(bench))) == 3 and {m.seq for m in asked} == {ping.seq}
    assert all(m.nack and m.node == "bea" for m in asked)
    assert [e.to for e in bench.exchanges("ping")] == [bench.member("bea").address]


def test_a_relayed_ack_saves_the_target_but_tells_no_round_trip() -> None:
    bench = Bench()
    bea, *_ = bench.add("bea", "cal", "dan", "eve")
    ping, sent = probe_of(bench, "bea")
    at(bench, sent + 0.5)
    bench.prober.on_ack(Ack(ping.seq), helpers_of(bench)[0], sent + 0.7, bench.out)
    at(bench, sent + 1.0)
    assert bea.state == ALIVE and "bea" not in [name for name, _, _ in bench.upper.pings]


def test_silence_makes_a_suspect_and_then_a_dead_member() -> None:
    bench = Bench()
    bea, *_ = bench.add("bea", "cal")
    _, sent = probe_of(bench, "bea")
    at(bench, sent + 1.0)
    assert bea.state == SUSPECT and "no answer" in bea.reason
    at(bench, sent + 5.0)      # three nodes: the shortest countdown, 4 s
    assert bea.state == DEAD and "no answer for 4.0 s, suspected by me" in bea.reason
    assert bench.upper.events[-1] == "leave bea"


def test_a_tcp_answer_saves_the_target() -> None:
    bench = Bench()
    bea, *_ = bench.add("bea", "cal")
    ping, sent = probe_of(bench, "bea")
    at(bench, sent + 0.5)
    exchange = bench.exchanges("ping")[0]
    bench.membership.exchanges.finished(exchange.id, Ack(ping.seq), "", sent + 0.6, bench.out)
    at(bench, sent + 1.0)
    assert bea.state == ALIVE


def test_missing_nacks_lower_our_own_health_and_full_ones_do_not() -> None:
    for answered, score in ((0, 3), (3, 0)):
        bench = Bench()
        bench.add("bea", "cal", "dan", "eve", "fay")
        ping, sent = probe_of(bench, "bea")
        at(bench, sent + 0.5)
        for helper in helpers_of(bench)[:answered]:
            bench.prober.on_nack(Nack(ping.seq), helper, sent + 0.9, bench.out)
        at(bench, sent + 1.0)
        assert bench.swim.awareness.score == score


def test_an_unhealthy_node_waits_longer_before_it_accuses() -> None:
    bench = Bench()
    bea, *_ = bench.add("bea", "cal")
    bench.swim.awareness.change(+2)
    _, sent = probe_of(bench, "bea")
    health = bench.swim.awareness.score
    at(bench, sent + health + 0.9)
    assert bea.state == ALIVE
    at(bench, sent + health + 1.0)
    assert bea.state == SUSPECT


def test_every_member_is_probed_once_a_round() -> None:
    bench = Bench()
    members = bench.add(*"abcdefgh")
    probed = []
    for _ in range(16):
        now = bench.prober.next_deadline()
        bench.out.clear()
        bench.prober.advance(now, bench.out)
        for ping in bench.sent(Ping):
            probed.append(ping.node)
            bench.prober.on_ack(Ack(ping.seq), STRANGER, now, bench.out)
    assert sorted(probed[:8]) == sorted(m.name for m in members) == sorted(probed[8:])


def test_the_probe_of_a_suspect_carries_the_accusation_so_that_it_can_refute() -> None:
    bench = Bench(verify_suspicions=False)
    bea, *_ = bench.add("bea", "cal")
    bench.swim.on_suspect(Suspect(1, "bea", "cal"), STRANGER, 0.0, bench.out)
    _, _ = probe_of(bench, "bea")
    kinds = [type(m) for _, m in bench.packets(bea.address)]
    assert kinds == [Ping, Suspect]


# answering

def test_a_ping_for_us_is_acked_to_the_address_it_names() -> None:
    bench = Bench()
    bea, = bench.add("bea")
    for node in ("me", ""):
        bench.prober.on_ping(Ping(7, node, bea.addr, bea.port, "bea"), ("10.8.8.8", 999), 1.0, bench.out)
    assert bench.packets() == [(bea.address, Ack(7, b"payload"))] * 2


def test_a_ping_for_another_is_dropped() -> None:
    bench = Bench()
    bench.prober.on_ping(Ping(7, "somebody"), STRANGER, 1.0, bench.out)
    assert bench.packets() == [] and isinstance(bench.out[-1], Rejected)


def test_an_ack_is_not_sent_to_a_stranger_that_the_ping_names() -> None:
    bench = Bench()
    bench.prober.on_ping(Ping(7, "me", bytes([192, 0, 2, 1]), 53, "nobody"), STRANGER, 1.0, bench.out)
    assert [to for to, _ in bench.packets()] == [STRANGER]


def indirect(bench: Bench, target: Member, seq: int = 9) -> None:
    request = IndirectPing(seq, target.addr, target.port, target.name, nack=True)
    bench.prober.on_indirect_ping(request, STRANGER, 1.0, bench.out)


def test_a_relayed_ping_is_answered_by_ack_or_by_nack() -> None:
    bench = Bench()
    bea, = bench.add("bea")
    indirect(bench, bea)
    ping, = bench.sent(Ping, bea.address)
    bench.prober.on_ack(Ack(ping.seq), bea.address, 1.1, bench.out)
    indirect(bench, bea)
    at(bench, 1.5)
    assert [m for to, m in bench.packets(STRANGER)] == [Ack(9), Nack(9)]


def test_nobody_is_pinged_for_a_peer_unless_it_is_a_member_at_its_address() -> None:
    bench = Bench()
    bea, = bench.add("bea")
    request = IndirectPing(9, bytes([192, 0, 2, 1]), 53, "bea", nack=True)
    bench.prober.on_indirect_ping(request, STRANGER, 1.0, bench.out)
    bench.prober.on_indirect_ping(IndirectPing(9, bea.addr, bea.port, "nobody"), STRANGER, 1.0, bench.out)
    assert bench.sent(Ping) == []


def test_relays_under_way_are_limited() -> None:
    bench = Bench()
    bea, = bench.add("bea")
    for seq in range(RELAYS_MAX + 5):
        indirect(bench, bea, seq)
    assert len(bench.sent(Ping)) == RELAYS_MAX


def test_one_that_is_back_hears_with_its_ack_that_it_was_given_up_and_can_refute() -> None:
    for state, accuser in ((DEAD, "me"), (LEFT, "bea")):
        bench = Bench()
        bea, *_ = bench.add("bea", "cal")
        bea.set_state(state, 1.0, "")
        bea.incarnation = 9
        bench.prober.on_ping(Ping(7, "me", bea.addr, bea.port, "bea"), bea.address, 2.0, bench.out)
        assert [m for _, m in bench.packets(bea.address)] == [Ack(7, b"payload"), Dead(9, "bea", accuser)]


def test_before_we_declare_a_death_that_we_suspected_the_suspect_hears_it_from_us_once_more() -> None:
    bench = Bench(probe_interval_s=1000)
    bea, *_ = bench.add("bea", "cal")
    bench.swim.on_suspect(Suspect(1, "bea", "me"), None, 0.0, bench.out)
    bench.forget_news()
    end = 4000.0
    bench.prober._timers.cancel(("tick", 0))        # nothing but the countdown is to run
    at(bench, end - 0.501)
    assert bench.packets(bea.address) == []
    at(bench, end - 0.5)
    assert [type(m) for _, m in bench.packets(bea.address)] == [Ping, Suspect] and bea.state == SUSPECT
    at(bench, end)
    assert bea.state == DEAD


# refused ports

def refuse_by(bench: Bench, ping: Ping, count: int, now: float) -> None:
    for helper in helpers_of(bench)[:count]:
        bench.prober.on_nack(Nack(ping.seq, refused=True), helper, now, bench.out)


def test_a_refused_port_seen_by_three_nodes_means_dead_after_the_grace() -> None:
    bench = Bench()
    bea, *_ = bench.add("bea", "cal", "dan", "eve", "fay")
    ping, sent = probe_of(bench, "bea")
    bench.prober.on_refused(bea.address, sent + 0.001, bench.out)
    assert len(helpers_of(bench)) == 3, "the others are asked at once"
    refuse_by(bench, ping, 2, sent + 0.002)
    assert bea.state == SUSPECT and bea.reason.startswith("port refused, seen by me, ")
    at(bench, sent + 1.001)
    assert bea.state == SUSPECT
    at(bench, sent + 1.003)
    assert bea.state == DEAD
    bench.run(sent + 1.1)
    dead, *_ = bench.sent(Dead)
    assert dead.why.startswith("port refused, seen by me, ")


def test_two_witnesses_are_not_enough_among_many() -> None:
    bench = Bench()
    bea, *_ = bench.add("bea", "cal", "dan", "eve", "fay")
    ping, sent = probe_of(bench, "bea")
    bench.prober.on_refused(bea.address, sent + 0.001, bench.out)
    refuse_by(bench, ping, 1, sent + 0.002)
    refuse_by(bench, ping, 1, sent + 0.003)     # the same one again does not count
    at(bench, sent + 2.5)
    assert bea.state == SUSPECT, "Lifeguard's full path"


def test_a_forged_witness_does_not_count() -> None:
    bench = Bench()
    bea, *_ = bench.add("bea", "cal", "dan", "eve", "fay")
    ping, sent = probe_of(bench, "bea")
    bench.prober.on_refused(bea.address, sent + 0.001, bench.out)
    for i in range(5):
        bench.prober.on_nack(Nack(ping.seq, refused=True), ("10.66.0.1", 1000 + i), sent + 0.002, bench.out)
    assert bea.state == ALIVE


def test_one_firewall_that_rejects_us_condemns_nobody() -> None:
    bench = Bench()
    bea, *_ = bench.add("bea", "cal", "dan", "eve", "fay")
    ping, sent = probe_of(bench, "bea")
    bench.prober.on_refused(bea.address, sent + 0.001, bench.out)
    bench.prober.on_ack(Ack(ping.seq), helpers_of(bench)[0], sent + 0.002, bench.out)   # others reach it
    at(bench, sent + 1.0)
    assert bea.state == ALIVE and bench.swim.suspicions == {}


def test_in_a_pair_the_only_other_node_is_witness_enough() -> None:
    bench = Bench()
    bea, = bench.add("bea")
    _, sent = probe_of(bench, "bea")
    bench.prober.on_refused(bea.address, sent + 0.001, bench.out)
    at(bench, sent + 1.002)
    assert bea.state == DEAD


def test_a_refused_tcp_connection_is_evidence_too_but_never_the_only_one() -> None:
    for others, state in (((), SUSPECT), (("cal",), DEAD)):
        bench = Bench()
        bea, *_ = bench.add("bea", *others)
        ping, sent = probe_of(bench, "bea")
        at(bench, sent + 0.5)
        bench.membership.exchanges.finished(bench.exchanges("ping")[0].id, None, "refused", sent + 0.5, bench.out)
        refuse_by(bench, ping, 1, sent + 0.51)
        at(bench, sent + 2.0)
        assert bea.state == state


def test_a_restart_within_the_grace_is_seen_by_nobody() -> None:
    bench = Bench()
    bea, = bench.add("bea")
    _, sent = probe_of(bench, "bea")
    bench.prober.on_refused(bea.address, sent + 0.001, bench.out)
    bench.swim.on_alive(alive("bea", 2), None, sent + 0.9, bench.out)
    at(bench, sent + 3.0)
    assert bench.upper.events == ["join me", "join bea"]


def test_an_answer_during_the_grace_leaves_only_the_long_countdown() -> None:
    bench = Bench()
    bea, *_ = bench.add("bea", "cal", "dan", "eve")
    bench.swim.on_suspect(Suspect(1, "bea", "cal", ("cal", "dan", "eve")), STRANGER, 0.0, bench.out)
    bench.swim.on_answer(bea)
    at(bench, 2.0)
    assert bea.state == SUSPECT


def test_with_the_setting_at_zero_refusals_are_ignored() -> None:
    bench = Bench(refusal_witnesses=0)
    bea, = bench.add("bea")
    _, sent = probe_of(bench, "bea")
    bench.prober.on_refused(bea.address, sent + 0.001, bench.out)
    at(bench, sent + 0.9)
    assert bea.state == ALIVE


def test_a_relay_tells_at_once_that_the_port_was_refused() -> None:
    bench = Bench()
    bea, = bench.add("bea")
    indirect(bench, bea)
    bench.prober.on_refused(bea.address, 1.01, bench.out)
    assert [m for _, m in bench.packets(STRANGER)] == [Nack(9, refused=True)]


def test_a_refused_gossip_packet_starts_a_probe_out_of_turn() -> None:
    bench = Bench()
    bea, *_ = bench.add("bea", "cal")
    bench.prober.on_refused(bea.address, 0.0, bench.out)
    assert [p.node for p in bench.sent(Ping)] == ["bea"]


# verifying

def test_a_suspicion_is_verified_by_exactly_k_nodes_wherever_it_is_heard() -> None:
    everybody = [f"n{i}" for i in range(12)]
    verifiers = []
    for name in everybody[1:]:
        bench = Bench(name=name, addr=bytes([10, 1, 1, 1]))
        bench.add(*[n for n in everybody if n != name])
        bench.swim.on_suspect(Suspect(1, "n0", "n5"), STRANGER, 0.0, bench.out)
        verifiers += [name] * len(bench.sent(Ping))
    assert len(verifiers) == len(set(verifiers)) == 2


def test_a_nack_that_the_network_doubles_counts_once() -> None:
    bench = Bench()
    bench.add("bea", "cal", "dan", "eve", "fay")
    ping, sent = probe_of(bench, "bea")
    at(bench, sent + 0.5)
    for _ in range(5):
        bench.prober.on_nack(Nack(ping.seq), helpers_of(bench)[0], sent + 0.6, bench.out)
    at(bench, sent + 1.0)
    assert bench.swim.awareness.score == 2
