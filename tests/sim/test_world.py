"""The simulated world itself, with nodes simple enough to foresee."""

from __future__ import annotations

import io
from typing import Any

import pytest

from gossipd.effects import OpenExchange
from tests.sim.fake import FakeNode, fake_core
from tests.sim.host import HostState
from tests.sim.network import Quality
from tests.sim.trace import Trace
from tests.sim.world import World

A, B = ("10.0.0.0", 7946), ("10.0.0.1", 7946)


def two(seed: int = 1, quality: Quality | None = None, **settings: Any) -> World:
    """Hosts a and b; a sends beacons to b."""
    world = World(seed, quality, make_core=fake_core, **settings)
    world.add("a", peers=[B])
    world.add("b")
    return world


def fake(world: World, name: str) -> FakeNode:
    core = world.hosts[name].core
    assert isinstance(core, FakeNode)
    return core


def beacons(world: World, name: str) -> list[bytes]:
    return [data.split()[1] for _, data in fake(world, name).heard if data.startswith(b"beacon")]


def dial(world: World, request: bytes, deadline: float = 10.0) -> list[tuple[float, str]]:
    """Let a dial b with `request` and run until it is over."""
    world.carry_out(world.hosts["a"], [OpenExchange(77, B, request, world.now + deadline, "sync")])
    world.run_for(deadline + 1)
    return fake(world, "a").outcomes


def test_datagrams_arrive_once_within_the_delay_and_are_answered() -> None:
    world = two()
    world.run_until(10.0)
    assert beacons(world, "b") == [b"%d" % n for n in range(1, 11)]
    assert len([1 for _, data in fake(world, "a").heard if data.startswith(b"echo")]) == 10
    phase = world.hosts["a"].core.next_deadline() % 1
    assert all(0.0002 <= at % 1 - phase <= 0.0010001 for at, _ in fake(world, "b").heard)


def test_the_same_seed_gives_the_same_trace_and_another_seed_another() -> None:
    def digest(seed: int) -> str:
        world = two(seed, Quality(loss=0.1, duplicate=0.1, reorder=0.1, corrupt=0.1))
        world.at(5.0, world.crash, "b")
        world.at(7.0, world.restart, "b")
        world.run_until(20.0)
        return world.trace.hexdigest()

    assert digest(1) == digest(1) != digest(2)


def test_the_trace_can_be_read() -> None:
    lines = io.StringIO()
    world = World(1, make_core=fake_core, trace=Trace(lines))
    world.add("a", peers=[B])
    world.run_until(1.0)
    assert "event member-join a" in lines.getvalue() and f"datagram {b'beacon 1'.hex()}" in lines.getvalue()


def test_loss_and_duplication_happen_as_often_as_asked() -> None:
    lossy, double = two(quality=Quality(loss=0.3)), two(quality=Quality(duplicate=0.3))
    lossy.run_until(1000.0)
    double.run_until(1000.0)
    assert 650 < len(beacons(lossy, "b")) < 750
    assert 1250 < len(beacons(double, "b")) < 1350


def test_reordered_datagrams_overtake_each_other() -> None:
    world = two(quality=Quality(reorder=0.5, reorder_s=5.0))
    world.run_until(100.0)
    numbers = [int(number) for number in beacons(world, "b")]
    assert numbers != sorted(numbers) and len(set(numbers)) == len(numbers)


def test_corrupted_datagrams_differ_from_what_was_sent() -> None:
    sent: list[bytes] = []
    world = two(quality=Quality(corrupt=1.0))
    world.taps.append(lambda host, data, to: sent.append(data))
    world.run_until(50.0)
    heard = [data for _, data in fake(world, "b").heard]
    assert len(heard) == 50 and sum(data in sent for data in heard) < 10     # two flips may undo each other
    assert len({len(data) for data in heard}) > 2


def test_a_crashed_process_refuses_within_a_round_trip_but_only_as_often_as_linux_does() -> None:
    world = two(interval_s=0.01)
    world.crash("b")
    world.run_until(3.0)
    refusals = fake(world, "a").refusals
    assert refusals[0][1] == B and refusals[0][0] < 0.013
    assert 6 + 2 <= len(refusals) <= 6 + 3


def test_a_silent_host_says_nothing() -> None:
    world = two()
    world.silence("b")
    world.run_until(5.0)
    assert fake(world, "a").refusals == [] and fake(world, "a").heard == []
    assert dial(world, b"hello\n") == [(15.0, "timeout")]


def test_a_paused_process_takes_what_waited_when_it_goes_on() -> None:
    world = two()
    world.pause("b")
    world.run_until(5.0)
    assert fake(world, "b").heard == []
    world.resume("b")
    assert [at for at, _ in fake(world, "b").heard] == [5.0] * 5
    world.run_until(6.0)
    assert len(fake(world, "b").heard) == 6


def test_the_socket_buffer_of_a_paused_process_is_bounded() -> None:
    world = two(interval_s=0.001)
    world.pause("b")
    world.run_until(5.0)
    world.resume("b")
    assert 200 < len(fake(world, "b").heard) < 300


def test_a_slow_process_takes_its_time_for_inputs_and_timers_in_turn() -> None:
    world = two(interval_s=0.1)
    world.slow("b", 0.3)
    world.run_until(10.0)
    times = [at for at, _ in fake(world, "b").heard]
    assert 15 < len(times) < 18
    assert min(later - earlier for earlier, later in zip(times, times[1:], strict=False)) > 0.59


def test_a_slow_process_that_recovers_works_off_what_waited() -> None:
    world = two(interval_s=0.1)
    world.slow("b", 0.3)
    world.run_until(10.0)
    world.slow("b", 0.0)
    world.run_until(11.0)
    assert sorted(int(number) for number in beacons(world, "b")) == list(range(1, 111))


def test_a_restarted_process_knows_nothing_and_is_reached_at_once() -> None:
    world = two()
    world.run_until(5.0)
    before = fake(world, "b")
    world.crash("b")
    world.restart("b")
    world.run_until(10.0)
    assert fake(world, "b") is not before and beacons(world, "b") == [b"6", b"7", b"8", b"9", b"10"]
    assert fake(world, "a").refusals == []


def test_a_partition_cuts_both_ways_and_heals() -> None:
    world = two()
    world.split(["a"], ["b"])
    world.run_until(5.0)
    assert fake(world, "b").heard == [] and fake(world, "a").refusals == []
    world.heal()
    world.run_until(10.0)
    assert len(fake(world, "b").heard) == 5


def test_a_cut_link_is_cut_one_way_only() -> None:
    world = two()
    world.network.cut("b", "a")
    world.run_until(5.0)
    assert len(fake(world, "b").heard) == 5 and fake(world, "a").heard == []


def test_a_firewall_refuses_one_nodes_datagrams_and_streams() -> None:
    world = two()
    world.network.reject("a", "b")
    world.run_until(5.0)
    assert len(fake(world, "a").refusals) == 5 and fake(world, "b").heard == []
    assert dial(world, b"hello\n")[0][1] == "refused"


def test_a_stream_is_one_round_trip_whose_length_depends_on_its_size() -> None:
    small, large = two(), two()
    [(took, reply)] = dial(small, b"hello\n")
    assert reply == "reply to hello\n" and 0.0008 <= took <= 0.004
    [(longer, _)] = dial(large, b"x" * 1_000_000 + b"\n")
    assert longer > took + 0.016


@pytest.mark.parametrize(("written", "outcome"),
                         [(b"hush\n", "closed"), (b"bad", "bad stream"), (b"half", "bad stream")])
def test_a_stream_can_fail_in_its_content(written: bytes, outcome: str) -> None:
    assert dial(two(), written)[0][1] == outcome


def test_a_stream_to_a_crashed_process_is_refused_and_one_across_a_partition_runs_out_of_time() -> None:
    crashed, cut = two(), two()
    crashed.crash("b")
    assert dial(crashed, b"hello\n")[0][1] == "refused"
    cut.network.cut("b", "a")
    assert dial(cut, b"hello\n") == [(10.0, "timeout")]


def test_a_stream_to_a_paused_process_is_served_when_it_goes_on_even_if_nobody_waits_any_more() -> None:
    world = two()
    world.pause("b")
    assert dial(world, b"hello\n", deadline=2.0) == [(2.0, "timeout")]
    world.resume("b")
    assert (3.0, b"hello\n") in fake(world, "b").heard
    world.run_for(1.0)
    assert len(fake(world, "a").outcomes) == 1


def test_lost_segments_delay_a_stream_instead_of_losing_it() -> None:
    world = two(quality=Quality(loss=0.5))
    took = [at for at, _ in dial(world, b"hello\n", deadline=300.0)]
    assert len(took) == 1 and took[0] >= 0.2


def test_what_a_dead_process_waited_for_never_comes() -> None:
    world = two()
    world.carry_out(world.hosts["a"], [OpenExchange(77, B, b"hello\n", 10.0, "sync")])
    world.crash("a")
    world.restart("a")
    world.run_until(20.0)
    assert fake(world, "a").outcomes == []


def test_a_process_that_left_stops() -> None:
    world = two()
    world.leave("b")
    world.run_until(1.0)
    assert world.hosts["b"].state is HostState.STOPPED


def test_a_deadline_that_never_moves_is_noticed() -> None:
    world = two()
    fake(world, "a").next_deadline = lambda: 0.5        # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="never moves on") as raised:
        world.run_until(1.0)
    assert "seed 1" in "".join(raised.value.__notes__)
