"""Who else of our cluster is near: announces, asks, answers, and says whom to join (RFC 6762; spec agent §12).

Unlike Serf's agent this one says goodbye, asks less and less often, hears announcements at any time, and tries a host
again that failed, or that is heard of once more after a partition.

Questions come from a port of their own: answers then go straight to it, where other programs that share port 5353
cannot take them away. Such a "legacy" question is what Serf asks too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from math import inf
from random import Random
from typing import Protocol

from gossipd.addresses import Address
from gossipd.errors import WireError
from gossipd.mdns.messages import AAAA, ANY, PTR, SRV, A, Name, Packet, Question, Record, decode, encode
from gossipd.mdns.service import TTL_S, Service
from gossipd.timers import TimerQueue

MDNS_PORT = 5353
ANNOUNCEMENTS = 3                   # after 0, 1 and 3 s (RFC 6762 §8.3)
FIRST_QUESTION_S = (0.02, 0.12)     # machines that start together do not ask together (RFC 6762 §5.2)
QUESTION_PAUSE_S = 1.0              # doubles up to one of these:
QUESTION_PAUSE_ALONE_S = 60.0       # nobody else here, or somebody failed: Serf's pause
QUESTION_PAUSE_COMPLETE_S = 300.0   # nobody is missing
ANSWER_DELAY_S = (0.02, 0.12)       # before answers to all (RFC 6762 §6)
ANSWER_PAUSE_S = 1.0                # between answers to all on one link
RESTART_PAUSE_S = 1.0               # between changes of links that make us announce anew
GATHER_S = 0.1                      # more hosts may be heard of before the first join
JOIN_PAUSE_S = 1.0                  # between joins
JOIN_HOSTS_MAX = 3                  # hosts of one join: one that answers tells of all the others
RETRY_PAUSE_S = (2.0, 60.0)         # after a join that did not help, doubling
NEWCOMER_DELAY_S = (1.0, 30.0)      # a newcomer joins us by itself; if not, one of us should try, not all at once
PEERS_MAX = 2048
PEER_INTERFACES_MAX = 8
TTL_MAX_S = 4500
PACKETS_PER_S, PACKETS_BURST = 100.0, 300.0     # that are looked into: each costs about 0.3 ms
ANSWERS_PER_S, ANSWERS_BURST = 20.0, 100.0      # that go to one asker

Network = IPv4Network | IPv6Network
Host = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Link:
    """One address family on one interface; `networks` are those of our addresses there."""

    interface: str
    v6: bool
    networks: tuple[Network, ...]

    @property
    def loopback(self) -> bool:
        return any(network.is_loopback for network in self.networks)

    def has(self, host: str) -> bool:
        """Is `host` a neighbor there?"""
        address = ip_address(host)
        return address.is_link_local or any(address in network for network in self.networks)


@dataclass(slots=True)
class Ask:
    """Send a question to all on `link`, from the port that is ours alone."""

    link: Link
    data: bytes


@dataclass(slots=True)
class Tell:
    """Send records to all on `link`, or to one who asked, from port 5353."""

    link: Link
    data: bytes
    to: Address | None = None


@dataclass(slots=True)
class JoinPeers:
    """Join these, then call `join_done`."""

    addresses: list[Address]


Action = Ask | Tell | JoinPeers


@dataclass(slots=True, eq=False)
class Peer:
    """A member of our cluster according to what was heard."""

    name: str
    address: Address
    source: str                                 # who said so
    heard: float                                # seconds, monotonic
    expires: float
    interfaces: dict[str, float] = field(default_factory=dict)      # where, when last
    failures: int = 0                           # joins in a row that did not make it a member
    next_try: float = inf                       # inf: nothing to do


class Cluster(Protocol):
    """What is known of the cluster by gossip."""

    def others(self) -> int:
        """How many members are alive, besides us."""

    def complete(self) -> bool:
        """There are others, and none of them failed."""

    def settled(self, address: Address, heard: float) -> bool:
        """Joining this address is of no use: its node is a member, or left after it was last heard of."""


class Bucket:
    """So many a second, and so many at once."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s, self._burst = per_s, burst
        self._level, self._at = burst, -inf

    def take(self, now: float) -> bool:
        self._level = min(self._burst, self._level + (now - self._at) * self._per_s)
        self._at = now
        if self._level < 1.0:
            return False
        self._level -= 1.0
        return True


class Discovery:
    """`families`: which of IPv4 (False) and IPv6 (True) our gossip sockets speak; others' addresses are of no use."""

    def __init__(self, service: Service, cluster: Cluster, families: Iterable[bool], rng: Random) -> None:
        self.service = service
        self.links: dict[Link, None] = {}
        self.counters: dict[str, int] = {}
        self._cluster, self._rng = cluster, rng
        self._families = tuple(families)
        self._peers: dict[Address, Peer] = {}
        self._timers: TimerQueue[str | Link] = TimerQueue()
        self._announcement = service.announcement()
        self._told: dict[Link, float] = {}              # when all on a link were last told
        self._pending: dict[Link, dict[Record, None]] = {}      # what they will be told next
        self._announced = self._asked = 0               # times, since the links last changed
        self._started = self._last_ask = -inf
        self._questions: list[bytes] = []               # our latest: they come back to us
        self._joining: list[Peer] = []
        self._next_join = -inf                          # not before
        self._packets = Bucket(PACKETS_PER_S, PACKETS_BURST)
        self._answers = Bucket(ANSWERS_PER_S, ANSWERS_BURST)

    # --- what the shell calls ----------------------------------------------------------------------------------------

    def next_deadline(self) -> float:
        return self._timers.next_deadline()

    def set_links(self, links: Iterable[Link], now: float) -> None:
        """These are there now. A new one starts announcing and asking over."""
        before, self.links = self.links, dict.fromkeys(links)
        for link in before.keys() - self.links.keys():
            self._timers.cancel(link)
            self._told.pop(link, None)
            self._pending.pop(link, None)
        if self.links.keys() - before.keys():
            self._started = max(now, self._started + RESTART_PAUSE_S)
            self._announced = self._asked = 0
            self._timers.set("announce", self._started)
            self._timers.set("ask", self._started + self._rng.uniform(*FIRST_QUESTION_S))

    def advance(self, now: float, out: list[Action]) -> None:
        while (key := self._timers.pop_due(now)) is not None:
            match key:
                case "announce":
                    self._announce(now, out)
                case "ask":
                    self._ask(now, out)
                case "join":
                    self._join(now, out)
                case Link():
                    self._tell(key, self._pending.pop(key), now, out)

    def hear(self, data: bytes, source: Address, link: Link, to_all: bool, now: float, out: list[Action]) -> None:
        """A packet; `to_all` if it was sent to the group. Whatever it is, this does not raise."""
        if link not in self.links or not self.service.may_concern(data):
            return
        if data == self._announcement or data in self._questions:
            return      # ours: the system lets everybody hear what goes to all, the sender too
        if not self._packets.take(now):
            self._count("mdns packet dropped")
            return
        try:
            packet = decode(data)
        except WireError as error:
            self._count(error.reason)
            return
        near = link.has(source[0])
        if not packet.response:
            self._hear_question(packet, source, near, link, now, out)
        elif source[1] != MDNS_PORT or not (near or to_all):
            self._count("mdns answer from afar")        # RFC 6762 §6 and §11: spoofed, or not by mDNS
        else:
            self._hear_answer(packet, source[0], link, now, out)

    def join_done(self, now: float) -> None:
        """The last join is over, well or not: the members will show."""
        tried, self._joining = self._joining, []
        for peer in tried:
            shortest, longest = RETRY_PAUSE_S
            peer.next_try = now + min(longest, shortest * 2 ** peer.failures) * self._rng.uniform(0.8, 1.2)
            peer.failures += 1
        self._next_join = now + JOIN_PAUSE_S
        self._plan_join(now)

    def ask_soon(self, now: float, out: list[Action]) -> None:
        """Somebody wants to know who is there."""
        if now >= self._last_ask + QUESTION_PAUSE_S:
            self._send_question(Question(self.service.name, PTR), now, out)

    def goodbye(self, out: list[Action]) -> None:
        data = self.service.goodbye()
        out.extend(Tell(link, data) for link in self._tellable())

    def peers(self, now: float) -> list[Peer]:
        """Whom we hear of, by name."""
        self._forget_expired(now)
        return sorted(self._peers.values(), key=lambda peer: (peer.name, peer.address))

    def status(self, peer: Peer) -> str:
        """"member", "joining", "waiting" for its first join, or "failed"."""
        if self._cluster.settled(peer.address, peer.heard):
            return "member"
        return "joining" if peer in self._joining else "failed" if peer.failures else "waiting"

    # --- announcing and asking ---------------------------------------------------------------------------------------

    def _tellable(self) -> Iterator[Link]:
        """A loopback address is nobody else's business."""
        loopback = ip_address(self.service.address[0]).is_loopback
        return (link for link in self.links if link.loopback or not loopback)

    def _announce(self, now: float, out: list[Action]) -> None:
        for link in self._tellable():
            out.append(Tell(link, self._announcement))
            self._told[link] = now
        self._announced += 1
        if self._announced < ANNOUNCEMENTS:
            self._timers.set("announce", now + 2 ** (self._announced - 1))

    def _ask(self, now: float, out: list[Action]) -> None:
        self._send_question(Question(self.service.name, PTR), now, out)
        others = self._cluster.others()
        longest = (max(QUESTION_PAUSE_COMPLETE_S, 2.0 * others) if self._cluster.complete()
                   else max(QUESTION_PAUSE_ALONE_S, 1.0 * others))
        pause = min(longest, QUESTION_PAUSE_S * 2 ** min(self._asked, 20))
        self._asked += 1
        self._timers.set("ask", now + pause * self._rng.uniform(0.9, 1.1))
        self._forget_expired(now)

    def _send_question(self, question: Question, now: float, out: list[Action]) -> None:
        data = encode(Packet(id=self._rng.getrandbits(16), questions=[question]))
        self._questions = [data, *self._questions[:3]]
        out.extend(Ask(link, data) for link in self.links)
        self._last_ask = now

    # --- answering ---------------------------------------------------------------------------------------------------

    def _hear_question(
        self, packet: Packet, source: Address, near: bool, link: Link, now: float, out: list[Action],
    ) -> None:
        answers = dict.fromkeys(record for question in packet.questions for record in self.service.answer(question))
        if not answers or link not in self._tellable() or self._is_known(packet, answers):
            return
        legacy = source[1] != MDNS_PORT
        if not legacy and not any(question.unicast for question in packet.questions):
            self._tell_soon(link, answers, now)
        elif near and self._answers.take(now):
            out.append(Tell(link, self._private_answer(packet, answers, legacy), source))

    def _is_known(self, packet: Packet, answers: dict[Record, None]) -> bool:
        """Does the asker know that we are there, for long enough (RFC 6762 §7.1)?"""
        return self.service.pointer in answers and any(
            (known.name, known.type, known.target) == (self.service.name, PTR, self.service.instance)
            and 2 * known.ttl >= TTL_S for known in packet.records)

    def _private_answer(self, packet: Packet, answers: dict[Record, None], legacy: bool) -> bytes:
        """A legacy asker finds its number and questions in the answer, and none of mDNS's own bits (RFC 6762 §6.7)."""
        if not legacy:
            return encode(Packet(response=True, records=list(answers)))
        questions = [Question(question.name, question.type) for question in packet.questions[:1]]
        plain = [Record(record.name, record.type, record.ttl, record.target, record.port, record.host, record.strings)
                 for record in answers]
        return encode(Packet(packet.id, True, questions, plain))

    def _tell_soon(self, link: Link, answers: dict[Record, None], now: float) -> None:
        """To all, and what others ask meanwhile along with it."""
        if link not in self._pending:
            soonest = now + self._rng.uniform(*ANSWER_DELAY_S)
            self._timers.set(link, max(soonest, self._told.get(link, -inf) + ANSWER_PAUSE_S))
        self._pending.setdefault(link, {}).update(answers)

    def _tell(self, link: Link, answers: dict[Record, None], now: float, out: list[Action]) -> None:
        out.append(Tell(link, encode(Packet(response=True, records=list(answers)))))
        self._told[link] = now

    # --- hearing of others -------------------------------------------------------------------------------------------

    def _hear_answer(self, packet: Packet, source: str, link: Link, now: float, out: list[Action]) -> None:
        """Everything must be in one packet; of whom it is not, we ask for it."""
        hosts: dict[Name, list[str]] = {}
        servers: dict[Name, Record] = {}
        named: dict[Name, None] = {}
        for record in packet.records:
            if record.type in (A, AAAA) and record.ttl:
                hosts.setdefault(record.name, []).append(record.host)
            elif record.type == SRV and self._is_instance(record.name):
                servers[record.name] = record
            elif record.type == PTR and record.name == self.service.name and self._is_instance(record.target):
                if record.ttl:
                    named[record.target] = None
                else:
                    self._forget(instance_text(record.target, self.service.name))
        for instance, server in servers.items():
            for host in hosts.get(server.target, ()):
                if server.ttl and self._is_usable(host, server.port, link):
                    self._found(instance, (host, server.port), server.ttl, source, link, now)
        unclear = [instance for instance in named if instance not in servers and instance != self.service.instance]
        if unclear and now >= self._last_ask + QUESTION_PAUSE_S:
            self._send_question(Question(self._rng.choice(unclear), ANY), now, out)

    def _is_instance(self, name: Name) -> bool:
        own = self.service.name
        return len(name) > len(own) and name[-len(own):] == own

    def _is_usable(self, host: str, port: int, link: Link) -> bool:
        """Could a member be there?"""
        address = ip_address(host)
        good = port > 0 and (address.version == 6) in self._families and is_unicast(address, link)
        if not good:
            self._count("mdns address of no use")
        return good

    def _found(self, instance: Name, address: Address, ttl: int, source: str, link: Link, now: float) -> None:
        if address == self.service.address:
            return
        peer = self._peers.get(address)
        if peer is None:
            if len(self._peers) >= PEERS_MAX and not self._make_room(now):
                self._count("mdns peer dropped")
                return
            peer = self._peers[address] = Peer("", address, "", now, now)
        peer.name, peer.source, peer.heard = instance_text(instance, self.service.name), source, now
        peer.expires = now + min(ttl, TTL_MAX_S)
        if link.interface in peer.interfaces or len(peer.interfaces) < PEER_INTERFACES_MAX:
            peer.interfaces[link.interface] = now
        if peer.next_try == inf and peer not in self._joining and not self._cluster.settled(address, now):
            peer.next_try = now + self._first_delay()
            self._plan_join(now)

    def _first_delay(self) -> float:
        others = self._cluster.others()
        if not others:
            return GATHER_S
        shortest, longest = NEWCOMER_DELAY_S
        return shortest + self._rng.random() * min(longest, 0.1 * others)

    def _make_room(self, now: float) -> bool:
        """Forget one that could not be joined, the one not heard of for longest."""
        self._forget_expired(now)
        failed = [peer for peer in self._peers.values() if peer.failures]
        if failed:
            del self._peers[min(failed, key=lambda peer: peer.heard).address]
        return len(self._peers) < PEERS_MAX

    def _forget(self, name: str) -> None:
        for peer in [peer for peer in self._peers.values() if peer.name == name]:
            del self._peers[peer.address]

    def _forget_expired(self, now: float) -> None:
        for peer in [peer for peer in self._peers.values() if peer.expires <= now]:
            del self._peers[peer.address]

    # --- joining -----------------------------------------------------------------------------------------------------

    def _plan_join(self, earliest: float) -> None:
        """At the first moment from `earliest` on at which someone is to be tried."""
        if self._joining:
            return
        at = max(earliest, self._next_join, min((peer.next_try for peer in self._peers.values()), default=inf))
        if at < inf and at < self._timers.deadline("join"):
            self._timers.set("join", at)

    def _join(self, now: float, out: list[Action]) -> None:
        self._forget_expired(now)
        due = [peer for peer in self._peers.values() if peer.next_try <= now]
        for peer in due:
            peer.next_try = inf
            if self._cluster.settled(peer.address, peer.heard):
                peer.failures = 0
        due = [peer for peer in due if not self._cluster.settled(peer.address, peer.heard)]
        self._joining = self._rng.sample(due, min(JOIN_HOSTS_MAX, len(due)))
        for peer in due:
            peer.next_try = inf if peer in self._joining else now
        if self._joining:
            out.append(JoinPeers([peer.address for peer in self._joining]))
        else:
            self._plan_join(now)

    def _count(self, what: str) -> None:
        self.counters[what] = self.counters.get(what, 0) + 1


def is_unicast(address: Host, link: Link) -> bool:
    """A host that could be a member, heard of on `link`: loopback only where we are on loopback ourselves."""
    if address.is_multicast or address.is_unspecified or (address.is_loopback and not link.loopback):
        return False
    if isinstance(address, IPv4Address):
        broadcast = any(address == network.broadcast_address for network in link.networks if network.num_addresses > 2)
        return 0 < address.packed[0] < 224 and not broadcast
    return not address.is_link_local and address.ipv4_mapped is None    # gossip has no scopes, and IPv4 has A records


def instance_text(instance: Name, service: Name) -> str:
    """The node's name. Serf does not escape dots, so a name may be several labels."""
    return b".".join(instance[:len(instance) - len(service)]).decode("utf-8", "surrogateescape")
