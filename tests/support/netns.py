"""Network namespaces without names: they last as long as this process holds them open. Needs root and `ip`.

    with Network(["a", "b"]) as net:            # hosts 10.47.0.1 and 10.47.0.2 on one bridge
        with net["a"].inside():                 # sockets made and children started here belong to host a
            ...
        net["a"].run("iptables", "-A", "INPUT", "-j", "DROP")
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_CLONE_NEWNET = 0x40000000
_OWN = "/proc/thread-self/ns/net"
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """One host with a loopback interface and, on a `Network`, eth0."""

    def __init__(self, host: str = "") -> None:
        self.host = host
        home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call(_libc.unshare(_CLONE_NEWNET))
            self.fd = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            _call(_libc.setns(home, _CLONE_NEWNET))
            os.close(home)
        self.run("ip", "link", "set", "lo", "up")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread is there, and what it makes: sockets and children."""
        home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call(_libc.setns(self.fd, _CLONE_NEWNET))
            yield
        finally:
            _call(_libc.setns(home, _CLONE_NEWNET))
            os.close(home)

    def run(self, *argv: str) -> str:
        """What the command writes. CalledProcessError if it fails."""
        with self.inside():
            path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
            return subprocess.run(argv, env={**os.environ, "PATH": path}, check=True, capture_output=True,
                                  text=True).stdout

    def close(self) -> None:
        os.close(self.fd)


class Network:
    """Hosts on one bridge, which lives in a namespace of its own."""

    def __init__(self, names: Iterable[str]) -> None:
        self._bridge = Namespace()
        self._bridge.run("ip", "link", "add", "bridge", "type", "bridge")
        self._bridge.run("ip", "link", "set", "bridge", "up")
        self._hosts = {name: self._attach(number) for number, name in enumerate(names, 1)}

    def _attach(self, number: int) -> Namespace:
        host, port = Namespace(f"10.47.0.{number}"), f"port{number}"
        there = f"/proc/{os.getpid()}/fd/{host.fd}"
        self._bridge.run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", there)
        self._bridge.run("ip", "link", "set", port, "master", "bridge", "up")
        host.run("ip", "addr", "add", f"{host.host}/24", "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")
        return host

    def second_network(self, interface: str, network: str) -> None:
        """One more interface for every host, on a bridge of its own; of the network 10.48.0, host 2 is 10.48.0.2."""
        self._bridge.run("ip", "link", "add", f"br-{interface}", "type", "bridge")
        self._bridge.run("ip", "link", "set", f"br-{interface}", "up")
        for number, host in enumerate(self._hosts.values(), 1):
            there, port = f"/proc/{os.getpid()}/fd/{host.fd}", f"{interface}-{number}"
            self._bridge.run("ip", "link", "add", port, "type", "veth", "peer", "name", interface, "netns", there)
            self._bridge.run("ip", "link", "set", port, "master", f"br-{interface}", "up")
            host.run("ip", "addr", "add", f"{network}.{number}/24", "dev", interface)
            host.run("ip", "link", "set", interface, "up")

    def remove_network(self, interface: str) -> None:
        for host in self._hosts.values():
            host.run("ip", "link", "del", interface)
        self._bridge.run("ip", "link", "del", f"br-{interface}")

    def __getitem__(self, name: str) -> Namespace:
        return self._hosts[name]

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *exception: object) -> None:
        for namespace in (*self._hosts.values(), self._bridge):
            namespace.close()


def _call(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
