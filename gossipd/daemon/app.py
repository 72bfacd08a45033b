"""The daemon's life: subsystems start in order, one of them says that it is time to go, they stop in order."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Awaitable, Callable
from random import Random

import trio

from gossipd.addresses import format_address
from gossipd.config.keyring import read_keyring
from gossipd.config.schema import Config
from gossipd.daemon.engine import Engine
from gossipd.daemon.face import Face, Running
from gossipd.daemon.files import LineFile
from gossipd.daemon.gossiper import run_gossiper
from gossipd.daemon.handlers import Handlers, run_handlers
from gossipd.daemon.identity import advertised_address, advertised_bytes, bind_address, node_name
from gossipd.daemon.keptfile import keyring_file, tags_file
from gossipd.daemon.life import Life
from gossipd.daemon.logs import LogRing
from gossipd.daemon.net import TcpListener, UdpPort, bind_gossip, connect_tcp
from gossipd.daemon.prober import run_prober
from gossipd.daemon.rights import Rights, read_rights
from gossipd.daemon.rpc import run_rpc
from gossipd.daemon.rpcsocket import RpcListener, bind_rpc_tcp, bind_rpc_unix, rpc_socket_path
from gossipd.daemon.signals import catch_signals
from gossipd.daemon.snapshot import make_recorder, read_snapshot, run_snapshot, snapshot_path
from gossipd.daemon.systemd import Notifier
from gossipd.daemon.transport import run_transport
from gossipd.errors import GossipdError
from gossipd.node import Node, NodeConfig
from gossipd.serf.actions import SaveTags
from gossipd.serf.keeping import stays_in_memory
from gossipd.serf.keys import SaveKeys

log = logging.getLogger("gossipd.app")


class RpcUnavailable(GossipdError):
    """Nobody could reach the daemon."""


class Sockets:
    """Everything that is bound before READY. Raises GossipdError, and then nothing stays bound."""

    def __init__(self, config: Config) -> None:
        self.udp: UdpPort
        self.tcp: TcpListener
        self.rpc: list[RpcListener] = []
        self.udp, self.tcp = bind_gossip(bind_address(config))
        try:
            if config.rpc.tcp:
                self.rpc.append(bind_rpc_tcp(config.rpc.tcp, config.rpc.auth_key))
            rights = read_rights(os.getuid(), config.rpc.read, config.rpc.event, config.rpc.admin)
            self._bind_unix(config.rpc.socket, rights)
        except GossipdError as error:
            self.close()
            raise RpcUnavailable(str(error)) from None
        except BaseException:
            self.close()
            raise

    def _bind_unix(self, configured: str, rights: Rights) -> None:
        """The usual path may belong to another daemon of this user; whoever can be reached by TCP does without it."""
        try:
            self.rpc.append(bind_rpc_unix(rpc_socket_path(configured), rights))
        except GossipdError as error:
            if configured or not self.rpc:
                raise
            log.warning("%s: clients must use TCP", error)

    def close(self) -> None:
        self.udp.close()
        self.tcp.close()
        for listener in self.rpc:
            listener.close()


class KeptFiles:
    """Of those that are configured."""

    def __init__(self, config: Config) -> None:
        keyring, tags = config.encryption.keyring_file, config.node.tags_file
        self.keyring = keyring_file(keyring) if keyring else None
        self.tags = tags_file(tags) if tags else None

    @property
    def save_keys(self) -> SaveKeys:
        return self.keyring.save if self.keyring else stays_in_memory

    @property
    def save_tags(self) -> SaveTags:
        return self.tags.save if self.tags else stays_in_memory

    def start(self, nursery: trio.Nursery, engine: Engine) -> None:
        for file in (self.keyring, self.tags):
            if file:
                nursery.start_soon(file.run, engine)


def make_node(config: Config, sockets: Sockets, snapshot: LineFile | None, kept: KeptFiles) -> Node:
    """Raises GossipdError."""
    bound = sockets.udp.address
    told = advertised_address(config, bound)
    if told.address != bound:
        log.info("advertising %s: %s", format_address(told.address), told.why)
    keyring_file = config.encryption.keyring_file
    keys = read_keyring(keyring_file) if keyring_file else ()
    if config.encryption.key:
        keys = (config.encryption.key,)
    addr = advertised_bytes(config, told.address)
    swim = config.swim_config(node_name(config), addr, told.address[1], bound[1], keys)
    serf = config.serf_config()
    serf.check()
    return Node(
        NodeConfig(swim, serf), rng=Random(), entropy=os.urandom,
        save_keys=kept.save_keys, save_tags=kept.save_tags,
        restored=read_snapshot(snapshot, serf.rejoin_after_leave, swim.members_max) if snapshot else None)


async def run(
    config: Config, ring: LogRing | None = None, face: Face | None = None, decided: Callable[[], None] | None = None
) -> int:
    """The exit code. Raises GossipdError if it cannot start. `ring` is what RPC clients see of the log. `decided` is
    called when nothing can change the outcome any more, signals included."""
    face = face or Face()
    with catch_signals(face.signals, decided) as signals:
        sockets = Sockets(config)
        try:
            path = snapshot_path(config.snapshot.path)
            snapshot = LineFile(path) if path else None
            kept = KeptFiles(config)
            node = make_node(config, sockets, snapshot, kept)
            engine = face.engine(node, sockets.udp, Life(), trio.lowlevel.current_clock().current_time, time.time)
            engine.stays_without_name = config.node.on_name_conflict == "stay"
            async with trio.open_nursery() as root:
                root.start_soon(face.run_signals, engine, signals, config)
                kept.start(root, engine)
                if snapshot:
                    root.start_soon(run_snapshot, make_recorder(engine, snapshot), engine.life.ending)
                await serve(engine, config, sockets, root, ring, face)
                root.cancel_scope.cancel()
        finally:
            sockets.close()
    return face.exit_code(engine.life)


async def serve(
    engine: Engine, config: Config, sockets: Sockets, root: trio.Nursery, ring: LogRing | None, face: Face
) -> None:
    """From the first subsystem's start to the last one's end."""
    notifier = Notifier()
    tcp_timeout_s = engine.node.config.swim.tcp_timeout_s
    engine.listen(face.announce)
    queued = Handlers(engine, config.hooks)     # from the first event on, which is that we are there
    engine.node.answered_by(engine.may_answer)
    engine.start()      # before the first packet: what came since the sockets were bound waits in them
    transport = await root.start(run_transport, engine, sockets.tcp, tcp_timeout_s)
    prober = await root.start(run_prober, engine, connect_tcp)
    gossiper = await root.start(run_gossiper, engine, connect_tcp, sockets.udp.address[1])
    handlers = await root.start(run_handlers, queued)
    rpc = await root.start(run_rpc, engine, sockets.rpc, ring)
    face.begin(Running(config, engine, queued, sockets.udp.address, root))
    log.info("node %s at %s, rpc at %s", engine.name, format_address(sockets.udp.address),
             ", ".join(listener.name for listener in sockets.rpc))
    if config.discovery.cluster:
        root.start_soon(discover, engine, config)
    notifier.ready(f"node {engine.name}")

    await engine.life.ending.wait()
    notifier.stopping("leaving the cluster" if not engine.life.over.is_set() else "stopping")
    rpc.stop_accepting()
    with trio.move_on_after(config.leave.timeout_s) as patience:
        await engine.life.over.wait()
    if patience.cancelled_caught:
        log.error("leaving took longer than timeout_s=%.1f: stopping", config.leave.timeout_s)
        engine.life.stop()
    face.stopping(engine)
    for scope in (prober, gossiper, transport):
        scope.cancel()
    engine.flush()
    await handlers.close()
    await rpc.close()
    log.info("stopped exit_code=%d", engine.life.exit_code)


async def discover(engine: Engine, config: Config) -> None:
    """Once its code is there: dnspython takes 100 ms to import, in which probes have to be answered."""

    def load() -> Callable[[Engine, Config], Awaitable[None]]:
        from gossipd.daemon.discovery import run_discovery

        return run_discovery

    engine.discover_with(lambda ask: {"Cluster": config.discovery.cluster, "Links": [], "Seen": []})
    try:
        run_discovery = await trio.to_thread.run_sync(load)
    except RuntimeError:        # no more threads for this process: probes wait
        run_discovery = load()
    await run_discovery(engine, config)
