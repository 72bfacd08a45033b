"""States of 300 members, by push/pull between the kinds. The members are one process that acks every ping."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.interop.clusters import JOIN_S, VARIANTS
from tests.support.fake_members import name_of, port_of, tags_of
from tests.support.processes import GOSSIP_PORT, Agent, Lab, free_host, wait_until
from tests.support.require import need_serf

COUNT = 300


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(need_serf("push/pull of a large state with Serf")) as lab:
        yield lab


def start_fakes(lab: Lab, key: str) -> str:
    """Where to join them."""
    host = free_host()
    process = lab.spawn("fakes", [sys.executable, "-m", "tests.support.fake_members", "--host", host, "--count",
                                  str(COUNT), *(["--key", key] if key else [])])
    log = lab.directory / "fakes.log"
    wait_until(lambda: "ready" in log.read_text() or process.poll() is not None, "the fakes are ready", JOIN_S)
    assert process.poll() is None, log.read_text()
    return f"{host}:{GOSSIP_PORT}"


def knows_all(agent: Agent, fakes: str, *others: Agent) -> bool:
    host = fakes.partition(":")[0]
    expected = {name_of(number): (f"{host}:{port_of(number)}", "alive", tags_of(number)) for number in range(COUNT)}
    seen = {name: (member.address, member.status, member.tags) for name, member in agent.members().items()}
    return seen == {**expected, **{one.name: (one.gossip, "alive", {}) for one in (agent, *others)}}


@pytest.mark.parametrize("variant", [VARIANTS[0], VARIANTS[3]], ids=lambda variant: variant.name)
def test_a_state_of_300_members_from_serf_is_merged_and_passed_on(lab, variant):
    key = variant.key
    fakes = start_fakes(lab, key)
    settings = {"network": {"compression": variant.gossipd_compresses}}
    ours = lab.gossipd("ours", key=key, settings=settings)
    old, young = lab.serf("old", key=key), lab.serf("young", key=key)
    lab.start(old, ours, young)
    old.join(fakes)
    wait_until(lambda: knows_all(old, fakes), "Serf has the state", JOIN_S)

    ours.join(old.gossip)
    wait_until(lambda: knows_all(ours, fakes, old), "gossipd has Serf's state", JOIN_S)
    young.join(ours.gossip)
    wait_until(lambda: knows_all(young, fakes, old, ours), "another Serf agent has gossipd's state", JOIN_S)
    assert "refused input" not in ours.log_text()
