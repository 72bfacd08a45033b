"""The Python client for trio with live daemons: gossipd by its socket and by TCP, and Serf's agent."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import trio

from gossipd.trioclient import Client, ClientError, ConnectionLost, JoinFailed
from tests.support.processes import ROOT, Agent, Lab, alive, wait_until_all_see
from tests.support.require import need_serf

JOIN_S = 15.0
EXAMPLE = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python-client.md").read_text(), re.S)[-1]
Where = tuple[Agent, str]


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, Agent]]:
    with Lab(need_serf("the client for trio with Serf's agent")) as lab:
        agents: dict[str, Agent] = {
            "g1": lab.gossipd("g1", tags={"role": "web"}), "s1": lab.serf("s1", tags={"role": "db"})}
        lab.start(*agents.values())
        agents["g1"].join(agents["s1"].gossip)
        wait_until_all_see(agents.values(), alive(agents.values()), JOIN_S)
        yield agents


@pytest.fixture(params=["gossipd by its socket", "gossipd by TCP", "Serf by TCP"])
def where(request, cluster) -> Where:
    agent = cluster["s1" if request.param.startswith("Serf") else "g1"]
    return agent, agent.rpc if request.param.endswith("TCP") else agent.rpc_own


def run(test, *args):   # type: ignore[no-untyped-def]
    async def in_time() -> None:
        with trio.fail_after(30):
            await test(*args)

    trio.run(in_time, strict_exception_groups=True)


def test_members_tags_statistics_and_what_is_refused(where):
    async def main(agent, address):
        async with Client(address) as client:
            assert [member.name for member in await client.members(status="alive")] == ["g1", "s1"]
            assert [member.name for member in await client.members(tags={"role": "d."})] == ["s1"]
            assert (await client.stats())["agent"] == {"name": agent.name}
            await client.change_tags({"by": "trio"})
            assert (await client.stats())["tags"]["by"] == "trio"
            await client.change_tags(delete=["by"])
            assert await client.coordinate("nosuch") is None
            await client.force_leave("nosuch")
            with pytest.raises(JoinFailed) as failed:
                await client.join(["127.0.0.1:1"])
            assert failed.value.reasons == [
                "Failed to join 127.0.0.1: dial tcp 127.0.0.1:1: connect: connection refused"]
            size = ": 600 bytes" if agent.kind == "gossipd" else ""
            with pytest.raises(ClientError, match=f"^user event exceeds .* of 512 bytes before encoding{size}$"):
                await client.send_event("big", bytes(597))
            result = await client.list_keys()
            assert (result.error, result.nodes) == ("2/2 nodes reported failure", 2)
            assert result.messages["s1"] == "Keyring is empty (encryption not enabled)"
            with pytest.raises(ConnectionLost):
                await client.members(name="(")

    run(main, *where)


def test_events_queries_answers_and_the_log_at_once(where):
    async def answer(client, asked):
        events = await client.events("query:load", "user:deploy")
        asked.set()
        async for event in events:
            if event.kind == "query":
                await client.respond(event, b"0.5")
            else:
                assert event.payload == b"\xff"
                await events.aclose()
                return

    async def main(agent, address):
        async with Client(address) as client:
            lines = await client.logs("debug")
            async with trio.open_nursery() as nursery:
                asked = trio.Event()
                nursery.start_soon(answer, client, asked)
                await asked.wait()
                await client.stats()    # Serf's agent answers first and subscribes then, but before the next request
                query = await client.query("load", b"x", timeout_s=2.0)
                heard = [(one.node, one.payload) async for one in query if not one.ack]
                assert heard == [(agent.name, b"0.5")] and sorted(query.acked) == ["g1", "s1"]
                assert query.silent == ([] if agent.kind == "gossipd" else None)
                await client.send_event("deploy", b"\xff", coalesce=False)
            assert await lines.__anext__()

    run(main, *where)


def test_many_tasks_share_the_connection(where):
    async def main(agent, address):
        async def ask():
            for _ in range(5):
                assert len(await client.members()) == 2 and (await client.stats())["agent"]["name"] == agent.name

        async with Client(address) as client, trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)

    run(main, *where)


def test_the_example_of_the_document_works_as_it_stands(where):
    agent, address = where
    assert EXAMPLE.count("Client()") == 1
    code = EXAMPLE.replace("Client()", f"Client({address!r})")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["g1", "s1"]
    assert "user [] deploy b'v1.2'" in lines and {"g1 got it", "s1 got it"} <= set(lines)
    assert lines[-1].endswith(" []")


def test_when_the_agent_goes_iteration_ends():
    async def main(agent):
        async with Client(agent.rpc) as client:
            events = await client.events()
            agent.kill()
            with pytest.raises(ConnectionLost, match="the daemon closed the connection"):
                async for _ in events:
                    pass

    with Lab(need_serf("the client for trio with a Serf agent that ends")) as lab:
        for agent in (lab.gossipd("g2"), lab.serf("s2")):
            agent.start()
            run(main, agent)
