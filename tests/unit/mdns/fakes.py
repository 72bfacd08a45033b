"""Others on a link, and a cluster whose members the test names."""

from __future__ import annotations

from ipaddress import ip_network
from random import Random
from typing import Any

from gossipd.addresses import Address
from gossipd.mdns.discovery import Action, Ask, Discovery, JoinPeers, Tell
from gossipd.mdns.links import Link
from gossipd.mdns.messages import Packet, Record, decode, encode
from gossipd.mdns.service import Service

ETH0 = Link("eth0", False, (ip_network("192.0.2.0/24"),))
ETH0_V6 = Link("eth0", True, (ip_network("fe80::/64"), ip_network("2001:db8::/64")))
ETH1 = Link("eth1", False, (ip_network("198.51.100.0/24"),))
LO = Link("lo", False, (ip_network("127.0.0.0/8"),))
OWN = ("192.0.2.1", 7946)


class FakeCluster:
    def __init__(self) -> None:
        self.members: dict[Address, str] = {}
        self.left_at: dict[Address, float] = {}

    def others(self) -> int:
        return sum(status == "alive" for status in self.members.values())

    def complete(self) -> bool:
        return self.others() > 0 and "failed" not in self.members.values()

    def settled(self, address: Address, heard: float) -> bool:
        return self.members.get(address) == "alive" or self.left_at.get(address, -1.0) >= heard


class Host:
    """A machine under test, with what it did."""

    def __init__(self, *links: Link, own: Address = OWN, families: tuple[bool, ...] = (False, True), seed: int = 1,
                 cluster: str = "app") -> None:
        self.cluster = FakeCluster()
        self.counters: dict[str, int] = {}
        self.machine = Discovery(Service(cluster, "ann", own), self.cluster, families, Random(seed), self.counters)
        self.now = 0.0
        self.done: list[tuple[float, Action]] = []
        self.machine.set_links(links or (ETH0,), 0.0)

    def run(self, until: float, join: str = "fails") -> list[Action]:
        """What it does up to then. Joins fail, succeed ("works": they become members) or stay open ("hangs")."""
        before = len(self.done)
        while (at := self.machine.next_deadline()) <= until:
            self.now = max(self.now, at)
            self._note(lambda out: self.machine.advance(self.now, out), join)
        self.now = until
        return [action for _, action in self.done[before:]]

    def hear(self, data: bytes, source: Address = ("192.0.2.2", 5353), link: Link = ETH0, to_all: bool = True,
             at: float | None = None) -> list[Action]:
        self.now = self.now if at is None else at
        before = len(self.done)
        self._note(lambda out: self.machine.hear(data, source, link, to_all, self.now, out), "hangs")
        return [action for _, action in self.done[before:]]

    def _note(self, step: Any, join: str) -> None:
        out: list[Action] = []
        step(out)
        self.done += [(self.now, action) for action in out]
        for action in out:
            if isinstance(action, JoinPeers) and join != "hangs":
                if join == "works":
                    self.cluster.members |= dict.fromkeys(action.addresses, "alive")
                self.machine.join_done(self.now)

    def when(self, kind: type) -> list[float]:
        return [at for at, action in self.done if isinstance(action, kind)]


def of(actions: list[Action], kind: type) -> list[Any]:
    return [action for action in actions if isinstance(action, kind)]


def joined(actions: list[Action]) -> list[list[Address]]:
    return [action.addresses for action in of(actions, JoinPeers)]


def told(actions: list[Action]) -> list[Packet]:
    return [decode(action.data) for action in of(actions, Tell)]


def asked(actions: list[Action]) -> list[Packet]:
    return [decode(action.data) for action in of(actions, Ask)]


def other(number: int = 2, cluster: str = "app", port: int = 7946, host: str = "") -> bytes:
    """The announcement of node `n<number>`."""
    return Service(cluster, f"n{number}", (host or f"192.0.2.{number}", port)).announcement()


def packet(*records: Record) -> bytes:
    return encode(Packet(response=True, records=list(records)))
