"""Handlers of gossipd and of a Serf agent, given the same script: what it finds, and what it holds up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from gossipd.client import Client, ClientError
from tests.support.processes import Agent, Lab, Watch, wait_until
from tests.support.require import need_serf

DUMP = """\
to="{directory}/$SERF_EVENT-$SERF_USER_EVENT$SERF_QUERY_NAME"
tr '\\0' '\\n' </proc/$$/environ | LC_ALL=C sort >"$to.environment"
cat >"$to.new"; mv "$to.new" "$to.input"
"""
TAGS = {"role": "a b", "a-b": "1,2=3", "9z": "tab\there\nand line", "ümlaut": "ö", "raw": "\udcff\udcfe", "empty": ""}
EVENTS: list[tuple[str, bytes | None]] = [
    ("plain", b"v2"), ("line", b"v2\n"), ("none", None), ("empty", b""), ("bytes", b"\0\xff\n\0"), ("ä b", b"\t"),
    ("long", b"x" * 400),
]
HUNG_S = 4.0
SOON_S = 1.5        # of an answer that nothing holds up; Serf's comes after HUNG_S


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(need_serf("handlers compared with Serf's")) as made:
        yield made


def start(lab: Lab, kind: str, handlers: list[str], tags: dict[str, str] | None = None) -> Agent:
    """An agent of this kind, alone in its cluster."""
    if kind == "gossipd":
        options = [word for handler in handlers for word in ("--event-handler", handler)]
        agent: Agent = lab.gossipd(f"the-{kind}", tags=tags, options=options)
    else:
        agent = lab.serf(f"the-{kind}", tags=tags, options=[f"-event-handler={handler}" for handler in handlers])
    lab.start(agent)
    return agent


def ask(client: Client) -> None:
    """For as long as the agent runs."""
    with suppress(ClientError):
        list(client.query("ask", b"how"))


def dumped(lab: Lab, kind: str) -> dict[str, list[bytes]]:
    """What the script found, file by file in lines, once it ran for everything; without what must differ."""
    directory = lab.directory / f"dumps-{kind}"
    directory.mkdir()
    agent = start(lab, kind, [f"member-join,user,query={DUMP.format(directory=directory)}"], TAGS)
    client = agent.client()
    for name, payload in EVENTS:
        client.send_event(name, payload, coalesce=False)
    Thread(target=ask, args=[client], daemon=True).start()
    wait_until(lambda: len(list(directory.glob("*.input"))) == len(EVENTS) + 2, f"{agent} ran its handlers", 15.0)
    return {path.name: lines(path, agent) for path in directory.iterdir()}


def lines(path: Path, agent: Agent) -> list[bytes]:
    content = path.read_bytes().replace(agent.host.encode(), b"HOST").replace(agent.name.encode(), b"NAME")
    if path.name == "member-join-.input":       # in Serf the tags have no order
        start, tab, tags = content.rstrip(b"\n").rpartition(b"\t")
        assert tab
        # "," in a tag's value divides too, but alike for both
        return [start, *sorted(tags.split(b","))]
    return content.split(b"\n")


def test_a_script_finds_the_same_environment_and_input_byte_for_byte(lab):
    ours, serfs = dumped(lab, "gossipd"), dumped(lab, "serf")
    assert ours.keys() == serfs.keys()
    for name in ours:
        assert ours[name] == serfs[name], name
    assert b"SERF_TAG_RAW=\xff\xfe" in ours["user-plain.environment"]
    assert ours["user-bytes.input"] == [b"\0\xff", b"\0", b""]


@pytest.mark.parametrize(("kind", "held_up"), [("gossipd", False), ("serf", True)])
def test_a_hung_handler_holds_up_everything_in_serf_and_nothing_in_gossipd(lab, kind, held_up):
    quick = lab.directory / "quick"
    agent = start(lab, kind, [f"user:hang=sleep {HUNG_S}", f"user:quick=echo x >>{quick}", "query:who=echo me"])
    watch, client, began = Watch(agent, ("user",)), agent.client(), time.monotonic()
    heard: dict[str, float] = {}

    def ask() -> None:
        with suppress(ClientError):
            for part in agent.client().query("who", timeout_s=HUNG_S + 3.0):
                heard.setdefault("ack" if part.ack else "answer", time.monotonic() - began)

    client.send_event("hang", coalesce=False)
    Thread(target=ask, daemon=True).start()
    client.send_event("quick", coalesce=False)
    wait_until(lambda: quick.exists(), f"{agent} handled the event", HUNG_S + 5.0)
    handled_s = time.monotonic() - began
    wait_until(lambda: "answer" in heard, f"{agent} answered", HUNG_S + 5.0)
    streamed_s = next(at for at, event in watch.events if event.name == "quick") - began
    assert heard["ack"] < SOON_S
    assert [seconds > SOON_S for seconds in (handled_s, heard["answer"], streamed_s)] == [held_up] * 3
