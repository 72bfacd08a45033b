"""The trace of a run: a hash over everything that happened, and on request a line of text for each."""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct
from typing import TextIO

_HEAD = Struct("<dcIH")     # time, kind, length, host: fixed size, so that no two traces read the same


class Trace:
    """Same seed, same hash: on any machine, with any Python and any msgpack."""

    def __init__(self, lines_to: TextIO | None = None) -> None:
        self._hash = blake2b(digest_size=16)
        self._lines_to = lines_to
        self.entries = 0

    def sent(self, now: float, host: int, data: bytes) -> None:
        self.note(now, "datagram", host, data)

    def note(self, now: float, kind: str, host: int, data: bytes) -> None:
        """Kinds differ in their first letter."""
        self.entries += 1
        self._hash.update(_HEAD.pack(now, kind[0].encode(), len(data), host))
        self._hash.update(data)
        if self._lines_to is not None:
            self._lines_to.write(f"{now:.6f} {host} {kind} {data.hex() if kind in BINARY else data.decode()}\n")

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


BINARY = frozenset({"datagram", "open", "served", "record"})
