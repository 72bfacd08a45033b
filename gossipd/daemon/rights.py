"""Who may do what on the unix socket: the kernel says who connected, the settings who may do what."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gossipd.errors import GossipdError
from gossipd.rpc.rights import Right

_PEER = struct.Struct("iII")        # struct ucred: pid, uid, gid
_SO_PEERGROUPS = 59                 # asm-generic/socket.h, Linux 4.13; Python has no name for it
_GROUPS_BYTES = 1024                # 256 groups; the most that Python asks the kernel for
ROOT = 0
MAY_BE_MISSING = "@gossipctl"       # the default: packages make this group, a checkout does not need it


@dataclass(frozen=True, slots=True)
class Peer:
    """Who connected, as of then."""

    pid: int
    uid: int
    gids: frozenset[int]


def peer_of(sock: socket.socket) -> Peer:
    """Of a connected unix socket. Raises OSError.

    The kernel also tells the further groups as they were: looking into /proc would be a race with the peer's end.
    Of who has more than 256 only the first one, that of the process, is known.
    """
    pid, uid, gid = _PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError as error:
        if error.errno not in (errno.ERANGE, errno.ENOPROTOOPT):
            raise
        raw = b""
    return Peer(pid, uid, frozenset((gid, *struct.unpack(f"{len(raw) // 4}I", raw))))


@dataclass(frozen=True, slots=True)
class Rights:
    """Rights by user and by group number. Root and the daemon's own user may do anything in any case."""

    own_uid: int
    users: Mapping[int, Right] = field(default_factory=dict)
    groups: Mapping[int, Right] = field(default_factory=dict)

    def of(self, peer: Peer) -> Right:
        if peer.uid in (ROOT, self.own_uid):
            return Right.ADMIN
        granted = [right for gid, right in self.groups.items() if gid in peer.gids]
        return max(self.users.get(peer.uid, Right.NONE), *granted, Right.NONE)

    @property
    def others(self) -> bool:
        """Is there anybody besides root and the daemon's own user?"""
        return bool(self.users or self.groups)


def read_rights(own_uid: int, read: Sequence[str], event: Sequence[str], admin: Sequence[str]) -> Rights:
    """Of the lists in the settings. Raises GossipdError for a name that nobody has."""
    users: dict[int, Right] = {}
    groups: dict[int, Right] = {}
    for right, names in ((Right.READ, read), (Right.EVENT, event), (Right.ADMIN, admin)):
        for name in names:
            number = _group_number(name[1:]) if name.startswith("@") else _user_number(name)
            if number is not None:
                (groups if name.startswith("@") else users)[number] = right     # the highest comes last
            elif name != MAY_BE_MISSING:
                raise GossipdError(f"rpc.{right.word}: there is no {_what(name)}")
    return Rights(own_uid, users, groups)


def _what(name: str) -> str:
    return f"group {name[1:]}" if name.startswith("@") else f"user {name}"


def _user_number(name: str) -> int | None:
    if name.isascii() and name.isdigit():
        return int(name)
    from pwd import getpwnam

    try:
        return getpwnam(name).pw_uid
    except KeyError:
        return None


def _group_number(name: str) -> int | None:
    if name.isascii() and name.isdigit():
        return int(name)
    from grp import getgrnam

    try:
        return getgrnam(name).gr_gid
    except KeyError:
        return None
