"""What a client may do, in three levels: each one includes those before it."""

from __future__ import annotations

from enum import IntEnum


class Right(IntEnum):
    NONE = 0
    READ = 1        # members, events, statistics, coordinates
    EVENT = 2       # fire events and queries, answer queries
    ADMIN = 3       # everything else: membership, tags, keys, the log

    @property
    def word(self) -> str:
        """As settings and messages have it."""
        return self.name.lower()


DENIED = "Permission denied"
"""How the error of a refused call begins; nothing follows its header. `gossipd.client` knows it too."""

NEEDED: dict[str, Right] = {
    **dict.fromkeys(("handshake", "auth"), Right.NONE),
    **dict.fromkeys(
        ("members", "members-filtered", "stream", "stop", "stats", "get-coordinate", "discovered"), Right.READ),
    **dict.fromkeys(("event", "query", "respond"), Right.EVENT),
}
"""By command; those that are not here need ADMIN. list-keys shows the keys, and monitor all that the log says."""


def needed_for(command: str) -> Right:
    return NEEDED.get(command, Right.ADMIN)


def denial(command: str, needed: Right) -> str:
    return f"{DENIED}: {command} needs the right {needed.word}"
