"""Clients that want too much, say nothing, or say nonsense; real sockets, the node is a fake."""

from __future__ import annotations

import resource
import socket
from contextlib import suppress
from typing import Any

import msgpack
import pytest
import trio
import trio.testing

from gossipd.daemon import rpc as rpc_module
from gossipd.daemon.rpcsocket import bind_rpc_tcp
from gossipd.rpc.session import COMMANDS
from tests.shell.test_rpc import Caller, a_daemon
from tests.support.virtual import in_real_time, until

STREAMS = 500
GARBAGE = [b"\xc1", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, b"\xdd\xff\xff\xff\xff", b"\x81" * 2000, b"\x00" * 64,
           b"\xdb\x7f\xff\xff\xffx"]


def descriptors(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


@in_real_time
async def test_500_streams_all_get_everything_in_order(tmp_path):
    descriptors(3 * STREAMS)
    async with a_daemon(tmp_path) as daemon:
        callers = [await daemon.caller() for _ in range(STREAMS)]
        for caller in callers:
            assert (await caller.ask("stream", {"Type": "member-join"}))["Error"] == ""
        for members in (1, 2, 3):
            daemon.happen(members)
        for caller in callers:
            heard = []
            for _ in range(3):
                await caller.read()
                heard.append(len((await caller.read())["Members"]))
            assert heard == [1, 2, 3]


@in_real_time
async def test_a_client_that_takes_no_reply_any_more_is_forgotten(tmp_path):
    async with a_daemon(tmp_path) as daemon:
        caller = await daemon.caller()
        caller.stream.socket.shutdown(socket.SHUT_RD)
        with trio.move_on_after(0.3), suppress(trio.BrokenResourceError):
            while True:
                await caller.send("members")
        await caller.stream.aclose()
        await until(lambda: not daemon.server.clients)


@in_real_time
async def test_streams_of_clients_that_hang_up_in_the_middle_leave_nothing_behind(tmp_path):
    async with a_daemon(tmp_path) as daemon:
        callers = [await daemon.caller() for _ in range(40)]
        for caller in callers:
            await caller.ask("stream", {"Type": "*"})
        daemon.happen()
        for caller in callers[::2]:
            await caller.stream.aclose()
        daemon.happen()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert len(daemon.server.clients) == 20
        for caller in callers[1::2]:
            await caller.read()
            assert (await caller.read())["Event"] == "member-join"


def conversation(command: str) -> list[bytes]:
    """What a client may have said before it says garbage: nothing, a greeting, half a request, a whole one."""
    greeting = msgpack.packb({"Command": "handshake", "Seq": 0}) + msgpack.packb({"Version": 1})
    header = msgpack.packb({"Command": command, "Seq": 1})
    return [b"", greeting[:7], greeting, greeting + header[:9], greeting + header, greeting + header + b"\x83\xa4Na"]


@in_real_time
async def test_garbage_at_any_point_of_any_command_does_not_bother_others(tmp_path):
    """leave is left out: it would end the daemon."""
    async with a_daemon(tmp_path) as daemon:
        good = await daemon.caller()
        await good.ask("stream", {"Type": "*"})
        for command in sorted(set(COMMANDS) - {"leave"}):
            for said in conversation(command):
                for garbage in GARBAGE[:3] if said else GARBAGE:
                    bad = await daemon.connect()
                    await bad.stream.send_all(said + garbage)
                    await bad.stream.send_eof()
                    await drain(bad)
        daemon.happen()
        await good.read()
        assert (await good.read())["Event"] == "member-join"
        assert (await good.ask("members"))["Error"] == ""
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert len(daemon.server.clients) == 1


async def drain(caller: Any) -> None:
    try:
        while await caller.stream.receive_some(65536):
            pass
    except trio.BrokenResourceError:
        pass


@in_real_time
async def test_a_client_that_half_closes_gets_the_answers_to_what_it_asked(tmp_path):
    async with a_daemon(tmp_path) as daemon:
        caller = await daemon.caller()
        await caller.send("stats")
        await caller.stream.send_eof()
        assert (await caller.read())["Error"] == ""
        assert "agent" in await caller.read()
        assert await caller.read() is None


def test_idle_clients_stay_and_silent_ones_too_while_there_is_room(tmp_path):
    clock = trio.testing.MockClock()      # stands still unless told to jump, so real sockets are safe

    async def run() -> None:
        async with a_daemon(tmp_path) as daemon:
            idle, silent = await daemon.caller(), await daemon.connect()
            clock.jump(86400.0)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert (await idle.ask("members"))["Error"] == ""
            assert (await silent.hello()) is silent

    trio.run(run, clock=clock, strict_exception_groups=True)


@in_real_time
async def test_a_client_for_which_there_is_no_memory_is_closed_and_the_others_go_on(tmp_path, monkeypatch):
    async with a_daemon(tmp_path) as daemon:
        good, greedy = await daemon.caller(), await daemon.caller()
        take = rpc_module.Session.receive

        def too_much(session: Any, data: bytes, now: float) -> None:
            if b"greedy" in data:
                raise MemoryError
            take(session, data, now)

        monkeypatch.setattr(rpc_module.Session, "receive", too_much)
        await greedy.stream.send_all(b"greedy")
        with trio.fail_after(5.0):
            assert await greedy.stream.receive_some(100) == b""
        assert (await good.ask("stats"))["Error"] == ""


@in_real_time
async def test_clients_whose_machine_is_gone_are_noticed(tmp_path):
    """By keep-alive packets of TCP, every 15 s as Serf's agent sends them; there is no other limit on idle clients."""

    listener = bind_rpc_tcp("127.0.0.1:0", "")
    async with a_daemon(tmp_path, listener) as daemon:
        caller = await Caller(await trio.open_tcp_stream(*listener.sock.getsockname())).hello()
        (client,) = daemon.server.clients
        options = [client._sock.getsockopt(*option) for option in (
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE), (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL), (socket.IPPROTO_TCP, socket.TCP_NODELAY))]
        assert options == [1, 15, 15, 1]
        await caller.stream.aclose()
    listener.close()


@pytest.mark.parametrize("room", [5])
@in_real_time
async def test_clients_that_never_say_who_they_are_cannot_keep_others_out(tmp_path, monkeypatch, room):
    monkeypatch.setattr(rpc_module, "CLIENTS_MAX", room)
    monkeypatch.setattr(rpc_module, "ADMINS_MORE", 0)
    async with a_daemon(tmp_path) as daemon:
        silent = [await daemon.connect() for _ in range(30)]
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert len(daemon.server.clients) <= room
        good = [await daemon.caller() for _ in range(room)]
        for caller in good:
            assert (await caller.ask("stream", {"Type": "*"}))["Error"] == ""
        for caller in silent:
            assert await caller.read() is None
