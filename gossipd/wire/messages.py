"""One class for each memberlist message (spec memberlist §2, §4). Nobody changes a message once it is made.

Names are text with `surrogateescape`: on the wire they are bytes, perhaps not UTF-8, and come back unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

PING = 0
INDIRECT_PING = 1
ACK = 2
SUSPECT = 3
ALIVE = 4
DEAD = 5
PUSH_PULL = 6
COMPOUND = 7
USER = 8
COMPRESS = 9
ENCRYPT = 10
NACK = 11
HAS_CRC = 12
ERR = 13
LABEL = 244


class NodeState(IntEnum):
    """`State` of a push/pull entry."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3


@dataclass(slots=True)
class Ping:
    seq: int
    node: str                   # the intended target; "" = anyone
    source_addr: bytes = b""    # the sender's advertised address, 4 or 16 bytes; b"" = not said
    source_port: int = 0
    source_node: str = ""


@dataclass(slots=True)
class IndirectPing:
    seq: int
    target: bytes               # the target's address, raw
    port: int
    node: str
    nack: bool = False
    source_addr: bytes = b""
    source_port: int = 0
    source_node: str = ""


@dataclass(slots=True)
class Ack:
    seq: int
    payload: bytes = b""


@dataclass(slots=True)
class Nack:
    seq: int
    refused: bool = False       # our own key "Refused": the target's host said that nobody listens on the port


@dataclass(slots=True)
class Err:
    error: str


@dataclass(slots=True)
class Suspect:
    incarnation: int
    node: str
    source: str                 # `From`: who says so
    refused: tuple[str, ...] = ()   # our own key "Refused": nodes that saw the port refused


@dataclass(slots=True)
class Dead:
    incarnation: int
    node: str
    source: str                 # equal to `node`: it left by itself
    why: str = ""               # our own key "Why": how the failure was noticed, for people


@dataclass(slots=True)
class Alive:
    incarnation: int
    node: str
    addr: bytes                 # kept byte for byte
    port: int
    meta: bytes
    vsn: bytes                  # six version numbers


@dataclass(slots=True)
class User:
    """Serf's message, its type byte first."""

    payload: bytes


@dataclass(slots=True)
class PushPullEntry:
    name: str
    addr: bytes
    port: int
    meta: bytes
    incarnation: int
    state: int                  # a NodeState, or a number that we do not know
    vsn: bytes


@dataclass(slots=True)
class PushPull:
    join: bool
    entries: list[PushPullEntry] = field(default_factory=list)
    user_state: bytes = b""


Message = Ping | IndirectPing | Ack | Nack | Err | Suspect | Dead | Alive | User | PushPull
