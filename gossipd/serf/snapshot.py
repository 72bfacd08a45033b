"""The snapshot: lines of text that bring back clocks and peers after a restart (spec serf §14). No files here.

Serf's format, and readable by Serf. Members that failed are kept too, in lines that are comments to Serf, so that a
cluster whose nodes all went down one after the other finds itself again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from gossipd.addresses import Address, format_address, parse_address
from gossipd.events import MEMBER_FAILED, MEMBER_JOIN, MEMBER_LEAVE
from gossipd.serf.lamport import FIRST_MAX

LTIME_BITS = 64
PEER_BYTES = 128                # a compaction is due at twice this for each peer
WARNINGS_MAX = 10               # kept; the others are counted
LINE_BYTES_MAX = 65536          # of a line that counts; a name has 255 bytes at most
MEMBERS_MAX = 65536             # remembered unless told otherwise
PIECE_BYTES = 1 << 20           # read at a time
_ALIVE, _NOT_ALIVE, _FAILED = b"alive: ", b"not-alive: ", b"# failed: "
_CLOCK, _EVENT_CLOCK, _QUERY_CLOCK = b"clock: ", b"event-clock: ", b"query-clock: "
_SKIPPED = (b"coordinate: ", b"#")
_LEAVE = b"leave"
# 19 digits are 64 bits for certain. A file that nobody compacted has little else than these lines.
_LONG_RUN_OF_CLOCKS = re.compile(rb"(?:^(?:event-|query-)?clock: [0-9]{1,19}\n){8,}", re.MULTILINE)


@dataclass(slots=True)
class Restored:
    """What a snapshot tells. Addresses are text, `host:port`."""

    alive: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    clock: int = 0
    event_clock: int = 0
    query_clock: int = 0
    warnings: list[str] = field(default_factory=list)
    warnings_count: int = 0
    ends_in_newline: bool = True        # if not, one must be written before anything is appended

    def plausible(self) -> Restored:
        """The same, where a clock that no cluster can have reached counts as none."""
        clock, event_clock, query_clock = (
            time if time <= FIRST_MAX else 0 for time in (self.clock, self.event_clock, self.query_clock))
        return replace(self, clock=clock, event_clock=event_clock, query_clock=query_clock)

    def peers(self, local_name: str) -> dict[str, Address]:
        """Whom to try to join, by name: those last seen alive, those that had failed. The local name is left out."""
        found: dict[str, Address] = {}
        for name, text in (*self.alive.items(), *self.failed.items()):
            if name != local_name and (address := _usable(text)) is not None:
                found[name] = address
        return found

    def warn(self, text: str) -> None:
        """A file that is no snapshot at all has no end of them: the first ones are kept."""
        self.warnings_count += 1
        if len(self.warnings) < WARNINGS_MAX:
            self.warnings.append(text)


def replay(text: bytes, rejoin_after_leave: bool = False) -> Restored:
    """Read a whole snapshot."""
    reading = Replay(rejoin_after_leave)
    for at in range(0, len(text), PIECE_BYTES):
        reading.feed(text[at:at + PIECE_BYTES])
    return reading.end()


class Replay:
    """Reads a snapshot, however long, piece by piece. Nothing raises: what cannot be understood is skipped with a
    warning. A last line without newline does not count. Of `members_max` members at once, further ones are left out."""

    def __init__(self, rejoin_after_leave: bool = False, members_max: int = MEMBERS_MAX) -> None:
        self._rejoin_after_leave, self._members_max = rejoin_after_leave, members_max
        self._restored = Restored()
        self._alive: dict[bytes, bytes] = {}
        self._failed: dict[bytes, bytes] = {}
        self._piece = b""           # of a line
        self._too_long = False      # the line has a beginning that was thrown away
        self._left_out = 0

    def feed(self, text: bytes) -> None:
        """The next piece, of about PIECE_BYTES."""
        if self._too_long:
            _, newline, text = text.partition(b"\n")
            self._too_long = not newline
        text = self._piece + text
        if text.count(_CLOCK) > text.count(b"\n") // 2:
            text = _LONG_RUN_OF_CLOCKS.sub(_last_ones, text)
        *lines, self._piece = text.split(b"\n")
        for line in lines:
            if line.startswith(_ALIVE):
                self._peer(line, _ALIVE, self._alive, self._failed)
            else:
                self._line(line)
        if len(self._piece) > LINE_BYTES_MAX:
            self._restored.warn(f"snapshot line too long: {self._piece[:100]!r}")
            self._piece, self._too_long = b"", True

    def end(self) -> Restored:
        restored = self._restored
        if self._left_out:
            restored.warn(f"more than {self._members_max} members, {self._left_out} lines left out")
        restored.alive = {_text(name): _text(address) for name, address in self._alive.items()}
        restored.failed = {_text(name): _text(address) for name, address in self._failed.items()}
        restored.ends_in_newline = not self._piece and not self._too_long
        return restored

    def _line(self, line: bytes) -> None:
        restored = self._restored
        if line.startswith(_NOT_ALIVE):
            name = line.removeprefix(_NOT_ALIVE)
            self._alive.pop(name, None)
            self._failed.pop(name, None)
        elif line.startswith(_CLOCK):
            restored.clock = _number(line, _CLOCK, restored.clock, restored)
        elif line.startswith(_EVENT_CLOCK):
            restored.event_clock = _number(line, _EVENT_CLOCK, restored.event_clock, restored)
        elif line.startswith(_QUERY_CLOCK):
            restored.query_clock = _number(line, _QUERY_CLOCK, restored.query_clock, restored)
        elif line.startswith(_FAILED):
            self._peer(line, _FAILED, self._failed, self._alive)
        elif line == _LEAVE:
            self._leave()
        elif not line.startswith(_SKIPPED):
            restored.warn(f"unrecognized snapshot line: {line[:100]!r}")

    def _peer(self, line: bytes, key: bytes, into: dict[bytes, bytes], out_of: dict[bytes, bytes]) -> None:
        name, space, address = line[len(key):].rpartition(b" ")
        if not space:
            self._restored.warn(f"snapshot line without address: {line[:100]!r}")
        elif len(line) > LINE_BYTES_MAX:
            self._restored.warn(f"snapshot line too long: {line[:100]!r}")
        elif name in into:
            into[name] = address
        elif out_of.pop(name, None) is not None or len(into) + len(out_of) < self._members_max:
            into[name] = address
        else:
            self._left_out += 1

    def _leave(self) -> None:
        restored = self._restored
        if self._rejoin_after_leave:
            restored.warn("ignoring a previous leave in the snapshot")
            return
        self._alive.clear()
        self._failed.clear()
        restored.clock = restored.event_clock = restored.query_clock = 0


def _last_ones(run: re.Match[bytes]) -> bytes:
    """Of a run of clock lines, all of them well formed, the last one of each kind: it is the one that counts."""
    text = b"\n" + run[0]
    found = []
    for key in (_CLOCK, _EVENT_CLOCK, _QUERY_CLOCK):
        if (at := text.rfind(b"\n" + key) + 1) > 0:
            found.append(text[at:text.index(b"\n", at) + 1])
    return b"".join(found)


def _number(line: bytes, prefix: bytes, before: int, restored: Restored) -> int:
    digits = line.removeprefix(prefix)
    if digits.isdigit() and len(digits) <= 20 and not int(digits) >> LTIME_BITS:
        return int(digits)
    restored.warn(f"snapshot line without number: {line[:100]!r}")
    return before


class Snapshot:
    """What to append for everything that happens. Each method returns whole lines, b"" for nothing."""

    def __init__(self, restored: Restored, compact_bytes_min: int, rejoin_after_leave: bool) -> None:
        self._alive, self._failed = dict(restored.alive), dict(restored.failed)
        self._clock, self._event_clock = restored.clock, restored.event_clock
        self._query_clock = restored.query_clock
        self._compact_bytes_min, self._rejoin_after_leave = compact_bytes_min, rejoin_after_leave
        self._leaving = False

    def member(self, kind: str, name: str, address: Address) -> bytes:
        """A member event, uncoalesced."""
        raw, where = _raw(name), format_address(address)
        if self._leaving or b"\n" in raw or b"\r" in raw:       # such a name could forge lines (§18.9)
            return b""
        if kind == MEMBER_JOIN:
            self._failed.pop(name, None)
            self._alive[name] = where
            return _ALIVE + raw + b" " + where.encode() + b"\n"
        if kind not in (MEMBER_LEAVE, MEMBER_FAILED):
            return b""
        self._alive.pop(name, None)
        self._failed.pop(name, None)
        line = _NOT_ALIVE + raw + b"\n"
        if kind == MEMBER_FAILED:
            self._failed[name] = where
            line += _FAILED + raw + b" " + where.encode() + b"\n"
        return line

    def forget(self, name: str) -> bytes:
        """A member is gone for good: reaped, pruned, or not met again since the start."""
        known = (self._failed.pop(name, None), self._alive.pop(name, None))
        if known == (None, None) or self._leaving:
            return b""
        return _NOT_ALIVE + _raw(name) + b"\n"

    def user_event(self, ltime: int) -> bytes:
        if self._leaving or ltime <= self._event_clock:
            return b""
        self._event_clock = ltime
        return _EVENT_CLOCK + b"%d\n" % ltime

    def query(self, ltime: int) -> bytes:
        """One that passed our filters."""
        if self._leaving or ltime <= self._query_clock:
            return b""
        self._query_clock = ltime
        return _QUERY_CLOCK + b"%d\n" % ltime

    def clock(self, member_time: int) -> bytes:
        """Call it after member events, every half second and at the end, while leaving too."""
        if member_time - 1 <= self._clock:
            return b""
        self._clock = member_time - 1
        return _CLOCK + b"%d\n" % self._clock

    def leave(self) -> bytes:
        """Our own graceful leave: from now on only the member clock is written."""
        self._leaving = True
        if not self._rejoin_after_leave:
            self._alive.clear()
            self._failed.clear()
        return _LEAVE + b"\n"

    def wants_compaction(self, file_bytes: int) -> bool:
        return file_bytes > max(self._compact_bytes_min, (len(self._alive) + len(self._failed)) * PEER_BYTES * 2)

    def compaction(self) -> Callable[[], bytes]:
        """Makes the shortest file that says the same, save for a leave, as of now; in a thread if you like."""
        clocks = (_CLOCK, self._clock), (_EVENT_CLOCK, self._event_clock), (_QUERY_CLOCK, self._query_clock)
        return partial(_compacted, dict(self._alive), dict(self._failed), clocks)


def _compacted(alive: dict[str, str], failed: dict[str, str], clocks: tuple[tuple[bytes, int], ...]) -> bytes:
    lines = [_ALIVE + _raw(name) + b" " + _raw(where) + b"\n" for name, where in alive.items()]
    lines += [_FAILED + _raw(name) + b" " + _raw(where) + b"\n" for name, where in failed.items()]
    return b"".join([*lines, *(key + b"%d\n" % time for key, time in clocks)])


def _usable(text: str) -> Address | None:
    try:
        address = parse_address(text, 0)
    except ValueError:
        return None
    return address if address[1] else None


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
