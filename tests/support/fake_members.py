"""A process that stands for many members: `python -m tests.support.fake_members --host 127.9.9.9 --count 300`.

Member fake0 has the usual port and answers a push/pull with all of them; every one acks pings. They never probe and
never gossip. Says "ready" once all sockets are there.
"""

from __future__ import annotations

import argparse
import base64
import os
import selectors
import socket
from contextlib import suppress

from gossipd.addresses import pack_ip
from gossipd.errors import WireError
from gossipd.serf.messages import PushPullState
from gossipd.serf.messages import encode_push_pull as encode_user_state
from gossipd.serf.tags import encode_tags
from gossipd.swim.config import DEFAULT_PORT, VERSIONS
from gossipd.wire.codec import decode, encode
from gossipd.wire.messages import PING, Ack, Ping, PushPull, PushPullEntry
from gossipd.wire.packet import Envelope
from gossipd.wire.secure import Keyring
from gossipd.wire.stream import StreamDecoder, encode_push_pull, seal_stream

FIRST_PORT = 20000      # of fake1; the next ones follow
STREAM_S = 5.0


def name_of(number: int) -> str:
    return f"fake{number}"


def tags_of(number: int) -> dict[str, str]:
    return {"number": str(number), "role": "fake"}


def port_of(number: int) -> int:
    return FIRST_PORT + number if number else DEFAULT_PORT


class FakeMembers:
    def __init__(self, host: str, count: int, key: str) -> None:
        keyring = Keyring([base64.b64decode(key)]) if key else None
        self._envelope = Envelope(keyring, b"", False, os.urandom)
        self._selector = selectors.DefaultSelector()
        self._state = state_of(host, count)
        for number in range(count):
            self._listen(host, port_of(number))

    def _listen(self, host: str, port: int) -> None:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((host, port))
        self._selector.register(udp, selectors.EVENT_READ, self._on_datagram)
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind((host, port))
        tcp.listen()
        self._selector.register(tcp, selectors.EVENT_READ, self._on_connection)

    def run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                with suppress(OSError, WireError):
                    key.data(key.fileobj)

    def _on_datagram(self, udp: socket.socket) -> None:
        data, source = udp.recvfrom(65536)
        for part in self._envelope.open(data)[0]:
            if part[0] == PING:
                ping = decode(part)
                assert isinstance(ping, Ping)
                udp.sendto(self._envelope.seal(encode(Ack(ping.seq)), crc=False), source)

    def _on_connection(self, tcp: socket.socket) -> None:
        connection, _ = tcp.accept()
        with connection:
            connection.settimeout(STREAM_S)
            reply = self._answer(connection)
            connection.sendall(seal_stream(self._envelope, reply, dialled=False))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):       # closing with unread input would reset what we just sent
                pass

    def _answer(self, connection: socket.socket) -> bytes:
        decoder = StreamDecoder(self._envelope, dialled=False)
        while decoder.message is None:
            data = connection.recv(65536)
            if not data:
                decoder.eof()
            decoder.feed(data)
            while decoder.advance():
                pass
        match decoder.message:
            case PushPull():
                return self._state
            case Ping(seq):
                return encode(Ack(seq))
        raise WireError("unexpected message")


def state_of(host: str, count: int) -> bytes:
    """A push/pull of `count` members."""
    raw = pack_ip(host)
    entries = [PushPullEntry(name_of(number), raw, port_of(number), encode_tags(tags_of(number), 5), 1, 0, VERSIONS)
               for number in range(count)]
    times = {entry.name: number + 1 for number, entry in enumerate(entries)}
    user_state = encode_user_state(PushPullState(count + 1, times, [], 1, 1))
    return encode_push_pull(False, entries, user_state)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--key", default="")
    arguments = parser.parse_args()
    members = FakeMembers(arguments.host, arguments.count, arguments.key)
    print("ready", flush=True)
    members.run()


if __name__ == "__main__":
    main()
