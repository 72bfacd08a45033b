from __future__ import annotations

from gossipd.daemon import guests as guests_module
from gossipd.daemon.guests import STREAMS_MAX, STREAMS_PER_SOURCE_MAX, Guest, Guests


class House:
    """Guests, and who was sent away in which order."""

    def __init__(self) -> None:
        self.guests = Guests()
        self.dismissed: list[Guest] = []

    def arrive(self, host: str) -> Guest | None:
        guest = Guest(host, lambda: self.dismissed.append(guest))
        return guest if self.guests.admit(guest) else None

    def fill(self, hosts: int, each: int) -> list[Guest]:
        arrived = [self.arrive(f"10.0.0.{host}") for host in range(hosts) for _ in range(each)]
        return [guest for guest in arrived if guest]


def test_one_host_has_only_its_share():
    house = House()
    first, *_ = house.fill(hosts=1, each=STREAMS_PER_SOURCE_MAX)
    assert house.arrive("10.0.0.0") is not None
    assert house.dismissed == [first] and len(house.guests) == STREAMS_PER_SOURCE_MAX


def test_a_thousand_silent_streams_of_one_host_only_push_each_other_out():
    house = House()
    other = house.arrive("10.9.9.9")
    house.fill(hosts=1, each=1000)
    assert len(house.guests) == STREAMS_PER_SOURCE_MAX + 1 and other not in house.dismissed


def test_who_has_sent_something_is_not_pushed_out():
    house = House()
    first, second, *_ = house.fill(hosts=1, each=STREAMS_PER_SOURCE_MAX)
    house.guests.received(first, 1)
    house.arrive("10.0.0.0")
    assert house.dismissed == [second]


def test_nobody_is_let_in_when_all_are_busy():
    house = House()
    for guest in house.fill(hosts=2, each=STREAMS_PER_SOURCE_MAX):
        house.guests.received(guest, 1)
    assert house.arrive("10.9.9.9") is None and house.dismissed == []


def test_many_hosts_together_have_a_limit_and_the_greediest_makes_room():
    house = House()
    greedy = house.fill(hosts=1, each=STREAMS_PER_SOURCE_MAX)
    others = [house.arrive(f"10.1.0.{host}") for host in range(STREAMS_MAX - STREAMS_PER_SOURCE_MAX)]
    assert all(others) and len(house.guests) == STREAMS_MAX
    assert house.arrive("10.2.0.0") is not None
    assert house.dismissed == [greedy[0]] and len(house.guests) == STREAMS_MAX


def test_the_one_that_sent_most_goes_when_all_have_sent_too_much(monkeypatch):
    monkeypatch.setattr(guests_module, "STREAM_BYTES_MAX", 1000)
    house = House()
    small, large = house.fill(hosts=1, each=2)
    house.guests.received(large, 700)
    house.guests.received(small, 300)
    assert house.dismissed == []
    house.guests.received(small, 1)
    assert house.dismissed == [large] and large not in house.guests
    house.guests.received(small, 600)
    assert house.dismissed == [large]


def test_bytes_of_streams_that_are_over_no_longer_count(monkeypatch):
    monkeypatch.setattr(guests_module, "STREAM_BYTES_MAX", 1000)
    house = House()
    for _ in range(10):
        guest = house.arrive("10.0.0.1")
        house.guests.received(guest, 900)
        house.guests.remove(guest)
    assert house.dismissed == [] and len(house.guests) == 0


def test_what_a_dismissed_stream_had_sent_already_is_not_counted():
    guests = Guests()
    big, small = Guest("a", lambda: None), Guest("b", lambda: None)
    guests.admit(big)
    guests.admit(small)
    guests.received(big, guests_module.STREAM_BYTES_MAX)
    guests.received(small, 1)
    assert big not in guests
    guests.received(big, guests_module.STREAM_BYTES_MAX)      # read in the same turn
    assert small in guests
    guests.remove(small)
    fresh = Guest("c", lambda: None)
    guests.admit(fresh)
    guests.received(fresh, 1)
    assert fresh in guests
