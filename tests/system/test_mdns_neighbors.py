"""gossipd shares port 5353 with the host's own responders: real avahi and systemd-resolved, started before or after."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from gossipd.mdns.messages import AAAA, PTR, A, Packet, Question, Record, decode, encode
from gossipd.mdns.service import Service
from tests.support.bridge import FIND_S, GROUP, GROUP_V6, WHAT, Bridge, seen, wait_until_together
from tests.support.processes import ROOT, spawn, wait_until
from tests.support.require import find_program, need

AVAHI, RESOLVED = ROOT / ".venv/avahi", ROOT / ".venv/resolved"
NAME = (b"neighbor", b"local")      # what both answer for


@contextmanager
def neighbor(net: Bridge, at: str, user: str, setup: str, program: str, libraries: list[Path]) -> Iterator[None]:
    """A daemon of the system on that host, with a /run, a host name and a `user` of its own."""
    directory = net.lab.directory
    users, groups = directory / "passwd", directory / "group"
    users.write_text(f"root:x:0:0::/:/bin/sh\n{user}:x:998:998::/:/bin/sh\n")
    groups.write_text(f"root:x:0:\n{user}:x:998:\n")
    run = (f"mount -t tmpfs none /run && mount --bind {users} /etc/passwd && mount --bind {groups} /etc/group "
           f"&& hostname {NAME[0].decode()} && {setup} "
           f"&& export LD_LIBRARY_PATH={':'.join(map(str, libraries))} && exec {program}")
    process = spawn(["unshare", "--mount", "--uts", "sh", "-ec", run], directory / "neighbor.log", net[at].inside)
    try:
        yield
        assert process.poll() is None, "it still runs"
    finally:
        process.kill()
        process.wait()


def avahi(net: Bridge, at: str):
    program = find_program("avahi-daemon") or find_program("avahi-daemon", str(AVAHI / "usr/sbin"))
    need(program, f"{WHAT} beside avahi: no program avahi-daemon")
    config = net.lab.directory / "avahi.conf"
    config.write_text("[server]\nenable-dbus=no\nallow-interfaces=eth0\n")
    return neighbor(net, at, "avahi", "mkdir /run/avahi-daemon",
                    f"{program} --no-drop-root --no-chroot --no-rlimits -f {config}",
                    list((AVAHI / "usr/lib").glob("*-linux-*")))


def resolved(net: Bridge, at: str):
    """As networkd would configure it: multicast DNS on eth0."""
    place = "lib/systemd"
    program = find_program("systemd-resolved", f"/{place}:/usr/{place}:{RESOLVED / place}:{RESOLVED / 'usr' / place}")
    need(program, f"{WHAT} beside systemd-resolved: no program systemd-resolved")
    config = net.lab.directory / "resolved.conf"
    config.write_text("[Resolve]\nMulticastDNS=yes\nLLMNR=no\nDNSStubListener=no\n")
    with net[at].inside():
        index = socket.if_nametoindex("eth0")
    setup = ("mkdir -p /run/systemd/resolved.conf.d /run/systemd/resolve/netif "
             f"&& cp {config} /run/systemd/resolved.conf.d/test.conf "
             f"&& echo MDNS=yes >/run/systemd/resolve/netif/{index} && chown -R 998:998 /run/systemd/resolve "
             "&& export SYSTEMD_LOG_LEVEL=debug SYSTEMD_LOG_TARGET=console")
    return neighbor(net, at, "systemd-resolve", setup, program,
                    list((RESOLVED / "usr/lib").glob("*-linux-*/systemd")))


def ask(net: Bridge, at: str, question: Question, v6: bool = False) -> list[Record]:
    """What the network answers within a second, to the asker alone."""
    with net[at].inside(), socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1.0)
        index = socket.if_nametoindex("eth0")
        sock.sendto(encode(Packet(questions=[question])), (GROUP_V6, 5353, 0, index) if v6 else GROUP)
        with suppress(TimeoutError):
            return decode(sock.recv(9000)).records
    return []


def sharers(net: Bridge, at: str) -> set[str]:
    """The programs that have port 5353 there."""
    with net[at].inside():
        lines = subprocess.run(["ss", "-Hlunp", "sport = :5353"], capture_output=True, text=True, check=True).stdout
    return {part.split('"')[1] for part in lines.split() if part.startswith('users:(("')}


@pytest.mark.parametrize("first", ["neighbor", "gossipd"])
@pytest.mark.parametrize("program", [avahi, resolved])
def test_it_and_gossipd_on_the_same_host_do_not_disturb_each_other(bridge, program, first):
    def it_answers(v6: bool = False) -> bool:
        found = ask(net, "b", Question(NAME, AAAA if v6 else A), v6)
        return bool(found) and all(record.name == NAME for record in found)

    net = bridge("a", "b")
    g1, g2 = net.gossipd("g1", "a"), net.gossipd("g2", "b")
    if first == "gossipd":
        g1.start()
        wait_until(lambda: sharers(net, "a"), "gossipd listens", FIND_S)
    with program(net, "a"):
        wait_until(it_answers, "it answers", FIND_S)
        if first == "neighbor":
            g1.start()
        g2.start()
        wait_until_together(g1, g2)
        assert len(sharers(net, "a")) == 2
        assert list(seen(g1)) == ["g2"] and list(seen(g2)) == ["g1"]
        wait_until(it_answers, "it still answers", FIND_S)
        wait_until(lambda: it_answers(v6=True), "and by IPv6", FIND_S)
        for v6 in (False, True):
            wait_until(lambda v6=v6: ask(net, "b", Question(Service("app", "g1", ("10.47.0.1", 7946)).name, PTR), v6),
                       "gossipd answers", FIND_S)
        log = (net.lab.directory / "neighbor.log").read_text()
        assert not re.search(r"(?i)(detected|found|name) conflict|neighbor-?2", log)
