"""What strangers may send to a running daemon: it is counted, hardly logged, and nobody else notices."""

from __future__ import annotations

import os
import random
import re
import resource
import socket
import struct
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import datetime
from itertools import pairwise

import pytest

from gossipd.rpc.plain import pack as pack_rpc
from gossipd.serf.tags import encode_tags
from gossipd.swim.config import VERSIONS
from gossipd.wire.codec import encode
from gossipd.wire.messages import (
    ALIVE,
    COMPOUND,
    COMPRESS,
    DEAD,
    ENCRYPT,
    ERR,
    HAS_CRC,
    LABEL,
    NACK,
    PING,
    PUSH_PULL,
    SUSPECT,
    USER,
    Alive,
    Ping,
    PushPullEntry,
)
from gossipd.wire.packet import Envelope, compound, wrap_compressed
from gossipd.wire.secure import Keyring
from gossipd.wire.stream import encode_push_pull, seal_stream
from tests.support.processes import GOSSIP_PORT, RPC_PORT, Gossipd, Lab, Watch, alive, wait_until, wait_until_all_see

MB = 1 << 20
KEY, OTHER_KEY = bytes(range(32)), bytes(range(32, 64))
SETTLE_S = 15.0
ANSWER_S = 2.0          # for `members`, under attack, with two cores for everybody
STREAM_S = 2.0          # tcp_timeout of the daemons here
GROWTH_BYTES = 48 * MB  # that stay afterwards; buffers and caches may have grown once
PEAK_BYTES = 256 * MB   # while streams are being read: 128 MB of them, and what is decoded
ROUNDS = 400
BURST = 50
SILENT_STREAMS = 1000
CLIENTS, UPDATES = 10, 6000
LINE = re.compile(r"^(\S+) .* refused input reason='([^']*)'", re.M)


class Target:
    """A daemon under attack, and an honest peer of it."""

    def __init__(self, lab: Lab, settings: dict[str, dict[str, object]], key: str = "") -> None:
        self.lab = lab
        settings = {**settings, "swim": {"tcp_timeout": f"{STREAM_S:g}s"}}
        self.agent, self.peer = (lab.gossipd(name, key=key, settings=settings) for name in ("target", "peer"))
        lab.start(self.agent, self.peer)
        self.peer.join(self.agent.gossip)
        wait_until_all_see(self.agents, alive(self.agents), SETTLE_S)
        self.failures: list[Watch] = [agent.watch("member-failed", "member-leave") for agent in self.agents]
        self.rss_bytes = self.agent.rss_bytes()

    @property
    def agents(self) -> list[Gossipd]:
        return [self.agent, self.peer]

    @property
    def gossip(self) -> tuple[str, int]:
        return self.agent.host, GOSSIP_PORT

    @property
    def rpc(self) -> tuple[str, int]:
        return self.agent.host, RPC_PORT

    def logs(self) -> list[tuple[str, str]]:
        return self.lab.logs()

    def answers(self) -> None:
        """It does, and soon."""
        started = time.monotonic()
        assert self.agent.statuses() == {"target": "alive", "peer": "alive"}
        assert time.monotonic() - started < ANSWER_S

    def refused(self) -> dict[str, int]:
        with self.agent.client() as client:
            return {reason: int(count) for reason, count in client.stats()["gossipd"].items()}

    def wait_until_refused(self, reason: str, count: int) -> None:
        wait_until(lambda: self.refused().get(reason, 0) >= count,
                   lambda: f"{count} times {reason!r} in {self.refused()}", SETTLE_S)

    def is_unharmed(self) -> None:
        assert self.agent.running
        self.answers()
        self.peer.join(self.agent.gossip)
        assert [watch.told() for watch in self.failures] == [[], []]
        grown = self.agent.rss_bytes() - self.rss_bytes
        assert grown < GROWTH_BYTES, f"grew by {grown / MB:.0f} MB"
        assert "Traceback" not in self.agent.log_text()
        for reason, moments in log_times(self.agent.log_text()).items():
            gaps = [later - earlier for earlier, later in pairwise(moments)]
            assert min(gaps, default=1.0) > 0.99, f"{reason!r} was logged {min(gaps):.2f} s apart"


def log_times(text: str) -> dict[str, list[float]]:
    """When each reason was logged: seconds."""
    found: dict[str, list[float]] = {}
    for stamp, reason in LINE.findall(text):
        found.setdefault(reason, []).append(datetime.fromisoformat(stamp).timestamp())
    return found


@pytest.fixture(scope="module")
def _target() -> Iterator[Target]:
    with Lab() as lab:
        yield Target(lab, {})


@pytest.fixture
def target(_target: Target) -> Iterator[Target]:
    """Harmed by nothing that the test does."""
    yield _target
    _target.is_unharmed()


@pytest.fixture
def sealed() -> Iterator[Target]:
    """With a key and a label."""
    with Lab() as lab:
        target = Target(lab, {"encryption": {"label": "blue"}}, b64encode(KEY).decode())
        yield target
        target.is_unharmed()


def stranger(incarnation: int, tags: dict[str, str]) -> Alive:
    return Alive(incarnation, "stranger", bytes([127, 9, 9, 9]), 7946, encode_tags(tags, 5), VERSIONS)


# datagrams


def real_messages() -> list[bytes]:
    news = encode(stranger(1, {"role": "web"}))
    ping = encode(Ping(7, "target", bytes([127, 9, 9, 9]), 7946, "stranger"))
    return [news, ping, compound([ping, news]), wrap_compressed(compound([ping, news]))]


def truncated() -> Iterator[bytes]:
    for message in real_messages():
        yield from (message[:size] for size in range(len(message)) if message[:size])


def garbage(rng: random.Random) -> Iterator[bytes]:
    for _ in range(ROUNDS):
        yield rng.randbytes(rng.choice((0, 1, 2, 10, 100, 1400, 9000, 65507)))
    for kind in range(256):
        yield bytes([kind]) + rng.randbytes(40)


def msgpack_bombs() -> Iterator[bytes]:
    for kind in (PING, SUSPECT, ALIVE, DEAD, USER, NACK, ERR, COMPRESS, PUSH_PULL):
        for body in (b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91" * 60000,
                     b"\x81\xa4Node" * 8000, b"\xdf\x00\x00\xff\xff" + b"\x01\x01" * 30000):
            yield bytes([kind]) + body


def layers_and_lzw_bombs() -> Iterator[bytes]:
    nested = packed = b"\x00"
    for _ in range(60):
        nested = compound([nested, nested]) if len(nested) < 20000 else compound([nested])
        yield nested
    for _ in range(20):
        packed = wrap_compressed(packed)
        yield packed
    yield bytes([COMPOUND, 255]) + bytes(510)
    yield compound([bytes([COMPOUND, 255]) + bytes(510)] * 100)
    bomb = wrap_compressed(bytes(4 * MB))
    assert len(bomb) < 65000
    yield from (bomb, compound([bomb]), wrap_compressed(bomb))


def blast(to: tuple[str, int], datagrams: Iterator[bytes], target: Target) -> None:
    """With a look at the daemon every so often, which also keeps its socket from overflowing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number, data in enumerate(datagrams):
            with suppress(OSError):
                sock.sendto(data, to)
            if number % BURST == BURST - 1:
                target.answers()


def test_garbage_and_truncated_datagrams_are_refused(target):
    before = sum(target.refused().values())
    blast(target.gossip, garbage(random.Random(1)), target)
    blast(target.gossip, truncated(), target)
    target.answers()
    assert sum(target.refused().values()) > before + ROUNDS
    assert set(target.agent.statuses()) == {"target", "peer"}, "no garbage became a member"


def test_bombs_in_datagrams_take_neither_time_nor_memory(target):
    blast(target.gossip, msgpack_bombs(), target)
    blast(target.gossip, layers_and_lzw_bombs(), target)
    for reason in ("too deep", "too large", "garbage"):
        target.wait_until_refused(reason, 1)


def test_a_flood_of_datagrams_does_not_silence_it(target):
    data = bytes([HAS_CRC]) + bytes(1000)
    before = target.refused().get("bad crc", 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(10):
            for _ in range(2000):
                sock.sendto(data, target.gossip)
            target.answers()
    assert target.refused()["bad crc"] >= before + 2000


def test_a_wrong_key_a_wrong_label_and_no_key_are_told_apart(sealed):
    news = real_messages()[0]
    secret, foreign = Keyring([KEY]), Keyring([OTHER_KEY])
    senders = {"decrypt failed": Envelope(foreign, b"blue", False, os.urandom),
               "wrong label": Envelope(secret, b"red", False, os.urandom),
               "plaintext": Envelope(None, b"blue", False, os.urandom)}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for envelope in senders.values():
            for _ in range(BURST):
                sock.sendto(envelope.seal(news, crc=True), sealed.gossip)
            sock.sendto(Envelope(secret, b"blue", False, os.urandom).seal(news, crc=False)[:-1], sealed.gossip)
    sealed.wait_until_refused("wrong label", BURST)
    sealed.wait_until_refused("decrypt failed", 2 * BURST)      # of what has no key nothing can be decrypted either
    for envelope in senders.values():
        send_stream(sealed.gossip, seal_stream(envelope, encode_push_pull(True, [], b""), dialled=True))
    sealed.wait_until_refused("plaintext refused", 1)
    assert set(sealed.agent.statuses()) == {"target", "peer"}


# streams


def send_stream(to: tuple[str, int], data: bytes) -> bytes:
    """What comes back until the daemon closes."""
    with socket.create_connection(to, timeout=5 * STREAM_S) as sock, suppress(ConnectionError):
        with suppress(OSError):     # it may have hung up before we are done
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65536), b""))
    return b""


def lying_streams() -> Iterator[bytes]:
    header = b"\x83\xa4Join\xc3\xa5Nodes%s\xacUserStateLen%s"
    huge, small = b"\xcf" + bytes([0x3f]) + bytes(7), b"\x01"
    yield bytes([PUSH_PULL]) + header % (huge, small)
    yield bytes([PUSH_PULL]) + header % (small, huge)
    yield bytes([PUSH_PULL]) + header % (b"\xce\x00\x03\xff\xff", small) + b"\x80" * 262143
    yield bytes([PUSH_PULL]) + header % (small, small) + b"\xdf\xff\xff\xff\xff"
    yield bytes([USER]) + b"\x81\xaaUserMsgLen" + huge
    yield bytes([ENCRYPT]) + b"\xff" * 4
    yield bytes([LABEL, 200]) + b"x" * 200
    yield bytes([COMPRESS]) + b"\x91" * 100000
    yield wrap_compressed(bytes([PUSH_PULL]) + header % (b"\xce\x00\x03\xff\xff", small) + b"\x80" * MB)


def test_lying_truncated_and_garbage_streams_are_refused(target):
    before = sum(target.refused().values())
    rng = random.Random(2)
    entry = PushPullEntry("stranger", bytes([127, 9, 9, 9]), 7946, b"", 1, 0, VERSIONS)
    state = encode_push_pull(True, [entry], b"")
    streams = [*lying_streams(), *(state[:size] for size in range(1, len(state), 7)),
               *(rng.randbytes(rng.choice((1, 10, 1000, 100000))) for _ in range(30))]
    for data in streams:
        send_stream(target.gossip, data)
        target.answers()
    assert sum(target.refused().values()) >= before + len(streams) * 0.9
    assert set(target.agent.statuses()) == {"target", "peer"}


def test_streams_that_stall_are_closed_and_hold_nobody_up(target):
    state = encode_push_pull(True, [], bytes(1000))
    before = target.refused().get("stream too slow", 0)
    with ExitStack() as stack:
        socks = [stack.enter_context(socket.create_connection(target.gossip, timeout=5 * STREAM_S)) for _ in range(20)]
        for number, sock in enumerate(socks):
            sock.sendall(state[:number])
        target.answers()
        target.peer.join(target.agent.gossip)
        for sock in socks:
            assert sock.recv(1) == b"", "closed without a word"
    assert target.refused()["stream too slow"] >= before + len(socks)


def test_large_streams_that_never_end_share_a_bounded_memory(target):
    """Sixteen times 15 MB of what claims to be a user state of 20 MB."""
    header = bytes([PUSH_PULL]) + b"\x83\xa4Join\xc2\xa5Nodes\x00\xacUserStateLen" + struct.pack(">BI", 0xce, 20 * MB)
    chunk = bytes(MB)
    with ExitStack() as stack:
        socks = [stack.enter_context(socket.create_connection(target.gossip, timeout=STREAM_S)) for _ in range(16)]
        for sock in socks:
            sock.sendall(header)
        for _ in range(15):
            for sock in socks:
                with suppress(OSError):
                    sock.sendall(chunk)
            assert target.agent.rss_bytes() < target.rss_bytes + PEAK_BYTES
            target.answers()
    wait_until(lambda: target.agent.rss_bytes() < target.rss_bytes + GROWTH_BYTES, "the memory is free again", SETTLE_S)


def test_a_thousand_half_open_connections_keep_no_peer_out(target):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    try:
        with ExitStack() as stack:
            for number in range(SILENT_STREAMS):
                sock = stack.enter_context(socket.socket())
                sock.settimeout(5 * STREAM_S)
                sock.bind((f"127.{number % 5}.0.9", 0))
                sock.connect(target.gossip)
                if number % 100 == 99:
                    target.answers()
                    assert target.peer.join(target.agent.gossip) == 1
            target.answers()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(os.listdir(f"/proc/{target.agent.pid}/fd")) < 300


# RPC


def request(command: str, seq: int, body: dict[str, object] | None = None) -> bytes:
    return pack_rpc({"Command": command, "Seq": seq}) + (pack_rpc(body) if body is not None else b"")


HANDSHAKE = request("handshake", 0, {"Version": 1})


@pytest.mark.parametrize("data", [
    os.urandom(1000),
    b"\xc1" * 10,
    b"\x91" * 100000,
    HANDSHAKE + b"\xdf\xff\xff\xff\xff",
    HANDSHAKE + b"\xdb\xff\xff\xff\xff" + bytes(100000),
    HANDSHAKE + request("members-filtered", 1) + b"\x93\x01\x02\x03",
    HANDSHAKE + request("members-filtered", 1, {"Name": "(" * 1000}),
    HANDSHAKE + request("event", 1) + b"\xdb\x00\x20\x00\x00" + bytes(2 * MB),
    request("members", 1),
    request("stream", 1, {"Type": "*"}) + HANDSHAKE,
    HANDSHAKE + request("nonsense", 1),
], ids=["random", "invalid", "deep", "map bomb", "string bomb", "wrong body", "bad expression", "huge string",
        "no handshake", "wrong order", "unknown command"])
def test_a_malformed_rpc_request_ends_that_connection_only(target, data):
    with target.agent.client() as other:
        with socket.create_connection(target.rpc, timeout=ANSWER_S) as sock, suppress(ConnectionError):
            with suppress(OSError):     # it may have hung up before we are done
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass
        assert len(other.members()) == 2
    target.answers()


def test_an_rpc_client_that_asks_and_never_reads_is_held_back(target):
    with ExitStack() as stack:
        for _ in range(5):
            sock = stack.enter_context(socket.create_connection(target.rpc))
            sock.settimeout(0.2)
            sock.sendall(HANDSHAKE)
            with suppress(OSError):     # the daemon takes no more, or has closed
                for seq in range(1, 2000):
                    sock.sendall(request("members", seq) * 100)
            target.answers()
        assert target.agent.rss_bytes() < target.rss_bytes + GROWTH_BYTES


def test_rpc_clients_that_follow_events_and_never_read_cost_nobody_any():
    """Their records are dropped. The events come from forged updates of one member, as fast as they can be read."""
    with Lab() as lab, ExitStack() as stack, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
        agent = lab.gossipd("target", settings={"serf": {"coalesce_period": 0}})
        agent.start()
        before = agent.rss_bytes()
        for _ in range(CLIENTS):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect((agent.host, RPC_PORT))
            sock.sendall(HANDSHAKE + request("stream", 1, {"Type": "*"}))
        watch = agent.watch("member-update")
        for number in range(1, UPDATES):
            news = stranger(number, {"number": str(number), "filler": "x" * 400})
            forger.sendto(encode(news), (agent.host, GOSSIP_PORT))
            if number % BURST == 0:
                assert "stranger" in agent.statuses()
        wait_until(lambda: watch.events and watch.events[-1][1].members[0].tags["number"] == str(UPDATES - 1),
                   "an honest client has the last event", SETTLE_S)
        assert len(watch.events) == UPDATES - 2, "and all others"
        assert 0 < agent.log_text().count("Dropping event to ipc.client") < 10 * CLIENTS
        assert agent.rss_bytes() < before + GROWTH_BYTES
