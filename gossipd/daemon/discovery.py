"""The discovery subsystem: sockets on port 5353, the timer loop of `mdns.Discovery`, joins of whom it found.

Importing this takes 100 ms (dnspython): `app` does so only where discovery is configured, and in a thread.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from random import Random
from typing import Any

import trio

from gossipd.addresses import Address, format_address, pack_ip, unpack_ip
from gossipd.config.schema import Config, is_loopback
from gossipd.daemon.announce import printable
from gossipd.daemon.engine import Engine
from gossipd.daemon.links import Place, find_places, group_of, open_asker, open_group
from gossipd.daemon.logs import as_serf
from gossipd.daemon.net import plain_source
from gossipd.errors import CommandError
from gossipd.events import MemberInfo
from gossipd.mdns.discovery import Action, Ask, Discovery, JoinPeers, Tell
from gossipd.mdns.links import Link
from gossipd.mdns.messages import PACKET_BYTES_MAX
from gossipd.mdns.peers import Peer
from gossipd.mdns.service import Service

BATCH_MAX = 64              # packets of one socket taken before other tasks get a turn
SCAN_PAUSES_S = (0.5, 10.0)     # between looks at the interfaces, doubling: at boot they come one after the other

log = logging.getLogger("gossipd.discovery")


async def run_discovery(engine: Engine, config: Config) -> None:
    """Until the daemon ends or leaves; then everybody is told to forget us."""
    async with trio.open_nursery() as nursery:
        shell = Shell(engine, config, nursery)
        engine.discover_with(shell.report)
        nursery.start_soon(shell.run_timers)
        nursery.start_soon(shell.watch_interfaces)
        try:
            await engine.life.ending.wait()
        finally:
            shell.do(shell.machine.goodbye)
            nursery.cancel_scope.cancel()


class KnownCluster:
    """What gossip tells of the cluster, by address; looked through anew only when the members have changed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._version: int | None = None
        self._by_address: dict[Address, MemberInfo] = {}
        self._others = self._failed = 0

    def others(self) -> int:
        self._update()
        return self._others

    def complete(self) -> bool:
        self._update()
        return self._others > 0 and not self._failed

    def settled(self, address: Address, heard: float) -> bool:
        self._update()
        member = self._by_address.get(address)
        if member is None:
            return False
        return member.status in ("alive", "leaving") or (member.status == "left" and member.changed >= heard)

    def _update(self) -> None:
        if self._version == self._engine.members_version:
            return
        members = self._engine.members()
        self._version = self._engine.members_version
        self._by_address = {(unpack_ip(member.addr), member.port): member for member in members}
        self._failed = sum(member.status == "failed" for member in members)
        self._others = sum(member.status == "alive" for member in members) - 1


class OpenLink:
    """The sockets of one place. One that does not work is None, and said so in the log; the other one still helps."""

    def __init__(self, place: Place, said: str = "") -> None:
        """`said`: trouble that the log knows already."""
        self.place, self.said, self.trouble = place, said, ""
        self.group = self._open(open_group)
        self.asker = self._open(open_asker)
        self._destination = group_of(place)

    @property
    def sockets(self) -> list[socket.socket]:
        return [sock for sock in (self.group, self.asker) if sock is not None]

    def ask(self, data: bytes) -> None:
        self._send(self.asker, data, self._destination)

    def tell(self, data: bytes, to: Address | None) -> None:
        self._send(self.group, data, to or self._destination)

    def complain(self, error: OSError) -> None:
        """Once for each kind of trouble: a link that is down says the same again and again."""
        self.trouble = error.strerror or str(error)
        if self.trouble != self.said:
            self.said = self.trouble
            log.warning("discovery trouble interface=%s family=%s error=%r", self.place.link.interface,
                        family_of(self.place.link), self.trouble)

    def _open(self, make: Callable[[Place], socket.socket]) -> socket.socket | None:
        try:
            return make(self.place)
        except OSError as error:
            self.complain(error)
            return None

    def _send(self, sock: socket.socket | None, data: bytes, to: Any) -> None:
        if sock is None or sock.fileno() < 0:       # closed: we end in a hurry
            return
        try:
            sock.sendto(data, to)
            if len(self.sockets) == 2:
                self.trouble = ""
        except BlockingIOError:
            pass            # it is repeated anyway
        except OSError as error:
            self.complain(error)


class Shell:
    def __init__(self, engine: Engine, config: Config, nursery: trio.Nursery) -> None:
        swim = engine.node.config.swim
        address = (unpack_ip(swim.addr), swim.port)
        self._engine, self._nursery = engine, nursery
        self._section, self._replay = config.discovery, config.join.replay
        self._loopback = is_loopback(address[0])
        service = Service(config.discovery.cluster, engine.name, address)
        families = families_of(engine.port.address)
        self.machine = Discovery(service, KnownCluster(engine), families, Random(), engine.counters)
        self._open: dict[Link, tuple[OpenLink, trio.CancelScope]] = {}
        self._nap = trio.CancelScope()
        self._unheard: tuple[str, ...] = ()     # interfaces from the settings that are not there

    # --- inputs ------------------------------------------------------------------------------------------------------

    def do(self, step: Callable[[list[Action]], None]) -> None:
        """Let the machine work, then do what it says."""
        actions: list[Action] = []
        step(actions)
        for action in actions:
            match action:
                case Ask(link, data) if link in self._open:
                    self._open[link][0].ask(data)
                case Tell(link, data, to) if link in self._open:
                    self._open[link][0].tell(data, to)
                case JoinPeers(addresses):
                    self._join(addresses)
        self._nap.deadline = self.machine.next_deadline()

    async def run_timers(self) -> None:
        while True:
            with trio.CancelScope(deadline=self.machine.next_deadline()) as self._nap:
                await trio.sleep_forever()
            self.do(lambda out: self.machine.advance(self._engine.clock(), out))

    async def watch_interfaces(self) -> None:
        pause_s, longest_s = SCAN_PAUSES_S
        while True:
            self._scan()
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, longest_s)

    def _scan(self) -> None:
        section = self._section
        places = find_places(section.interfaces, section.ipv4, section.ipv6, self._loopback)
        wanted = {place.link: place for place in places}
        said = {}
        for link, (opened, scope) in tuple(self._open.items()):
            if wanted.get(link) != opened.place or len(opened.sockets) < 2:
                scope.cancel()
                said[link] = opened.said
                del self._open[link]
        for link, place in wanted.items():
            if link not in self._open:
                self._open_link(place, said.get(link, ""))
        self._tell_missing()
        if self._open.keys() != self.machine.links.keys():
            self.machine.set_links(self._open, self._engine.clock())
            self._nap.deadline = self.machine.next_deadline()

    def _open_link(self, place: Place, said: str) -> None:
        opened, scope = OpenLink(place, said), trio.CancelScope()
        self._open[place.link] = opened, scope
        self._nursery.start_soon(self._listen, opened, scope)

    def _tell_missing(self) -> None:
        there = {link.interface for link in self._open}
        missing = tuple(name for name in self._section.interfaces if name not in there)
        if missing != self._unheard:
            self._unheard = missing
            if missing:
                log.warning("no discovery there, interface is missing, down or without address interfaces=%s",
                            ",".join(map(printable, missing)))

    async def _listen(self, opened: OpenLink, scope: trio.CancelScope) -> None:
        """Feed what arrives to the machine until the link goes."""
        with scope:
            async with trio.open_nursery() as nursery:
                for sock in opened.sockets:
                    nursery.start_soon(self._receive, opened, sock)

    async def _receive(self, opened: OpenLink, sock: socket.socket) -> None:
        with sock:      # closed here, where nobody waits for it any more
            while True:
                await trio.lowlevel.wait_readable(sock)
                for _ in range(BATCH_MAX):
                    try:
                        data, name = sock.recvfrom(PACKET_BYTES_MAX + 1)
                    except BlockingIOError:
                        break
                    except OSError as error:
                        opened.complain(error)
                        break
                    self._hear(data, plain_source(name), opened.place.link, sock is opened.group)

    def _hear(self, data: bytes, source: Address, link: Link, to_all: bool) -> None:
        self.do(lambda out: self.machine.hear(data, source, link, to_all, self._engine.clock(), out))

    # --- joining -----------------------------------------------------------------------------------------------------

    def _join(self, addresses: list[Address]) -> None:
        texts = [format_address(address) for address in addresses]

        def done(result: object, error: str) -> None:
            if error:
                log.warning("discovered members do not answer addresses=%s error=%r", ",".join(texts), error,
                            extra=as_serf(logging.ERROR, "agent.mdns", f"Failed to join: {error}"))
            else:
                log.info("joined discovered members addresses=%s contacted=%s", ",".join(texts), result,
                         extra=as_serf(logging.INFO, "agent.mdns", f"Joined {result} hosts"))
            self.machine.join_done(self._engine.clock())
            self._nap.deadline = self.machine.next_deadline()

        try:
            self._engine.join(texts, self._replay, done)
        except CommandError as error:
            done(0, str(error))

    # --- for gossipctl -----------------------------------------------------------------------------------------------

    def report(self, ask: bool) -> dict[str, Any]:
        """The body of the RPC command `discovered`; with `ask` answers to a new question are on their way, too."""
        now = self._engine.clock()
        if ask:
            self.do(lambda out: self.machine.ask_soon(now, out))
        return {
            "Cluster": self.machine.service.cluster,
            "Links": [{"Family": family_of(link), "Interface": link.interface, "Trouble": self._open[link][0].trouble}
                      for link in self.machine.links if link in self._open],
            "Seen": [self._record(peer) for peer in self.machine.peers.listed(now)],
        }

    def _record(self, peer: Peer) -> dict[str, Any]:
        wall = self._engine.wall
        return {
            "Addr": pack_ip(peer.address[0]),
            "Expires": wall(peer.expires),
            "Failures": peer.failures,
            "Heard": wall(peer.heard),
            "Interfaces": sorted(peer.interfaces),
            "Name": peer.name,
            "Port": peer.address[1],
            "Source": peer.source,
            "Status": self.machine.peers.status(peer),
        }


def family_of(link: Link) -> str:
    return "ipv6" if link.v6 else "ipv4"


def families_of(bound: Address) -> tuple[bool, ...]:
    """Which of IPv4 (False) and IPv6 (True) gossip sockets bound so can speak."""
    return (False, True) if bound[0] == "::" else (":" in bound[0],)
