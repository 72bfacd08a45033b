"""Real sockets of one process; the node is a fake."""

from __future__ import annotations

import os
import resource
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
import trio
import trio.testing

from gossipd.daemon import rpc as rpc_module
from gossipd.daemon import rpcsocket
from gossipd.daemon.engine import Engine
from gossipd.daemon.life import Life
from gossipd.daemon.rights import Rights
from gossipd.daemon.rpc import CHUNK_BYTES, LAST_WORDS_S, WRITE_STALL_S, RpcServer, run_rpc
from gossipd.daemon.rpcsocket import RpcListener, bind_rpc_tcp, bind_rpc_unix, rpc_socket_path
from gossipd.daemon.wrongkeys import WAIT_MAX_S, WAIT_S, WAITING_MAX, WrongKeys
from gossipd.effects import DEBUG, Emit, Reply
from gossipd.errors import GossipdError
from gossipd.events import MEMBER_JOIN, MemberEvent
from gossipd.rpc.connection import RECORDS_MAX as STREAM_RECORDS_MAX
from tests.shell.test_net import has_ipv6
from tests.support.fakenode import FakeNode
from tests.support.memory import MemoryNetwork
from tests.support.require import need
from tests.support.virtual import in_real_time, until

BEA = ("127.0.0.2", 7946)


class Caller:
    """A client that reads only when asked to."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, max_buffer_size=0)
        self._seq = -1

    async def send(self, command: str, body: Any = None) -> int:
        self._seq += 1
        data = msgpack.packb({"Command": command, "Seq": self._seq})
        await self.stream.send_all(data if body is None else data + msgpack.packb(body))
        return self._seq

    async def read(self) -> Any:
        """The next object; None when the daemon has hung up."""
        while True:
            try:
                return self._unpacker.unpack()
            except msgpack.OutOfData:
                try:
                    data = await self.stream.receive_some(65536)
                except trio.BrokenResourceError:
                    return None
                if not data:
                    return None
                self._unpacker.feed(data)

    async def ask(self, command: str, body: Any = None) -> Any:
        """The header of the answer."""
        await self.send(command, body)
        return await self.read()

    async def hello(self) -> Caller:
        assert (await self.ask("handshake", {"Version": 1}))["Error"] == ""
        return self


class Daemon:
    def __init__(self, engine: Engine, server: RpcServer, path: str) -> None:
        self.engine, self.server, self.path = engine, server, path
        self.node: Any = engine.node

    async def connect(self) -> Caller:
        return Caller(await trio.open_unix_socket(self.path))

    async def caller(self) -> Caller:
        return await (await self.connect()).hello()

    def happen(self, members: int = 1) -> None:
        """A member event, by way of the core."""
        self.node.on_datagram = lambda data: [Emit(MemberEvent(MEMBER_JOIN, self.node.members() * members))]
        self.engine.receive(b"x", BEA)


@asynccontextmanager
async def a_daemon(tmp_path: Path, *more: RpcListener, rights: Rights | None = None) -> AsyncIterator[Daemon]:
    path = str(tmp_path / "rpc.sock")
    listener = bind_rpc_unix(path, rights)
    port = MemoryNetwork(refuses=False).port(("127.0.0.1", 7946))
    engine = Engine(FakeNode(), port, Life(), trio.current_time, lambda: 0.0)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        server = await nursery.start(run_rpc, engine, [listener, *more])
        yield Daemon(engine, server, path)
        nursery.cancel_scope.cancel()
    listener.close()


@in_real_time
async def test_a_request_is_answered(tmp_path):
    async with a_daemon(tmp_path) as daemon:
        caller = await daemon.caller()
        assert await caller.ask("members") == {"Error": "", "Seq": 1}
        assert (await caller.read())["Members"][0]["Name"] == "ann"


@in_real_time
async def test_many_clients_are_served_and_all_hear_events(tmp_path):
    async with a_daemon(tmp_path) as daemon:
        callers = [await daemon.caller() for _ in range(200)]
        for caller in callers:
            await caller.ask("stream", {"Type": "*"})
        daemon.happen()
        for caller in callers:
            await caller.read()
            assert (await caller.read())["Event"] == "member-join"


@in_real_time
async def test_a_slow_command_is_answered_when_it_is_done(tmp_path):
    async with a_daemon(tmp_path) as daemon:
        caller, other = await daemon.caller(), await daemon.caller()
        await caller.send("force-leave", {"Node": "bea"})
        assert (await other.ask("members"))["Error"] == ""
        daemon.node.on_datagram = lambda data: [Reply(1, None, "timed out")]
        daemon.engine.receive(b"x", BEA)
        assert await caller.read() == {"Error": "timed out", "Seq": 1}


@in_real_time
async def test_requests_in_one_segment_are_answered_in_order(tmp_path):
    async with a_daemon(tmp_path) as daemon:
        caller = await daemon.caller()
        request = b"".join(msgpack.packb({"Command": "members", "Seq": seq}) for seq in range(500))
        assert len(request) > CHUNK_BYTES
        await caller.stream.send_all(request)
        for seq in range(500):
            assert (await caller.read())["Seq"] == seq
            await caller.read()


@in_real_time
async def test_a_client_that_asks_much_before_it_reads_gets_all_its_answers(tmp_path):
    requests = 4000
    async with a_daemon(tmp_path) as daemon, trio.open_nursery() as nursery:
        caller = await daemon.caller()
        nursery.start_soon(caller.stream.send_all, msgpack.packb({"Command": "members", "Seq": 5}) * requests)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(requests):
            assert await caller.read() == {"Error": "", "Seq": 5}
            assert len((await caller.read())["Members"]) == 1


@in_real_time
async def test_requests_behind_a_slow_command_wait_and_are_answered_after_it(tmp_path):
    requests = 8000
    async with a_daemon(tmp_path) as daemon, trio.open_nursery() as nursery:
        caller = await daemon.caller()
        await caller.send("force-leave", {"Node": "bea"})
        many = msgpack.packb({"Command": "stop", "Seq": 5}) + msgpack.packb({"Stop": 9})
        nursery.start_soon(caller.stream.send_all, many * requests)
        await trio.testing.wait_all_tasks_blocked()
        daemon.node.on_datagram = lambda data: [Reply(1)]
        daemon.engine.receive(b"x", BEA)
        assert await caller.read() == {"Error": "", "Seq": 1}
        for _ in range(requests):
            assert await caller.read() == {"Error": "", "Seq": 5}


@in_real_time
async def test_garbage_closes_that_client_and_no_other(tmp_path):
    async with a_daemon(tmp_path) as daemon:
        good, bad = await daemon.caller(), await daemon.caller()
        await bad.stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
        assert await bad.read() is None
        assert (await good.ask("members"))["Error"] == ""


@in_real_time
async def test_the_refusal_is_written_before_the_connection_is_closed(tmp_path):
    async with a_daemon(tmp_path) as daemon:
        caller = await daemon.connect()
        assert (await caller.ask("members"))["Error"] == "Handshake required"
        assert await caller.read() is None


@in_real_time
async def test_a_client_that_hangs_up_in_the_middle_of_a_command_leaves_nothing_behind(tmp_path):
    async with a_daemon(tmp_path) as daemon:
        caller = await daemon.caller()
        await caller.send("force-leave", {"Node": "bea"})
        await caller.stream.aclose()
        other = await daemon.caller()
        await trio.testing.wait_all_tasks_blocked()
        assert len(daemon.server.clients) == 1
        daemon.node.on_datagram = lambda data: [Reply(1)]
        daemon.engine.receive(b"x", BEA)
        assert (await other.ask("members"))["Error"] == ""


def test_a_client_that_never_reads_is_closed_and_others_do_not_notice(tmp_path):
    clock = trio.testing.MockClock()      # stands still unless told to jump, so real sockets are safe

    async def run() -> None:
        async with a_daemon(tmp_path) as daemon:
            deaf, good = await daemon.caller(), await daemon.caller()
            await deaf.ask("stream", {"Type": "*"})
            await good.ask("stream", {"Type": "*"})
            for _ in range(STREAM_RECORDS_MAX):
                daemon.happen(members=20)
                await good.read()
                assert len((await good.read())["Members"]) == 20
            clock.jump(WRITE_STALL_S - 1)
            await trio.testing.wait_all_tasks_blocked()
            assert len(daemon.server.clients) == 2
            clock.jump(1.1)
            await trio.testing.wait_all_tasks_blocked()
            assert len(daemon.server.clients) == 1
            assert (await good.ask("members"))["Error"] == ""

    trio.run(run, clock=clock, strict_exception_groups=True)


@in_real_time
async def test_a_slow_reader_gets_everything_that_was_kept_for_it(tmp_path):
    async with a_daemon(tmp_path) as daemon:
        caller = await daemon.caller()
        await caller.ask("stream", {"Type": "*"})
        for _ in range(STREAM_RECORDS_MAX):
            daemon.happen(members=20)
        for _ in range(STREAM_RECORDS_MAX):
            await caller.read()
            assert (await caller.read())["Event"] == "member-join"


@in_real_time
async def test_clients_at_once_are_limited(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(rpc_module, "CLIENTS_MAX", 3)
    monkeypatch.setattr(rpc_module, "ADMINS_MORE", 0)
    async with a_daemon(tmp_path) as daemon:
        callers = [await daemon.caller() for _ in range(3)]
        fourth = await daemon.connect()
        assert await fourth.read() is None
        assert daemon.engine.counters == {"rpc client refused": 1}
        assert "agent.ipc: Refusing client, there are 3: pid " in caplog.text
        await callers[0].stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        await daemon.caller()


@in_real_time
async def test_where_descriptors_run_out_the_log_says_why_clients_wait(tmp_path, caplog):
    async with a_daemon(tmp_path) as daemon:
        client = socket.socket(socket.AF_UNIX)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, before[1]))
        try:
            client.connect(daemon.path)
            await until(lambda: "Cannot accept clients" in caplog.text)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            client.close()
        assert "agent.ipc: Cannot accept clients: Too many open files" in caplog.text


@in_real_time
async def test_the_last_reply_is_written_when_the_daemon_ends_and_then_it_hangs_up(tmp_path):
    async with a_daemon(tmp_path) as daemon:
        caller, idle = await daemon.caller(), await daemon.caller()
        await caller.send("leave")
        await trio.testing.wait_all_tasks_blocked()
        assert daemon.engine.life.ending.is_set()
        daemon.node.on_datagram = lambda data: [Reply(1)]
        daemon.engine.receive(b"x", BEA)
        assert daemon.engine.life.over.is_set()
        with trio.fail_after(LAST_WORDS_S / 2):
            await daemon.server.close()
        assert await caller.read() == {"Error": "", "Seq": 1}
        assert await caller.read() is None and await idle.read() is None


def test_a_client_that_does_not_take_its_last_reply_delays_the_end_for_a_moment_only(tmp_path):
    clock = trio.testing.MockClock()

    async def run() -> None:
        async with a_daemon(tmp_path) as daemon, trio.open_nursery() as nursery:
            deaf = await daemon.caller()
            await deaf.ask("stream", {"Type": "*"})
            for _ in range(STREAM_RECORDS_MAX):
                daemon.happen(members=20)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(daemon.server.close)
            await trio.testing.wait_all_tasks_blocked()
            assert len(daemon.server.clients) == 1
            clock.jump(LAST_WORDS_S)
            await trio.testing.wait_all_tasks_blocked()
            assert len(daemon.server.clients) == 0

    trio.run(run, clock=clock, strict_exception_groups=True)


@in_real_time
async def test_after_the_end_began_nobody_new_is_let_in(tmp_path):
    async with a_daemon(tmp_path) as daemon:
        old = await daemon.caller()
        daemon.server.stop_accepting()
        await trio.testing.wait_all_tasks_blocked()
        new = await daemon.connect()
        await new.send("handshake", {"Version": 1})
        await trio.testing.wait_all_tasks_blocked()
        assert len(daemon.server.clients) == 1
        assert (await old.ask("members"))["Error"] == ""


@in_real_time
async def test_clients_on_tcp_must_know_the_key_and_local_ones_need_none(tmp_path):
    listener = bind_rpc_tcp("127.0.0.1:0", "secret")
    async with a_daemon(tmp_path, listener) as daemon:
        address = listener.sock.getsockname()
        caller = await Caller(await trio.open_tcp_stream(*address)).hello()
        assert (await caller.ask("members"))["Error"] == "Authentication required"
        assert (await caller.ask("auth", {"AuthKey": "secret"}))["Error"] == ""
        assert (await caller.ask("members"))["Error"] == ""
        assert (await (await daemon.caller()).ask("members"))["Error"] == ""
    listener.close()


@in_real_time
async def test_guests_make_room_when_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(rpc_module, "CLIENTS_MAX", 3)
    monkeypatch.setattr(rpc_module, "ADMINS_MORE", 0)
    async with a_daemon(tmp_path) as daemon:
        first = await daemon.caller()
        silent = [await daemon.connect() for _ in range(2)]
        await trio.testing.wait_all_tasks_blocked()
        second = await daemon.caller()
        assert await silent[0].read() is None
        third = await daemon.caller()
        for caller in (first, second, third):
            assert (await caller.ask("members"))["Error"] == ""
            await caller.read()
        assert await (await daemon.connect()).read() is None
        assert daemon.engine.counters == {"rpc client refused": 1, "rpc client closed, to make room": 2}


@in_real_time
async def test_a_little_room_is_kept_for_those_who_may_do_anything(tmp_path, monkeypatch):
    monkeypatch.setattr(rpc_module, "CLIENTS_MAX", 1)
    monkeypatch.setattr(rpc_module, "ADMINS_MORE", 1)
    async with a_daemon(tmp_path) as daemon:
        first, second = await daemon.caller(), await daemon.caller()
        for caller in (first, second):
            assert (await caller.ask("stats"))["Error"] == ""
        assert await (await daemon.connect()).read() is None


def test_clients_leave_file_descriptors_for_others(monkeypatch):
    for limit, room in ((4096, 3000), (1024, 624), (100, 1)):
        monkeypatch.setattr(rpc_module.resource, "getrlimit", lambda which, limit=limit: (limit, 9999))
        assert rpc_module.room_for_clients() == room


def test_wrong_keys_are_answered_the_later_the_more_of_them_there_are():
    told, counted = [], []

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            keys = WrongKeys(nursery, counted.append)
            began = trio.current_time()
            for client in range(3):
                assert keys.delay(1, lambda client=client: told.append((client, trio.current_time() - began)))
            assert keys.delay(3, lambda: told.append((9, trio.current_time() - began)))
        assert told == [(0, 1.0), (1, 2.0), (2, 3.0), (9, 4.0)]
        assert counted == ["rpc wrong key"] * 4
        async with trio.open_nursery() as nursery:
            keys = WrongKeys(nursery, counted.append)
            assert [keys.delay(99, lambda: None) for _ in range(WAITING_MAX + 1)] == [True] * WAITING_MAX + [False]
            began = trio.current_time()
        assert trio.current_time() - began == WAIT_MAX_S

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_client_with_a_wrong_key_waits_and_is_counted(tmp_path):
    clock = trio.testing.MockClock()      # stands still unless told to jump, so real sockets are safe

    async def run() -> None:
        listener = bind_rpc_tcp("127.0.0.1:0", "secret")
        async with a_daemon(tmp_path, listener) as daemon:
            caller = await Caller(await trio.open_tcp_stream(*listener.sock.getsockname())).hello()
            await caller.send("auth", {"AuthKey": "wrong"})
            await trio.testing.wait_all_tasks_blocked(0.02)
            clock.jump(WAIT_S)
            assert (await caller.read())["Error"] == "Invalid authentication token"
            assert daemon.engine.stats()["gossipd"]["rpc wrong key"] == "1"
            assert (await caller.ask("auth", {"AuthKey": "secret"}))["Error"] == ""
        listener.close()

    trio.run(run, clock=clock, strict_exception_groups=True)


# --- sockets ---------------------------------------------------------------------------------------------------------

def test_the_socket_is_for_its_user_only_and_goes_with_the_daemon(tmp_path):
    path = tmp_path / "run" / "rpc.sock"
    listener = bind_rpc_unix(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    listener.close()
    assert not path.exists() and path.parent.exists()


def test_a_socket_file_that_a_dead_daemon_left_is_replaced(tmp_path):
    path = str(tmp_path / "rpc.sock")
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(path)
    dead.close()
    bind_rpc_unix(path).close()


def test_the_socket_of_a_living_daemon_is_not_touched(tmp_path):
    path = str(tmp_path / "rpc.sock")
    alive = bind_rpc_unix(path)
    with pytest.raises(GossipdError, match="another daemon is listening on it"):
        bind_rpc_unix(path)
    assert os.path.exists(path)
    alive.close()


def test_a_daemon_whose_backlog_is_full_is_alive_too(tmp_path):
    path = str(tmp_path / "rpc.sock")
    busy = bind_rpc_unix(path)
    busy.sock.listen(0)
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect(path)
    with pytest.raises(GossipdError, match="another daemon is listening on it"):
        bind_rpc_unix(path)
    waiting.close()
    busy.close()


def test_a_file_that_is_no_socket_is_not_removed(tmp_path):
    path = tmp_path / "rpc.sock"
    path.write_text("precious")
    with pytest.raises(GossipdError, match="no socket is in the way"):
        bind_rpc_unix(str(path))
    assert path.read_text() == "precious"


def test_a_daemon_does_not_remove_the_socket_of_its_successor(tmp_path):
    path = str(tmp_path / "rpc.sock")
    old = bind_rpc_unix(path)
    os.unlink(path)
    new = bind_rpc_unix(path)
    old.close()
    assert os.path.exists(path)
    new.close()


def test_a_path_that_is_too_long_is_refused_in_one_line(tmp_path):
    with pytest.raises(GossipdError, match="cannot bind the RPC socket .*AF_UNIX path too long"):
        bind_rpc_unix(str(tmp_path / ("x" * 200)))


def test_a_directory_that_cannot_be_made_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GossipdError, match="cannot make the directory"):
        bind_rpc_unix(str(tmp_path / "file" / "rpc.sock"))


def test_a_users_own_directory_is_private_to_him(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    bind_rpc_unix(rpcsocket.user_socket()).close()
    assert stat.S_IMODE((tmp_path / "gossipd").stat().st_mode) == 0o700


def test_a_users_own_directory_that_others_can_write_to_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "gossipd").mkdir()
    (tmp_path / "gossipd").chmod(0o777)
    with pytest.raises(GossipdError, match="not this user's alone"):
        bind_rpc_unix(rpcsocket.user_socket())


def test_the_configured_path_wins_over_the_usual_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(rpcsocket, "SYSTEM_SOCKET", str(tmp_path / "system" / "rpc.sock"))
    assert rpc_socket_path("/a/b") == "/a/b"
    assert rpc_socket_path("") == str(tmp_path / "gossipd" / "rpc.sock")
    (tmp_path / "system").mkdir()
    assert rpc_socket_path("") == str(tmp_path / "system" / "rpc.sock")


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
def test_tcp_for_everybody_needs_a_key(address):
    with pytest.raises(GossipdError, match="set an auth key, or use a loopback address"):
        bind_rpc_tcp(address, "")


def test_tcp_for_everybody_with_a_key_is_bound():
    bind_rpc_tcp("0.0.0.0:0", "secret").close()


@in_real_time
async def test_tcp_for_everybody_takes_clients_of_both_families(tmp_path, caplog):
    need(has_ipv6(), "IPv6 sockets: no IPv6 here")
    listener = bind_rpc_tcp("[::]:0", "secret")
    with caplog.at_level(DEBUG, "gossipd.rpc"):
        async with a_daemon(tmp_path, listener):
            port = listener.sock.getsockname()[1]
            for host in ("127.0.0.1", "::1"):
                caller = await Caller(await trio.open_tcp_stream(host, port)).hello()
                assert (await caller.ask("members"))["Error"] == "Authentication required"
    listener.close()
    assert caplog.messages[0].startswith("client connected peer=127.0.0.1:")


@pytest.mark.parametrize("code", rpcsocket.NO_IPV6)
def test_without_ipv6_tcp_for_everybody_is_all_of_ipv4(monkeypatch, code):
    made = socket.socket

    def without_ipv6(family: int, kind: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(code, os.strerror(code))
        return made(family, kind)

    monkeypatch.setattr(rpcsocket.socket, "socket", without_ipv6)
    listener = bind_rpc_tcp("[::]:0", "secret")
    assert listener.sock.getsockname()[0] == "0.0.0.0"
    listener.close()
    with pytest.raises(GossipdError, match="cannot bind"):
        bind_rpc_tcp("[::1]:0", "secret")


def test_a_taken_tcp_port_is_refused_in_one_line():
    first = bind_rpc_tcp("127.0.0.1:0", "")
    port = first.sock.getsockname()[1]
    with pytest.raises(GossipdError, match=f"cannot bind the RPC address 127.0.0.1:{port}: Address already in use"):
        bind_rpc_tcp(f"127.0.0.1:{port}", "")
    first.close()
