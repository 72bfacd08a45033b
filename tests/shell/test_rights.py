"""The kernel's word for who connects, and what the settings make of it."""

from __future__ import annotations

import os
import socket
import stat

import pytest
import trio

from gossipd.client import Client, ClientError
from gossipd.config.schema import Config
from gossipd.config.toml import load
from gossipd.daemon.rights import Peer, Rights, peer_of, read_rights
from gossipd.daemon.rpcsocket import bind_rpc_unix
from gossipd.effects import Reply
from gossipd.errors import ConfigError, GossipdError
from gossipd.rpc.rights import Right
from tests.shell.test_rpc import a_daemon
from tests.support.require import need_root
from tests.support.virtual import in_real_time

OWN, ANN, BEA, STAFF, OPS = 990, 1001, 1002, 50, 60


def a_peer(uid: int, *gids: int) -> Peer:
    return Peer(1, uid, frozenset(gids))


def test_root_and_the_daemons_own_user_may_do_anything_and_others_nothing():
    rights = Rights(OWN)
    assert rights.of(a_peer(0, 0)) is rights.of(a_peer(OWN, 5)) is Right.ADMIN
    assert rights.of(a_peer(ANN, 0, OWN)) is Right.NONE
    assert not rights.others


def test_users_and_groups_get_the_highest_right_that_is_given_to_them():
    rights = read_rights(OWN, ["1001", "@50"], ["1001", "1002"], ["@60"])
    assert rights.others
    assert rights.of(a_peer(ANN, ANN)) is Right.EVENT
    assert rights.of(a_peer(1003, 1003, STAFF)) is Right.READ
    assert rights.of(a_peer(BEA, BEA, STAFF)) is Right.EVENT
    assert rights.of(a_peer(ANN, ANN, OPS, STAFF)) is Right.ADMIN
    assert rights.of(a_peer(STAFF, ANN)) is Right.NONE, "a user is no group"


def test_names_are_looked_up():
    assert read_rights(OWN, ["daemon", "@daemon"], [], []) == Rights(OWN, {1: Right.READ}, {1: Right.READ})


@pytest.mark.parametrize(("name", "message"), [
    ("nobody-like-that", "rpc.event: there is no user nobody-like-that"),
    ("@no-such-group", "rpc.event: there is no group no-such-group"),
])
def test_a_name_that_nobody_has_is_refused(name, message):
    with pytest.raises(GossipdError, match=message):
        read_rights(OWN, [], [name], [])


def test_without_settings_a_group_of_gossipctl_may_do_anything_if_there_is_one(monkeypatch):
    defaults = Config().rpc
    assert (defaults.read, defaults.event, defaults.admin) == ((), (), ("@gossipctl",))
    monkeypatch.setattr("gossipd.daemon.rights._group_number", {"gossipctl": 77}.get)
    assert read_rights(OWN, *lists(defaults)) == Rights(OWN, {}, {77: Right.ADMIN})
    monkeypatch.setattr("gossipd.daemon.rights._group_number", {}.get)
    assert not read_rights(OWN, *lists(defaults)).others


def lists(section):     # type: ignore[no-untyped-def]
    return section.read, section.event, section.admin


def test_the_settings_name_them(tmp_path):
    file = tmp_path / "rights.toml"
    file.write_text('[rpc]\nread = ["ann", "@50"]\nadmin = []\n')
    assert lists(load([str(file)]).rpc) == (("ann", "@50"), (), ())
    file.write_text("[rpc]\nread = [0]\n")
    with pytest.raises(ConfigError, match="rpc.read: expected a list of users and @groups"):
        load([str(file)])


def test_the_kernel_knows_process_user_and_groups():
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        peer = peer_of(ours)
    assert (peer.pid, peer.uid) == (os.getpid(), os.getuid())
    assert peer.gids >= {os.getgid(), *os.getgroups()}


def test_everybody_may_connect_only_if_somebody_else_has_a_right(tmp_path):
    for rights, mode in ((Rights(os.getuid()), 0o600), (Rights(os.getuid(), {ANN: Right.READ}), 0o666)):
        listener = bind_rpc_unix(str(tmp_path / "rpc.sock"), rights)
        assert stat.S_IMODE((tmp_path / "rpc.sock").stat().st_mode) == mode
        listener.close()


def as_user(uid: int, groups: list[int], path: str) -> str:
    """What another user hears who asks for the members and sends an event: names, errors."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(groups)
            os.setgid(uid)
            os.setuid(uid)
            os.write(writing, _tell(path).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(child, 0)
    return said


def _tell(path: str) -> str:
    said = []
    try:
        with Client(path) as client:
            for call in (client.members, lambda: client.send_event("deploy"), lambda: client.force_leave("x")):
                try:
                    call()
                    said.append("ok")
                except ClientError as error:
                    said.append(str(error))
    except ClientError as error:
        said.append(str(error))
    return "; ".join(said)


@in_real_time
async def test_other_users_may_do_what_the_settings_say_and_hear_which_right_they_lack(tmp_path):
    need_root("rights of other users on the unix socket")
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    rights = Rights(0, {ANN: Right.READ}, {OPS: Right.EVENT})
    async with a_daemon(tmp_path, rights=rights) as daemon:
        daemon.node.on_command = lambda command: [Reply(command.id)]

        async def hears(uid: int, *groups: int) -> str:
            return await trio.to_thread.run_sync(as_user, uid, list(groups), daemon.path)

        lacks_admin = "Permission denied: force-leave needs the right admin"
        lacks_event = "Permission denied: event needs the right event"
        assert await hears(ANN) == f"ok; {lacks_event}; {lacks_admin}"
        assert await hears(BEA, STAFF, OPS) == f"ok; ok; {lacks_admin}"
        lacks_read = "Permission denied: members-filtered needs the right read"
        assert await hears(BEA, STAFF) == f"{lacks_read}; {lacks_event}; {lacks_admin}"
        assert await hears(0) == "ok; ok; ok"
