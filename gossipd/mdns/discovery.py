"""Who else of our cluster is near: announces, asks, answers, and says whom to join (RFC 6762; spec agent §12).

Unlike Serf's agent this one announces itself, says goodbye, asks less and less often and hears answers at any time.

Questions come from a port of their own: answers then go straight to it, where other programs that share port 5353
cannot take them away. Such a "legacy" question is what Serf asks too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from math import inf
from random import Random

from gossipd.addresses import Address
from gossipd.errors import WireError
from gossipd.mdns.links import Link, is_usable
from gossipd.mdns.messages import AAAA, ANY, PTR, SRV, A, Name, Packet, Question, Record, decode, encode
from gossipd.mdns.peers import Cluster, Peers
from gossipd.mdns.service import TTL_S, Service
from gossipd.timers import Allowance, TimerQueue

MDNS_PORT = 5353
ANNOUNCEMENTS = 3                   # after 0, 1 and 3 s (RFC 6762 §8.3)
FIRST_QUESTION_S = (0.02, 0.12)     # machines that start together do not ask together (RFC 6762 §5.2)
QUESTION_PAUSE_S = 1.0              # doubles up to one of these:
QUESTION_PAUSE_ALONE_S = 60.0       # nobody else here, or somebody failed: Serf's pause
QUESTION_PAUSE_COMPLETE_S = 300.0   # nobody is missing
ANSWER_DELAY_S = (0.02, 0.12)       # before answers to all (RFC 6762 §6)
ANSWER_PAUSE_S = 1.0                # between answers to all on one link
RESTART_PAUSE_S = 1.0               # between changes of links that make us announce anew
PACKETS_PER_S, PACKETS_BURST = 100.0, 300.0     # that are looked into: an announcement costs about 0.3 ms,
PACKET_BYTES = 256                              # and a large packet counts as several of this size
HOST_ADDRESSES_MAX = 8                          # of one host in a packet: each of its servers is a peer at each
ANSWERS_PER_S, ANSWERS_BURST = 20.0, 100.0      # that go to one asker


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


class Discovery:
    """`families`: which of IPv4 (False) and IPv6 (True) our gossip sockets speak; others' addresses are of no use.

    What is ignored is counted in `counters`, by reason.
    """

    def __init__(
        self, service: Service, cluster: Cluster, families: Iterable[bool], rng: Random, counters: dict[str, int],
    ) -> None:
        self.service = service
        self.peers = Peers(service.address, cluster, rng)
        self.links: dict[Link, None] = {}
        self.counters = counters
        self._cluster, self._rng = cluster, rng
        self._families = tuple(families)
        self._timers: TimerQueue[str | Link] = TimerQueue()
        self._announcement = service.announcement()
        self._told: dict[Link, float] = {}              # when all on a link were last told
        self._pending: dict[Link, dict[Record, None]] = {}      # what they will be told next
        self._announced = self._asked = 0               # times, since the links last changed
        self._started = self._last_ask = -inf
        self._questions: list[bytes] = []               # our latest: they come back to us
        self._packets = Allowance(PACKETS_PER_S, PACKETS_BURST)
        self._answers = Allowance(ANSWERS_PER_S, ANSWERS_BURST)

    # --- what the shell calls ----------------------------------------------------------------------------------------

    def next_deadline(self) -> float:
        return min(self._timers.next_deadline(), self.peers.next_deadline())

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
                case Link():
                    self._tell(key, self._pending.pop(key), now, out)
        if self.peers.next_deadline() <= now and (addresses := self.peers.take_due(now)):
            out.append(JoinPeers(addresses))

    def hear(self, data: bytes, source: Address, link: Link, to_all: bool, now: float, out: list[Action]) -> None:
        """A packet; `to_all` if it was sent to the group. Whatever it is, this does not raise."""
        if link not in self.links or not self.service.may_concern(data):
            return
        if data == self._announcement or data in self._questions:
            return      # ours: the system lets everybody hear what goes to all, the sender too
        if not self._packets.take(now, 1 + len(data) // PACKET_BYTES):
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
        """The last join is over, well or not."""
        self.peers.join_done(now)

    def ask_soon(self, now: float, out: list[Action]) -> None:
        """Somebody wants to know who is there."""
        if now >= self._last_ask + QUESTION_PAUSE_S:
            self._send_question(Question(self.service.name, PTR), now, out)

    def goodbye(self, out: list[Action]) -> None:
        data = self.service.goodbye()
        out.extend(Tell(link, data) for link in self._tellable())

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
                    self.peers.forget(instance_text(record.target, self.service.name))
        for instance, server in servers.items():
            for host in hosts.get(server.target, [])[:HOST_ADDRESSES_MAX]:
                self._found(instance, host, server, source, link, now)
        unclear = [instance for instance in named if instance not in servers and instance != self.service.instance]
        if unclear and now >= self._last_ask + QUESTION_PAUSE_S:
            self._send_question(Question(self._rng.choice(unclear), ANY), now, out)

    def _is_instance(self, name: Name) -> bool:
        own = self.service.name
        return len(name) > len(own) and name[-len(own):] == own

    def _found(self, instance: Name, host: str, server: Record, source: str, link: Link, now: float) -> None:
        address = ip_address(host)
        if not server.port or (address.version == 6) not in self._families or not is_usable(address, link):
            self._count("mdns address of no use")
            return
        name = instance_text(instance, self.service.name)
        if not self.peers.found(name, (host, server.port), server.ttl, source, link.interface, now):
            self._count("mdns peer dropped")

    def _count(self, what: str) -> None:
        self.counters[what] = self.counters.get(what, 0) + 1


def instance_text(instance: Name, service: Name) -> str:
    """The node's name. Serf does not escape dots, so a name may be several labels."""
    return b".".join(instance[:len(instance) - len(service)]).decode("utf-8", "surrogateescape")
