"""`make demo`: three daemons find each other, run handlers for an event and answer a query; one is killed, noticed,
comes back; one leaves. About ten seconds.

Everything runs on loopback addresses of its own and below one temporary directory, without root, and is gone at the
end: also after Ctrl-C, a failure, or if this program is killed. Exit code 0 if all went as told, 1 if something did
not, 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from gossipd.client import ClientError
from tests.support.processes import GOSSIPCTL, ROOT, Agent, Gossipd, Lab, alive, wait_until, wait_until_all_see

SOON_S = 10.0       # what takes longer than this does not work
INTERRUPTED = 130
BOLD, DIM, RED, GREEN, YELLOW = "1", "2", "31", "32", "33"
WORDS = {"failed": RED, "left": YELLOW, "alive": GREEN}
COLORS = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def colored(text: str, color: str) -> str:
    return f"\x1b[{color}m{text}\x1b[0m" if COLORS else text


def say(text: str, color: str = "") -> None:
    print(f"  {colored(text, color) if color else text}", flush=True)


def headline(text: str) -> None:
    print(f"\n{colored('== ' + text, BOLD)}", flush=True)


def gossipctl(agent: Gossipd, *words: str) -> None:
    """What a person would type, and what comes of it."""
    say("$ gossipctl " + " ".join(words), DIM)
    environment = {**os.environ, "GOSSIPCTL_RPC": str(agent.socket)}
    done = subprocess.run([*GOSSIPCTL, *words], env=environment, cwd=ROOT, text=True,
                          stdout=subprocess.PIPE, timeout=SOON_S)
    for line in done.stdout.splitlines():
        say(line, next((color for word, color in WORDS.items() if word in line.split()), ""))
    assert done.returncode == 0, f"gossipctl {' '.join(words)}: exit code {done.returncode}"


def show(lab: Lab) -> None:
    started = time.monotonic()
    work = lab.directory / "work"
    handlers = ["--event-handler", f"user:deploy=echo \"$SERF_SELF_NAME deploys $(cat)\" >> {work}",
                "--event-handler", "query:role=echo \"$SERF_TAG_ROLE of $SERF_SELF_NAME\""]
    ana, bea, cal = (lab.gossipd(name, tags={"role": role}, options=handlers) for name, role in
                     (("ana", "web"), ("bea", "web"), ("cal", "db")))

    headline("Three daemons start; bea and cal are told where ana is")
    ana.start()
    bea.launch([ana.gossip])
    cal.launch([ana.gossip])
    for agent in (ana, bea, cal):
        agent.ready()
        say(f"{agent.name} listens at {agent.gossip}, process {agent.pid}")
    wait_until_all_see([ana, bea, cal], alive([ana, bea, cal]), SOON_S)
    say("all three see all three", GREEN)
    gossipctl(ana, "members")

    headline("An event: each node's handler script gets to work")
    say("handler: user:deploy=echo \"$SERF_SELF_NAME deploys $(cat)\"", DIM)
    gossipctl(ana, "event", "deploy", "v1.2")
    for line in handlers_work(work, 3):
        say(line, GREEN)

    headline("A query: each node's handler answers")
    say("handler: query:role=echo \"$SERF_TAG_ROLE of $SERF_SELF_NAME\"", DIM)
    gossipctl(bea, "query", "role")

    headline("cal is killed: kill -9")
    killed = crash(cal)
    notice_failure(cal, [ana, bea], killed)
    gossipctl(bea, "members")

    headline("cal comes back")
    cal.start([ana.gossip])
    wait_until_all_see([ana, bea, cal], alive([ana, bea, cal]), SOON_S)
    say("all three see all three again", GREEN)

    headline("bea leaves, which is not a failure")
    gossipctl(bea, "leave")
    assert bea.wait_for_end(SOON_S) == 0, "bea should have ended well"
    wait_until_all_see([ana, cal], {**alive([ana, cal]), "bea": "left"}, SOON_S)
    gossipctl(ana, "members")

    headline("The others leave too")
    for agent in (ana, cal):
        agent.signal(signal.SIGINT)
    assert [agent.wait_for_end(SOON_S) for agent in (ana, cal)] == [0, 0], "both should have ended well"
    say(f"done in {time.monotonic() - started:.0f} s, and nothing is left running", GREEN)


def handlers_work(path: Path, count: int) -> list[str]:
    """What the handlers wrote, once there are `count` lines."""
    wait_until(lambda: path.exists() and path.read_text().count("\n") == count, "the handlers have run", SOON_S)
    return sorted(path.read_text().splitlines())


def crash(agent: Agent) -> float:
    """When: monotonic seconds."""
    moment = time.monotonic()
    agent.kill()
    return moment


def notice_failure(lost: Agent, others: list[Gossipd], killed: float) -> None:
    """Tell how the others become sure, as they do."""
    waiting = list(others)
    suspected = False
    while waiting:
        for agent in list(waiting):
            member = agent.members()[lost.name]
            after = f"after {time.monotonic() - killed:.1f} s"
            if member.state == "suspect" and not suspected:
                suspected = True
                say(f"{agent.name} suspects {lost.name} {after}: {member.reason}", YELLOW)
            if member.status == "failed":
                waiting.remove(agent)
                say(f"{agent.name} sees {lost.name} as failed {after}: {member.reason}", RED)
        assert time.monotonic() < killed + 2 * SOON_S, f"{waiting} should have noticed"
        time.sleep(0.02)


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Lab() as lab:
        try:
            show(lab)
            return 0
        except KeyboardInterrupt:
            print("\nstopped", file=sys.stderr)
            return INTERRUPTED
        except (AssertionError, ClientError, OSError, subprocess.SubprocessError) as error:
            print(f"\n{colored('the demo failed', RED)}: {error}", file=sys.stderr)
            for title, text in lab.logs():
                print(f"\n--- {title}\n{text}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
