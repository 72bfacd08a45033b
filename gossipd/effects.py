"""What the core asks of the world. The core appends effects in order; shells carry them out in that order."""

from __future__ import annotations

from dataclasses import dataclass

from gossipd.addresses import Address
from gossipd.events import Event

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40
"""Levels of a Notice: the numbers that Python's logging uses."""


@dataclass(slots=True)
class SendDatagram:
    """Send these bytes, already sealed, from the bound UDP socket."""

    data: bytes
    to: Address


@dataclass(slots=True)
class OpenExchange:
    """Connect by TCP, write `request`, read one message until `deadline`, then call `Node.exchange_done`.

    `purpose` is "ping" (the prober's TCP fallback) or "sync" (a push/pull).
    """

    id: int
    to: Address
    request: bytes
    deadline: float         # seconds, monotonic: for connecting, writing and reading together
    purpose: str


@dataclass(slots=True)
class Emit:
    """Something that users hear about."""

    event: Event


@dataclass(slots=True)
class Reply:
    """The outcome of the command with this id. Exactly one for each command accepted, perhaps much later."""

    id: int
    result: object = None
    error: str = ""


@dataclass(slots=True)
class Part:
    """Something on the way to the `Reply` of the command with this id."""

    id: int
    value: object


@dataclass(slots=True)
class NameLost:
    """Another node has our name and the cluster decided for it: this one should go, without a goodbye."""

    text: str


@dataclass(slots=True)
class Record:
    """Whole lines to append to the snapshot."""

    lines: bytes


@dataclass(slots=True)
class Rejected:
    """A peer sent something unusable and it was dropped. Counted by reason, logged at most once a second each."""

    reason: str
    source: Address
    detail: str = ""


@dataclass(slots=True)
class Notice:
    """One line for the log: a stable phrase, its numbers behind it. Or the words of Serf's library itself."""

    level: int
    text: str
    as_serf: bool = False


Effect = SendDatagram | OpenExchange | Emit | Reply | Part | NameLost | Record | Rejected | Notice
