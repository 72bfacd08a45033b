"""Looking for those whom the snapshot knows."""

from __future__ import annotations

from itertools import pairwise

from gossipd.commands import Leave
from gossipd.effects import INFO, WARNING, Notice, Record
from gossipd.serf.rejoin import FORGET_SLICE
from gossipd.serf.snapshot import Restored
from tests.support.serf import SerfBench

A, B, C = ("10.0.0.1", 7946), ("10.0.0.2", 7946), ("10.0.0.3", 7946)


def a_bench(**settings: object) -> SerfBench:
    """Known are a, b and c, of which c had failed."""
    restored = Restored({"a": "10.0.0.1:7946", "b": "10.0.0.2:7946"}, failed={"c": "10.0.0.3:7946"})
    bench = SerfBench(restored=restored, **settings)
    bench.runs_until(bench.now)
    return bench


def answer(bench: SerfBench, reached: int = 0) -> tuple[str, int]:
    """The one join under way ends. Returns whom it was for."""
    ((addresses, done),) = bench.lower.joins
    bench.lower.joins.clear()
    done(reached, [] if reached else ["refused"], bench.now, bench.out)
    (address,) = addresses
    return address


def warnings(bench: SerfBench) -> list[str]:
    return [notice.text for notice in bench.takes(Notice) if notice.level >= WARNING]


def test_known_peers_are_tried_one_after_the_other_without_an_intent_until_one_answers():
    bench = a_bench()
    tried = {answer(bench), answer(bench)}
    bench.joins("someone")
    tried.add(answer(bench, 1))
    assert tried == {A, B, C} and bench.lower.joins == [] and bench.gossips() == []


def test_neither_this_node_nor_its_address_nor_an_unusable_one_is_tried():
    known = {"me": "10.0.0.9:1", "renamed": "127.0.47.1:7946", "bad": "10.0.0.8", "a": "10.0.0.1:7946"}
    bench = SerfBench(restored=Restored(known))
    bench.runs_until(bench.now)
    assert answer(bench) == A and bench.lower.joins == []


def test_alone_it_tries_again_and_again_with_longer_pauses_and_warns_less_and_less():
    bench = a_bench(reconnect_interval_s=1.0)
    began = []
    for _ in range(6):
        bench.runs_until(bench.serf.next_deadline() if not bench.lower.joins else bench.now)
        began.append(bench.now - 100.0)
        assert {answer(bench), answer(bench), answer(bench)} == {A, B, C}
    assert began == [0.0, 0.25, 0.75, 1.75, 2.75, 3.75]
    assert warnings(bench) == ["Failed to re-join any previously known node missing=3 error='refused'"]
    told = []
    while bench.now < 20000.0:
        bench.runs_until(bench.now + 10.0)
        if bench.lower.joins:
            answer(bench)
        told += [bench.now - 100.0] * len(warnings(bench))
    pauses = [round(later - earlier, -2) for earlier, later in pairwise(told)]
    assert 60.0 <= told[0] < 110.0 and pauses == sorted(pauses) and pauses[-1] == 3600.0 and len(told) < 12


def test_very_many_are_forgotten_a_few_at_a_time():
    known = {f"n{number}": f"10.0.{number >> 8}.{number & 255}:1" for number in range(3 * FORGET_SLICE)}
    bench = SerfBench(restored=Restored(known), reconnect_timeout_s=1.0)
    bench.joins("a")
    bench.runs_until(bench.now)
    answer(bench, 1)
    lines = []
    while len(lines) < len(known):
        bench.runs_until(bench.serf.next_deadline())
        while bench.lower.joins:
            answer(bench)
        lines.append(len([record for record in bench.takes(Record) if b"not-alive" in record.lines]))
        assert lines[-1] <= FORGET_SLICE
        if sum(lines) == len(known):
            return
    raise AssertionError(lines)


def test_in_company_the_others_still_missing_are_tried_one_at_a_time():
    bench = a_bench()
    bench.joins("a")
    answer(bench, 1)
    tried = []
    for _ in range(4):
        bench.runs_until(bench.now + 40.0)
        tried.append(answer(bench))
    assert set(tried) == {B, C} and tried[:2] == tried[2:]


def test_once_all_are_known_the_search_is_over():
    bench = a_bench()
    for name in ("a", "b", "c"):
        bench.joins(name)
    assert answer(bench, 1) in (A, B, C)
    bench.runs_until(bench.now + 3600.0)
    assert bench.lower.joins == []
    assert "rejoined a previously known node" in [n.text for n in bench.takes(Notice) if n.level == INFO][0]


def test_in_company_the_search_ends_some_time_and_later_the_missing_are_forgotten():
    bench = a_bench(reconnect_timeout_s=3600.0)
    bench.joins("a")
    answer(bench, 1)
    while bench.now < 700.0:
        bench.runs_until(bench.now + 1.0)
        if bench.lower.joins:
            answer(bench)
    bench.takes(Record)
    bench.runs_until(3600.0)
    assert bench.lower.joins == [] and bench.takes(Record) == []
    bench.runs_until(3800.0)
    assert sorted(record.lines for record in bench.takes(Record)) == [b"not-alive: b\n", b"not-alive: c\n"]


def test_alone_nobody_is_forgotten():
    bench = a_bench(reconnect_timeout_s=100.0, reconnect_interval_s=10.0)
    while bench.now < 1000.0:
        bench.runs_until(bench.now + 1.0)
        if bench.lower.joins:
            answer(bench)
    assert all(b"not-alive" not in record.lines for record in bench.takes(Record))


def test_a_node_on_its_way_out_looks_for_nobody():
    bench = a_bench()
    bench.asks(Leave(1))
    answer(bench)
    bench.runs_until(bench.now + 3600.0)
    assert bench.lower.joins == []
