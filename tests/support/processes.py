"""Real agents for tests: gossipd and Serf processes, each at an address of its own, gone with whoever made them.

A `Lab` holds the agents of one test or module. Nothing here sleeps for a fixed time: `wait_until` polls up to a limit.
Needs no pytest: `make demo` uses it too.
"""

from __future__ import annotations

import ctypes
import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar

from gossipd.client import Client, ClientError, Event, Member

ROOT = Path(__file__).resolve().parent.parent.parent
GOSSIP_PORT, RPC_PORT = 7946, 7373
GOSSIPCTL = (sys.executable, "-c", "import sys; from gossipd.ctl.main import main; sys.exit(main())")
START_S = 20.0          # from exec to RPC on a machine that has other things to do
POLL_S = 0.02
LOG_TAIL_BYTES = 12000
SHORT_MAX = 60
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")
Place = Callable[[], AbstractContextManager[object]]
"""Enters the network namespace in which something should happen; `nullcontext` for our own."""


def wait_until(condition: Callable[[], T], what: str | Callable[[], str], within_s: float) -> T:
    """The first true result of `condition`. AssertionError with `what` if there is none in time."""
    deadline = time.monotonic() + within_s
    while not (result := condition()):
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {within_s:g} s: {what() if callable(what) else what}")
        time.sleep(POLL_S)
    return result


def free_host(rng: random.Random | None = None) -> str:
    """A loopback address where nobody uses the ports of an agent. Not reserved: take it soon."""
    rng = rng or random.Random()
    for _ in range(1000):
        host = f"127.{rng.randint(64, 250)}.{rng.randint(0, 250)}.{rng.randint(2, 250)}"
        if _is_free(host):
            return host
    raise RuntimeError("no loopback address has its ports free")


def _is_free(host: str) -> bool:
    wanted = ((socket.SOCK_DGRAM, GOSSIP_PORT), (socket.SOCK_STREAM, GOSSIP_PORT), (socket.SOCK_STREAM, RPC_PORT))
    for kind, port in wanted:
        with socket.socket(socket.AF_INET, kind) as sock, suppress(OSError):
            sock.bind((host, port))
            continue
        return False
    return True


def die_with_parent() -> None:
    """In a child, between fork and exec: be killed when the process that made it ends, however that happens."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def spawn(argv: list[str], log: Path, place: Place = nullcontext) -> subprocess.Popen[bytes]:
    """A child that dies with us, in a process group of its own, its output appended to `log`."""
    with log.open("ab") as output, place():
        return subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                start_new_session=True, preexec_fn=die_with_parent)


class Agent:
    """One member of a cluster, running or not. Subclasses know how their kind is started."""

    kind = ""

    def __init__(self, name: str, host: str, directory: Path, place: Place) -> None:
        self.name, self.host, self.place = name, host, place
        self.directory = directory
        self.log = directory / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def gossip(self) -> str:
        return f"{self.host}:{GOSSIP_PORT}"

    @property
    def rpc(self) -> str:
        """The TCP address that clients of Serf use; in a namespace of its own, that namespace's loopback."""
        return f"{self.host if self.host.startswith('127.') else '127.0.0.1'}:{RPC_PORT}"

    @property
    def rpc_own(self) -> str:
        """What `client` connects to."""
        return self.rpc

    def argv(self, join: Iterable[str]) -> list[str]:
        raise NotImplementedError

    # life

    def launch(self, join: Iterable[str] = ()) -> None:
        """Begin to start; `ready` waits for the rest."""
        assert not self.running, f"{self} runs already"
        self.process = spawn(self.argv(join), self.log, self.place)

    def ready(self) -> None:
        wait_until(self._answers, f"{self} answers its RPC", START_S)

    def start(self, join: Iterable[str] = ()) -> None:
        self.launch(join)
        self.ready()

    def _answers(self) -> bool:
        assert self.running, f"{self} ended while it started:\n{self.log_tail()}"
        try:
            with self.client() as client:
                return self.name in [member.name for member in client.members()]
        except ClientError:
            return False

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self} was never started"
        return self.process.pid

    def signal(self, number: int) -> None:
        assert self.process is not None, f"{self} was never started"
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self.running:
            self.signal(signal.SIGKILL)
            self.wait_for_end(10.0)

    def wait_for_end(self, within_s: float) -> int:
        """The exit code."""
        assert self.process is not None
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self} still runs after {within_s:g} s") from None

    # questions

    def client(self, timeout_s: float = 30.0) -> Client:
        with self.place():
            return Client(self.rpc_own, timeout_s=timeout_s)

    def members(self) -> dict[str, Member]:
        with self.client() as client:
            return {member.name: member for member in client.members()}

    def statuses(self) -> dict[str, str]:
        return {name: member.status for name, member in self.members().items()}

    def join(self, *addresses: str) -> int:
        with self.client() as client:
            return client.join(list(addresses))

    def set_tags(self, changes: dict[str, str], delete: Iterable[str] = ()) -> None:
        with self.client() as client:
            client.change_tags(changes, list(delete))

    def watch(self, *kinds: str) -> Watch:
        return Watch(self, kinds)

    def rss_bytes(self) -> int:
        fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * 4096

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def log_tail(self) -> str:
        text = self.log_text()
        return text if len(text) <= LOG_TAIL_BYTES else "...\n" + text[-LOG_TAIL_BYTES:].partition("\n")[2]


class Gossipd(Agent):
    """`settings` are a configuration file's, by section and key; `options` are further flags."""

    kind = "gossipd"

    def __init__(self, name: str, host: str, directory: Path, place: Place, *, tags: Mapping[str, str] | None = None,
                 key: str = "", settings: Mapping[str, Mapping[str, Any]] | None = None,
                 python: str = sys.executable, options: Iterable[str] = ()) -> None:
        super().__init__(name, host, directory, place)
        self.socket = directory / f"{name}.sock"
        self._tags, self._key, self._python, self._options = dict(tags or {}), key, python, list(options)
        self.config = directory / f"{name}.toml"
        self.config.write_text("".join(
            f"[{section}]\n" + "".join(f"{setting} = {json.dumps(value)}\n" for setting, value in values.items())
            for section, values in (settings or {}).items()))

    @property
    def rpc_own(self) -> str:
        return str(self.socket)

    def argv(self, join: Iterable[str]) -> list[str]:
        flags = ["--config", str(self.config), "--node", self.name, "--bind", self.gossip,
                 "--rpc-addr", self.rpc, "--rpc-socket", str(self.socket)]
        flags += ["--encrypt-key", self._key] if self._key else []
        flags += [word for key, value in self._tags.items() for word in ("--tag", f"{key}={value}")]
        flags += [word for address in join for word in ("--join", address)]
        return [self._python, "-m", "gossipd", *flags, *self._options]

    def states(self) -> dict[str, str]:
        """SWIM's words, which tell suspects."""
        return {name: member.state or "" for name, member in self.members().items()}


class Serf(Agent):
    """A real Serf agent; `options` are further flags of `serf agent`."""

    kind = "serf"

    def __init__(self, name: str, host: str, directory: Path, place: Place, program: str, *,
                 tags: Mapping[str, str] | None = None, key: str = "", options: Iterable[str] = ()) -> None:
        super().__init__(name, host, directory, place)
        self.program = program
        self._tags, self._key, self._options = dict(tags or {}), key, list(options)

    def argv(self, join: Iterable[str]) -> list[str]:
        flags = [f"-node={self.name}", f"-bind={self.gossip}", f"-rpc-addr={self.rpc}", "-log-level=debug"]
        flags += [f"-encrypt={self._key}"] if self._key else []
        flags += [word for key, value in self._tags.items() for word in ("-tag", f"{key}={value}")]
        flags += [f"-retry-join={address}" for address in join]
        return [self.program, "agent", *flags, *self._options]


class Watch:
    """The events of one agent from now on, for as long as it runs, gathered by a thread."""

    def __init__(self, agent: Agent, kinds: tuple[str, ...]) -> None:
        self.agent = agent
        self.events: list[tuple[float, Event]] = []     # monotonic time of arrival, event
        self._client = agent.client()
        stream = self._client.events(*kinds)
        self._client.stats()    # Serf's agent answers first and subscribes then, but before the next request
        threading.Thread(target=self._gather, args=(stream,), daemon=True).start()

    def __repr__(self) -> str:
        return f"the stream of {self.agent}"

    def _gather(self, stream: Iterator[Event]) -> None:
        with suppress(ClientError):
            for event in stream:
                self.events.append((time.monotonic(), event))

    def told(self) -> list[str]:
        """All so far, one for each member: "member-join bea"."""
        return [f"{event.kind} {member.name}" for _, event in list(self.events) for member in event.members]

    def when(self, kind: str, name: str) -> float | None:
        """When this was first told: monotonic seconds."""
        return next((at for at, event in list(self.events)
                     if event.kind == kind and name in [member.name for member in event.members]), None)


def _short_directory() -> str:
    """Paths of unix sockets end at 107 bytes."""
    usual = tempfile.gettempdir()
    return usual if len(usual) < SHORT_MAX else "/tmp"


class Lab:
    """A directory and the agents in it. Leaving the context kills what still runs and removes the directory."""

    def __init__(self, serf_program: str = "") -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="lab-", dir=_short_directory()))
        self.agents: dict[str, Agent] = {}
        self._serf_program = serf_program
        self._cleanup = ExitStack()

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._cleanup:
            for agent in self.agents.values():
                agent.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def gossipd(self, name: str, host: str = "", place: Place = nullcontext, **options: Any) -> Gossipd:
        agent = Gossipd(name, host or self._host(), self.directory, place, **options)
        self.agents[name] = agent
        return agent

    def serf(self, name: str, host: str = "", place: Place = nullcontext, **options: Any) -> Serf:
        agent = Serf(name, host or self._host(), self.directory, place, self._serf_program, **options)
        self.agents[name] = agent
        return agent

    def _host(self) -> str:
        taken = {agent.host for agent in self.agents.values()}
        return next(host for host in iter(free_host, "") if host not in taken)

    def start(self, *agents: Agent) -> None:
        """At the same time."""
        for agent in agents:
            agent.launch()
        for agent in agents:
            agent.ready()

    def spawn(self, name: str, argv: list[str]) -> subprocess.Popen[bytes]:
        """A helper process, ended with the lab."""
        process = spawn(argv, self.directory / f"{name}.log")
        self._cleanup.callback(process.wait)
        self._cleanup.callback(process.kill)
        return process

    def logs(self) -> list[tuple[str, str]]:
        """For the report of a test that failed."""
        return [(f"log of {agent}", agent.log_tail()) for agent in self.agents.values()]


def wait_until_all_see(agents: Iterable[Agent], expected: Mapping[str, str], within_s: float) -> None:
    """Every agent lists exactly the members `expected`, with these statuses."""
    agents, deadline = list(agents), time.monotonic() + within_s
    for agent in agents:
        while agent.statuses() != expected:
            if time.monotonic() >= deadline:
                views = "\n".join(f"  {one}: {dict(sorted(one.statuses().items()))}" for one in agents if one.running)
                raise AssertionError(f"not within {within_s:g} s: all see {dict(expected)}\n{views}")
            time.sleep(POLL_S)


def alive(agents: Iterable[Agent]) -> dict[str, str]:
    return {agent.name: "alive" for agent in agents}
