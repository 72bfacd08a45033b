from __future__ import annotations

import pytest

from gossipd.effects import Notice
from gossipd.serf.messages import JoinIntent, encode_join
from tests.support.serf import SerfBench
from tests.unit.serf.vectors import load


@pytest.mark.parametrize("vector", load("queues.json")["drains"], ids=lambda v: v["name"])
def test_packets_are_filled_in_the_order_of_the_reference(vector):
    bench = SerfBench()
    queues = dict(zip(("intent", "query", "event"), bench.serf.queues(), strict=True))
    names: dict[bytes, str] = {}
    for kind, sizes in vector["queued_sizes"].items():
        for number, size in enumerate(sizes):
            message = f"{kind}{number}({size})".encode().ljust(size, b".")
            names[message] = f"{kind}{number}({size})"
            queues[kind].add(message, bench.now)
    for expected in vector["drains"]:
        room, packet = vector["limit"], []
        for queue in bench.serf.queues():
            taken = queue.select(vector["overhead"], room, bench.now)
            room -= sum(len(message) + vector["overhead"] for message in taken)
            packet += taken
        assert [names[message] for message in packet] == expected


def test_dead_members_count_for_how_often_a_message_is_sent():
    bench = SerfBench()
    for number in range(9):
        bench.joins(f"n{number}")
        bench.leaves(f"n{number}")
    bench.hears(encode_join(JoinIntent(1, "stranger")))
    intents = bench.serf.queues()[0]
    sent = 0
    while len(intents):
        sent += len(intents.select(3, 1398, bench.now))
    assert sent == 8        # 4 * ceil(log10(10 + 1))


def test_a_deep_queue_is_warned_of_and_shortened():
    bench = SerfBench(queue_depth_warning=3, queue_depth_max=5)
    for number in range(8):
        bench.hears(encode_join(JoinIntent(1, f"n{number}")))
    bench.runs_until(bench.now + 30.0)
    notices = [notice.text for notice in bench.takes(Notice)]
    assert notices == ["Intent queue depth: 8", "Intent queue too deep: dropped 3 messages"]
    assert bench.serf.stats()["intent_queue"] == "5"


def test_with_a_least_depth_the_limit_follows_the_size_of_the_cluster():
    config = SerfBench(queue_depth_min=4).config
    assert (config.queue_depth_limit(1), config.queue_depth_limit(100)) == (4, 200)


def test_an_idle_node_never_wakes():
    bench = SerfBench()
    bench.joins("a")
    assert bench.serf.next_deadline() == float("inf")
