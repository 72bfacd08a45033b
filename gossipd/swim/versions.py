"""Which protocol versions can live together (spec memberlist §8)."""

from __future__ import annotations

from collections.abc import Iterable

from gossipd.swim.config import VERSIONS
from gossipd.swim.members import ALIVE, Member
from gossipd.wire.messages import PushPullEntry

VERSION_BYTES = 6
Range = tuple[int, int]


def usable_versions(vsn: bytes) -> bool:
    """May a record with these versions be kept? One that contradicts itself or shuts us out would poison every
    later push/pull, here and at everyone who hears of it (§20 H3)."""
    if not includes_us(vsn):
        return False
    pmin, pmax, pcur, dmin, dmax, dcur = vsn[:VERSION_BYTES]
    return pmin <= pcur <= pmax and dmin <= dcur <= dmax


def includes_us(vsn: bytes) -> bool:
    """Six numbers, with ranges that hold what we speak?"""
    if len(vsn) < VERSION_BYTES:
        return False
    return 0 < vsn[0] <= VERSIONS[2] <= vsn[1] and vsn[3] <= VERSIONS[5] <= vsn[4]


def compatible(entries: Iterable[PushPullEntry], members: Iterable[Member]) -> bool:
    """verifyProtocol: is there a version that all alive ones understand, and does everybody speak one of those?"""
    entries, members = list(entries), list(members)
    alive = [e.vsn for e in entries if e.state == ALIVE and len(e.vsn) >= VERSION_BYTES - 1]
    alive += [m.vsn for m in members if m.state == ALIVE]
    protocol, delegate = _common(alive, 0), _common(alive, 3)
    spoken = [e.vsn for e in entries] + [m.vsn for m in members]
    return all(_speaks(vsn, protocol, delegate) for vsn in set(spoken))


def _common(versions: list[bytes], at: int) -> Range:
    if not versions:
        return 0, 255
    return max(v[at] for v in versions), min(v[at + 1] for v in versions)


def _speaks(vsn: bytes, protocol: Range, delegate: Range) -> bool:
    current = (vsn[2], vsn[5]) if len(vsn) >= VERSION_BYTES else (0, 0)
    return protocol[0] <= current[0] <= protocol[1] and delegate[0] <= current[1] <= delegate[1]
