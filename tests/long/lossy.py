"""Two gossipd and two Serf agents under packet loss: `python -m tests.long.lossy` (root; `make soak`).

Each lives in a network namespace of its own, on one bridge; every one drops a share of what comes in, UDP and TCP.
For the whole time nobody may be declared dead by either kind, or be missing at the end. Exit code 0 if so.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

import pytest

from tests.support.netns import Network
from tests.support.processes import Agent, Lab, Watch, alive, wait_until_all_see
from tests.support.require import need_iptables, need_serf

WHAT = "mixed clusters under packet loss"
JOIN_S, RECOVER_S = 60.0, 120.0
REPORT_S = 60.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--loss", type=float, default=0.1, help="share of packets that every host drops (0.1)")
    arguments = parser.parse_args()
    try:
        need_iptables(WHAT)
        program = need_serf(WHAT)
    except pytest.skip.Exception as error:
        print(error, file=sys.stderr)
        return 1
    names = ("g1", "g2", "s1", "s2")
    with Network(names) as net, Lab(program) as lab:
        agents: list[Agent] = [lab.gossipd(name, net[name].host, net[name].inside) for name in names[:2]]
        agents += [lab.serf(name, net[name].host, net[name].inside) for name in names[2:]]
        lab.start(*agents)
        for agent in agents[1:]:
            agent.join(agents[0].gossip)
        wait_until_all_see(agents, alive(agents), JOIN_S)
        watches = [agent.watch("member-failed", "member-leave", "member-reap") for agent in agents]
        for name in names:
            net[name].run("iptables", "-A", "INPUT", "-i", "eth0", "-m", "statistic", "--mode", "random",
                          "--probability", str(arguments.loss), "-j", "DROP")
        watch_for(agents, watches, arguments.minutes * 60.0)
        wait_until_all_see(agents, alive(agents), RECOVER_S)
        dropped = {name: net[name].run("iptables", "-vS", "INPUT").split(" -c ")[-1].split()[0] for name in names}
        print(f"packets dropped: {dropped}")
        return report(agents, watches)


def watch_for(agents: list[Agent], watches: list[Watch], seconds: float) -> None:
    """Tell the state of things now and then."""
    started = time.monotonic()
    next_report = started + REPORT_S
    while (now := time.monotonic()) < started + seconds:
        assert all(agent.running for agent in agents), "an agent ended"
        if now >= next_report:
            next_report += REPORT_S
            told = {str(watch.agent): watch.told() for watch in watches}
            print(f"{(now - started) / 60:4.1f} min: {told}", flush=True)
        time.sleep(min(1.0, started + seconds - now))


def report(agents: list[Agent], watches: list[Watch]) -> int:
    bad = 0
    for agent, watch in zip(agents, watches, strict=True):
        told = Counter(watch.told())
        bad += sum(told.values())
        marks = ("Suspect", "Refuting a suspect") if agent.kind == "serf" else ("suspects", "refuting")
        counts = {mark: agent.log_text().count(mark) for mark in marks}
        print(f"{agent}: {dict(told) or 'nobody was declared dead'}; in its log: {counts}")
    print("FAILED" if bad else "ok")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
