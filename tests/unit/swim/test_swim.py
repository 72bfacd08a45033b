"""Where gossipd is deliberately stricter than the reference, and what it remembers as evidence."""

from __future__ import annotations

import pytest

from gossipd.swim.broadcasts import EARLY_BYTES_MAX
from gossipd.swim.config import PROFILES, SwimConfig
from gossipd.swim.members import ALIVE, DEAD, SUSPECT
from gossipd.swim.swim import INCARNATION_MAX, WHY_MAX, WITNESS_NAMES_MAX, WITNESSES_MAX
from gossipd.wire.messages import Alive, Dead, Suspect
from tests.support.swim import STRANGER, Bench, alive

GOOD = bytes([1, 5, 2, 2, 5, 5])


@pytest.mark.parametrize("message", [
    alive(""), alive("x" * 513), alive("x", addr=b""), alive("x", addr=b"abc"), alive("x", meta=bytes(513)),
    alive("x", incarnation=INCARNATION_MAX),
    *[alive("x", vsn=v) for v in (b"", b"\x01", GOOD[:5], bytes([5, 5, 5, 2, 5, 5]), bytes([1, 1, 1, 2, 5, 5]),
                                  bytes([0, 5, 2, 2, 5, 5]), bytes([1, 5, 9, 2, 5, 5]), bytes([1, 5, 2, 6, 7, 6]),
                                  bytes([1, 5, 2, 2, 5, 9]), bytes([4, 2, 2, 2, 5, 5]))],
], ids=repr)
def test_a_record_that_would_poison_the_table_is_ignored_and_not_passed_on(message: Alive) -> None:
    bench = Bench()
    bench.forget_news()
    bench.swim.on_alive(message, STRANGER, 1.0, bench.out)
    assert len(bench.swim.members) == 1 and len(bench.swim.queue) == 0


@pytest.mark.parametrize("accuse", [
    lambda b: b.swim.on_suspect(Suspect(INCARNATION_MAX, "me", "x"), STRANGER, 1.0, b.out),
    lambda b: b.swim.on_dead(Dead(INCARNATION_MAX, "me", "x"), STRANGER, 1.0, b.out),
    lambda b: b.swim.on_alive(alive("me", INCARNATION_MAX, addr=b.config.addr), STRANGER, 1.0, b.out),
])
def test_an_accusation_that_nobody_could_refute_is_ignored(accuse) -> None:     # type: ignore[no-untyped-def]
    bench = Bench()
    bench.forget_news()
    accuse(bench)
    assert bench.swim.incarnation == 1 and bench.member("me").state == ALIVE and len(bench.swim.queue) == 0


def test_the_table_has_a_limit() -> None:
    bench = Bench(members_max=3)
    for name in "abcd":
        bench.swim.on_alive(alive(name), STRANGER, 1.0, bench.out)
    assert len(bench.swim.members) == 3


def test_we_refute_above_the_accusation_and_trust_ourselves_less() -> None:
    bench = Bench()
    bench.forget_news()
    bench.swim.on_suspect(Suspect(7, "me", "x"), STRANGER, 1.0, bench.out)
    assert bench.swim.incarnation == 8 and bench.swim.awareness.score == 1
    bench.run(1.5)
    assert bench.member("me").state == ALIVE


def test_once_leaving_our_own_death_is_not_refuted() -> None:
    bench = Bench()
    bench.swim.leave(1.0, bench.out)
    bench.swim.on_dead(Dead(9, "me", "x"), STRANGER, 2.0, bench.out)
    bench.swim.on_alive(alive("me", 9, addr=bench.config.addr), STRANGER, 2.0, bench.out)
    assert bench.swim.incarnation == 1


def test_port_zero_means_our_own_bind_port() -> None:
    bench = Bench(bind_port=7999)
    bench.swim.on_alive(alive("bea", port=0), STRANGER, 1.0, bench.out)
    assert bench.member("bea").port == 7999


def test_unknown_witnesses_do_not_count() -> None:
    bench = Bench(verify_suspicions=False)
    bench.add("bea", "cal", "dan", "eve")
    strangers = tuple(f"ghost{i}" for i in range(WITNESSES_MAX)) + ("cal", "dan", "eve")
    bench.swim.on_suspect(Suspect(1, "bea", "cal", strangers), STRANGER, 1.0, bench.out)
    assert bench.swim.suspicions["bea"].refused_by == ()


def test_the_accused_is_no_witness_and_nobody_counts_twice() -> None:
    bench = Bench(verify_suspicions=False)
    bench.add("bea", "cal", "dan", "eve")
    bench.swim.on_suspect(Suspect(1, "bea", "cal", ("cal", "cal", "bea", "dan")), STRANGER, 1.0, bench.out)
    assert bench.swim.suspicions["bea"].refused_by == ()


def test_evidence_of_a_refused_port_is_passed_on_to_a_node_that_already_suspects() -> None:
    bench = Bench(verify_suspicions=False, probe_interval_s=1000)
    bea, *_ = bench.add("bea", "cal", "dan", "eve", "fay")
    for accuser in ("cal", "dan", "eve"):
        bench.swim.on_suspect(Suspect(1, "bea", accuser), STRANGER, 1.0, bench.out)
    bench.forget_news()
    bench.swim.on_suspect(Suspect(1, "bea", "fay", ("fay", "cal", "dan")), STRANGER, 2.0, bench.out)
    bench.run(2.1)
    assert bench.sent(Suspect)[0].refused == ("fay", "cal", "dan")      # type: ignore[union-attr]
    bench.swim.advance(3.0, bench.out)
    assert bea.state == DEAD and bea.reason == "declared dead by me: port refused, seen by fay, cal, dan"


def test_why_another_node_declared_a_death_is_remembered() -> None:
    bench = Bench()
    bea, = bench.add("bea")
    bench.swim.on_dead(Dead(1, "bea", "cal", "port refused, seen by cal"), STRANGER, 1.0, bench.out)
    assert bea.reason == "declared dead by cal: port refused, seen by cal"


def test_a_suspicion_says_who_suspects() -> None:
    bench = Bench(verify_suspicions=False)
    bea, = bench.add("bea")
    bench.swim.on_suspect(Suspect(1, "bea", "cal"), STRANGER, 1.0, bench.out)
    assert bea.state == SUSPECT and bea.reason == "suspected by cal"


def test_every_profile_is_a_set_of_known_settings() -> None:
    for settings in PROFILES.values():
        SwimConfig("x", b"\x7f\0\0\1", **settings)      # type: ignore[arg-type]


def test_the_longest_names_still_fit_a_packet() -> None:
    names = [f"{i}".rjust(512, "x") for i in range(5)]
    bench = Bench(verify_suspicions=False, probe_interval_s=1000)
    bench.add(*names)
    bench.swim.on_suspect(Suspect(1, names[0], names[1], tuple(names[1:4])), STRANGER, 1.0, bench.out)
    bench.run(3.0)
    assert sum(len(n) for n in names[1:4]) > WITNESS_NAMES_MAX
    assert {m.refused for m in bench.sent(Suspect)} == {()}         # type: ignore[union-attr]
    why = bench.sent(Dead)[0].why                                   # type: ignore[union-attr]
    assert why.startswith("port refused, seen by") and len(why) == WHY_MAX


def test_a_message_too_long_for_a_packet_has_no_early_copies_and_never_leaves() -> None:
    bench = Bench(push_pull_interval_s=0)
    bench.add("bea")
    bench.out.clear()
    bench.membership.queue_user(bench.swim.queue, bytes(EARLY_BYTES_MAX + 100), 1.0)
    bench.run(5.0)
    assert bench.upper.user_messages == [] and len(bench.swim.queue) == 1


def test_only_six_version_numbers_are_kept_and_passed_on() -> None:
    bench = Bench(eager=False)
    bench.forget_news()
    bench.swim.on_alive(alive("bea", vsn=GOOD + bytes(60000)), STRANGER, 1.0, bench.out)
    assert bench.member("bea").vsn == GOOD and len(bench.swim.queue.select(0, 1 << 20, 1.0)[0]) < 100


def test_what_we_say_against_the_highest_accusation_is_believed() -> None:
    bench = Bench()
    bench.swim.on_suspect(Suspect(INCARNATION_MAX - 1, "me", "x"), STRANGER, 1.0, bench.out)
    assert bench.swim.incarnation == 1
    bench.swim.on_suspect(Suspect(INCARNATION_MAX - 2, "me", "x"), STRANGER, 1.0, bench.out)
    peer = Bench(name="peer")
    peer.swim.on_alive(alive("me", 1, addr=bench.config.addr), None, 0.0, peer.out)
    peer.swim.on_suspect(Suspect(INCARNATION_MAX - 2, "me", "x"), STRANGER, 1.0, peer.out)
    peer.swim.on_alive(alive("me", bench.swim.incarnation, addr=bench.config.addr), STRANGER, 1.1, peer.out)
    assert peer.member("me").state == ALIVE
    peer.swim.on_suspect(Suspect(bench.swim.incarnation, "me", "x"), STRANGER, 2.0, peer.out)
    assert peer.member("me").state == SUSPECT, "it can still fail"
    bench.swim.announce(2.0, bench.out)     # there is no higher one to announce with, and no harm in trying


def test_evidence_from_before_an_answer_does_not_come_back_with_a_late_copy() -> None:
    bench = Bench(verify_suspicions=False, probe_interval_s=1)
    bea, *_ = bench.add("bea", "cal", "dan", "eve")
    accusation = Suspect(1, "bea", "cal", ("cal", "dan", "eve"))
    bench.swim.on_suspect(accusation, STRANGER, 1.0, bench.out)
    bench.swim.on_answer(bea)
    bench.swim.on_suspect(accusation, STRANGER, 1.2, bench.out)
    assert bench.swim.countdowns.next_deadline() > 5.0


def test_forgetting_a_record_changes_the_version_of_the_list() -> None:
    bench = Bench()
    bea, = bench.add("bea")
    bench.swim.on_dead(Dead(1, "bea", "bea"), STRANGER, 1.0, bench.out)
    version = bench.swim.version
    for now in range(100, 110):
        bench.prober.advance(float(now), bench.out)
    assert bench.swim.members.get("bea") is None and bench.swim.version > version


def test_with_the_setting_at_zero_the_evidence_of_others_is_ignored_too() -> None:
    bench = Bench(verify_suspicions=False, refusal_witnesses=0)
    bea, *_ = bench.add("bea", "cal", "dan", "eve")
    bench.swim.on_suspect(Suspect(1, "bea", "cal", ("cal", "dan", "eve")), STRANGER, 1.0, bench.out)
    bench.swim.advance(3.0, bench.out)
    assert bea.state == SUSPECT
