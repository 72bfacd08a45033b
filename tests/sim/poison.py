"""Somebody who sends a cluster whatever he likes, and the question whether the cluster is as well as before."""

from __future__ import annotations

from typing import Any

from gossipd.addresses import Address
from gossipd.node import Node
from gossipd.serf.messages import PushPullState, encode_push_pull
from gossipd.wire.messages import USER
from gossipd.wire.packet import Envelope
from gossipd.wire.secure import Keyring
from gossipd.wire.stream import encode_push_pull as encode_exchange
from gossipd.wire.stream import seal_stream
from tests.sim.checkers import Agreement, ClockWatch, false_failures, odd_events
from tests.sim.hearing import Ears, Mouths, ask_and_wait
from tests.sim.real import real_world
from tests.sim.world import World

STRANGER: Address = ("10.9.9.9", 7946)      # no host of the world
VICTIM: Address = ("10.8.8.8", 53)


class Siege:
    """Five nodes n0 to n4 that know each other, all answer queries, and an attacker who reaches each of them.

    With an empty snapshot among the settings the nodes keep snapshots. `used`: an event, a query and an intent have
    been there before, so that no clock is at its beginning.
    """

    def __init__(self, *, key: bytes = b"", used: bool = True, nodes: int = 5, seed: int = 1, **settings: Any) -> None:
        if key:
            settings["keys"] = (key,)
        self.world: World = real_world(seed, nodes, **settings)
        self.ears = Ears(self.world)
        self.mouths = Mouths(self.world, lambda host, event: 0.01)
        self.clocks = ClockWatch(self.world)
        self.clocks.begin()
        self.sent_to: dict[Address, list[bytes]] = {}
        self.world.taps.append(lambda host, data, to: self.sent_to.setdefault(to, []).append(data))
        self._envelope = Envelope(Keyring([key]) if key else None, b"", False, lambda size: bytes(size))
        self._rounds = 0
        if "snapshot" in settings:
            self._write_peers()
        self.world.run_until(5.0)
        if used:
            self.world.join("n1", "n0")
            self.ears.send("n0", "before")
            ask_and_wait(self.world, "n0", early=True)
            self.world.run_for(2.0)     # until the join intent is everywhere

    def _write_peers(self) -> None:
        """Nodes that know each other by magic have not written so."""
        peers = b"".join(b"alive: %s %s:7946\n" % (host.name.encode(), host.address[0].encode())
                         for host in self.world.hosts.values())
        for host in self.world.hosts.values():
            self.world.write(host, peers)

    def node(self, name: str) -> Node:
        core = self.world.hosts[name].core
        assert isinstance(core, Node)
        return core

    def nodes(self) -> list[Node]:
        return [self.node(name) for name in self.world.hosts]

    def says(self, message: bytes, *to: str, source: Address = STRANGER) -> None:
        """One of Serf's messages, as a datagram to these nodes, or to all."""
        datagram = self._envelope.seal(bytes([USER]) + message, crc=False)
        for name in to or list(self.world.hosts):
            self.world.inject(name, datagram, source)

    def syncs(self, state: PushPullState | bytes, *to: str, join: bool = False) -> None:
        """A push/pull with this user state, to these nodes, or to all."""
        raw = state if isinstance(state, bytes) else encode_push_pull(state)
        stream = seal_stream(self._envelope, encode_exchange(join, [], raw), dialled=True)
        for name in to or list(self.world.hosts):
            self.world.inject_stream(name, stream, STRANGER)

    def rejected(self) -> int:
        return sum(host.rejected.total() for host in self.world.hosts.values())

    def still_works(self) -> None:
        """An event and a query of every node reach every node, all agree who is there, and nobody saw anybody fail."""
        world = self.world
        self._rounds += 1
        world.run_for(1.0)
        for name in [host.name for host in world.running()]:
            event = f"still-{self._rounds}-{name}"
            self.ears.send(name, event)
            asked, took = ask_and_wait(world, name, early=True)
            world.run_for(1.0)
            assert asked.answers.keys() == {host.name for host in world.running()}, f"{name} asked: {asked.answers}"
            assert took < 0.5, f"a query of {name} took {took} s"
            deaf = [host.name for host in world.running() if self.ears.count(host.name)[event] != 1]
            assert not deaf, f"an event of {name} was not heard once at {deaf}"
        agreement = Agreement(world)
        assert agreement.holds(), agreement.disagreements()
        assert false_failures(world) + odd_events(world) + self.clocks.problems == []
