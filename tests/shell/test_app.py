"""The whole daemon in this process, on loopback."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest
import trio
import trio.testing

from gossipd.config.schema import (
    Config,
    EncryptionSection,
    JoinSection,
    LeaveSection,
    NetworkSection,
    NodeSection,
    RpcSection,
)
from gossipd.daemon import app, rpcsocket
from gossipd.daemon.app import Sockets
from gossipd.daemon.life import EXIT_LEFT, EXIT_STOPPED
from gossipd.daemon.net import bind_gossip
from gossipd.errors import GossipdError
from gossipd.hooks import parse_spec
from tests.shell.test_rpc import Caller
from tests.support.virtual import in_real_time

FAST = {"serf.leave_propagate_delay_s": 0.01}


def a_config(tmp_path: Path, name: str = "ann", **sections: Any) -> Config:
    return Config(node=NodeSection(name=name), network=NetworkSection(bind="127.0.0.1:0", profile="local"),
                  rpc=RpcSection(socket=str(tmp_path / f"{name}.sock")), core=FAST, **sections)


class Outcome:
    code = -1


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Outcome]:
    outcome = Outcome()

    async def run() -> None:
        outcome.code = await app.run(config)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        while not os.path.exists(config.rpc.socket):
            await trio.sleep(0.001)
        yield outcome


async def ask(config: Config, command: str, body: Any = None) -> list[Any]:
    """All objects that answer one command."""
    stream = await trio.open_unix_socket(config.rpc.socket)
    request = [{"Command": "handshake", "Seq": 0}, {"Version": 1}, {"Command": command, "Seq": 1}]
    await stream.send_all(b"".join(map(msgpack.packb, [*request, *([body] if body is not None else [])])))
    unpacker = msgpack.Unpacker(raw=False)
    answers: list[Any] = []
    wanted = 3 if command in ("members", "stats", "join") else 2
    while len(answers) < wanted:
        unpacker.feed(await stream.receive_some(65536))
        answers += list(unpacker)
    await stream.aclose()
    return answers[1:]


async def gossip_port(config: Config) -> int:
    return int((await ask(config, "members"))[1]["Members"][0]["Port"])


@in_real_time
async def test_a_daemon_answers_and_stops_at_once_on_term(tmp_path):
    config = a_config(tmp_path)
    async with running(config) as outcome:
        assert (await ask(config, "members"))[1]["Members"][0]["Name"] == "ann"
        os.kill(os.getpid(), signal.SIGTERM)
    assert outcome.code == EXIT_STOPPED and not os.path.exists(config.rpc.socket)


@in_real_time
async def test_a_daemon_leaves_on_int(tmp_path):
    async with running(a_config(tmp_path)) as outcome:
        os.kill(os.getpid(), signal.SIGINT)
    assert outcome.code == EXIT_LEFT


@in_real_time
async def test_handlers_hear_of_what_was_held_back_when_a_daemon_stops(tmp_path):
    out = tmp_path / "out"
    hook = parse_spec(f"user=cat >>{out}; echo >>{out}")
    config = replace(a_config(tmp_path, hooks=tuple(hook)),
                     core={"serf.user_period_s": 60.0, "serf.user_quiescent_s": 60.0})
    async with running(config):
        for payload in (b"first", b"held"):
            await ask(config, "event", {"Name": "deploy", "Payload": payload, "Coalesce": True})
        os.kill(os.getpid(), signal.SIGTERM)
    assert out.read_text().split() == ["first", "held"]


@in_real_time
async def test_a_leave_by_rpc_is_answered_and_ends_the_daemon(tmp_path):
    config = a_config(tmp_path)
    async with running(config) as outcome:
        assert await ask(config, "leave") == [{"Error": "", "Seq": 1}]
    assert outcome.code == EXIT_LEFT


@in_real_time
async def test_a_leave_that_takes_too_long_is_cut_off(tmp_path, caplog):
    config = a_config(tmp_path, leave=LeaveSection(timeout_s=0.01))
    config = replace(config, core={"serf.leave_propagate_delay_s": 60.0})
    async with running(config) as outcome:
        os.kill(os.getpid(), signal.SIGINT)
    assert outcome.code == EXIT_STOPPED and "leaving took longer" in caplog.text


@in_real_time
async def test_who_joins_while_handlers_hold_up_the_end_is_refused_and_the_end_is_the_same(tmp_path):
    go, done = tmp_path / "go", tmp_path / "done"
    script = f"until test -e {go}; do sleep 0.02; done; touch {done}"
    async with running(a_config(tmp_path, hooks=tuple(parse_spec(f"user={script}")))) as outcome:
        caller = await Caller(await trio.open_unix_socket(str(tmp_path / "ann.sock"))).hello()
        await caller.ask("event", {"Name": "deploy", "Payload": b"", "Coalesce": False})
        os.kill(os.getpid(), signal.SIGINT)
        await trio.sleep(0.1)       # all but the handlers and clients has ended
        answer = await caller.ask("join", {"Existing": ["127.0.0.1:1"], "Replay": False})
        go.touch()
    assert answer["Error"] == "Serf can't Join after Leave or Shutdown"
    assert outcome.code == EXIT_LEFT and done.exists()


@in_real_time
async def test_a_daemon_that_leaves_lets_no_new_client_in(tmp_path, caplog):
    config = replace(a_config(tmp_path), core={"serf.leave_propagate_delay_s": 60.0})
    with caplog.at_level(logging.INFO, "gossipd"):
        async with running(config) as outcome:
            os.kill(os.getpid(), signal.SIGINT)
            while "leaving the cluster" not in caplog.text:
                await trio.sleep(0.001)
            await trio.testing.wait_all_tasks_blocked()
            late = await trio.open_unix_socket(config.rpc.socket)
            await late.send_all(msgpack.packb({"Command": "members", "Seq": 1}))
            await trio.testing.wait_all_tasks_blocked()
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(trio.BrokenResourceError):   # reset: nobody took the connection
                await late.receive_some(100)
    assert outcome.code == EXIT_STOPPED


@in_real_time
async def test_two_daemons_join_by_rpc(tmp_path):
    ann, bea = a_config(tmp_path), a_config(tmp_path, "bea")
    async with running(ann), running(bea):
        seed = f"127.0.0.1:{await gossip_port(ann)}"
        answer = await ask(bea, "join", {"Existing": [seed], "Replay": False})
        assert answer == [{"Error": "", "Seq": 1}, {"Num": 1}]
        for config in (ann, bea):
            names = {member["Name"] for member in (await ask(config, "members"))[1]["Members"]}
            assert names == {"ann", "bea"}
        for config in (ann, bea):
            await ask(config, "leave")


@in_real_time
async def test_a_daemon_joins_its_seeds_and_says_what_it_sees(tmp_path, caplog):
    ann = a_config(tmp_path)
    with caplog.at_level(logging.INFO, "gossipd"):
        async with running(ann):
            bea = a_config(tmp_path, "bea", join=JoinSection(seeds=(f"127.0.0.1:{await gossip_port(ann)}",)))
            async with running(bea):
                while len((await ask(ann, "members"))[1]["Members"]) < 2:
                    await trio.sleep(0.001)
                await ask(bea, "leave")
            await ask(ann, "leave")
    assert "member-join name=bea" in caplog.text and "member-leave name=bea" in caplog.text


@in_real_time
async def test_the_service_manager_hears_ready_when_the_sockets_answer(tmp_path, monkeypatch):
    manager = trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    await manager.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    config = a_config(tmp_path)
    async with running(config):
        assert (await manager.recv(1000)).decode().startswith("READY=1\n")
        await ask(config, "stats")
        os.kill(os.getpid(), signal.SIGTERM)
    assert (await manager.recv(1000)).decode().startswith("STOPPING=1\n")
    manager.close()


@in_real_time
async def test_a_start_that_fails_halfway_leaves_nothing_bound(tmp_path):
    (tmp_path / "file").write_text("")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    config = replace(a_config(tmp_path), network=NetworkSection(bind=f"127.0.0.1:{address[1]}"),
                     rpc=RpcSection(socket=str(tmp_path / "file" / "s")))
    with pytest.raises(GossipdError, match="cannot make the directory") as held:
        Sockets(config)
    for one in bind_gossip(address):
        one.close()
    assert held.value.__traceback__ is not None     # what failed is not closed by being forgotten


@in_real_time
async def test_a_second_daemon_of_a_user_can_do_with_tcp_alone(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(rpcsocket, "SYSTEM_SOCKET", "/nonexistent/rpc.sock")
    alone = replace(a_config(tmp_path), rpc=RpcSection())
    first = Sockets(alone)
    with pytest.raises(GossipdError, match="another daemon is listening"):
        Sockets(alone)
    second = Sockets(replace(alone, rpc=RpcSection(tcp="127.0.0.1:0")))
    assert "clients must use TCP" in caplog.text and len(second.rpc) == 1
    with pytest.raises(GossipdError, match="another daemon is listening"):
        Sockets(replace(alone, rpc=RpcSection(tcp="127.0.0.1:0", socket=first.rpc[0].path)))
    first.close()
    second.close()


def test_a_keyring_that_cannot_be_read_is_an_error_for_people(tmp_path):
    config = a_config(tmp_path, encryption=EncryptionSection(keyring_file="/nonexistent/keyring"))
    with pytest.raises(GossipdError, match=r"/nonexistent/keyring"):
        trio.run(app.run, config, strict_exception_groups=True)
    assert not os.path.exists(config.rpc.socket)
