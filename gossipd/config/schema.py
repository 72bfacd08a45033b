"""Every setting, in one place: kind, default, unit, meaning. `packaging/gossipd.toml` is this file as TOML.

What the daemon itself reads is a dataclass for each section (`config.rpc.socket`). What belongs to the core names a
field of `SwimConfig` or `SerfConfig`, whose defaults hold, for some by profile, and `config.swim_config(...)` and
`config.serf_config()` build those.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from gossipd.addresses import parse_address
from gossipd.config.hosts import unreachable
from gossipd.config.kinds import (
    Addresses,
    AddressText,
    Choice,
    ClusterName,
    Durations,
    InterfaceName,
    Key,
    Kind,
    Names,
    Seconds,
    Switch,
    Tags,
    Text,
    Whole,
    show_duration,
)
from gossipd.hooks import Hook
from gossipd.serf.config import PROTOCOL_MAX, PROTOCOL_MIN, USER_EVENT_BYTES_MAX, SerfConfig
from gossipd.swim.config import DEFAULT_PORT, PROFILES, VERSIONS, SwimConfig

NAME_BYTES_MAX = 255
DATAGRAM_BYTES_MAX = 65507
PACKET_BYTES_MIN = 1280         # what every IPv6 link carries; an announcement with all its tags fits
LABEL_BYTES_MAX = 255
COUNT_MAX = 1_000_000


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Setting:
    """One setting as users see it."""

    kind: Kind
    default: Any
    help: str           # sentences
    target: str = ""    # "swim.FIELD" or "serf.FIELD" for what belongs to the core

    def default_text(self) -> str:
        """The default as TOML; that of the lan profile where they differ."""
        return self.kind.show(self.default)

    def by_profile(self) -> dict[str, str]:
        """The defaults by profile where they differ, else empty."""
        layer, _, name = self.target.partition(".")
        if layer != "swim" or not any(name in changes for changes in PROFILES.values()):
            return {}
        return {profile: self.kind.show(changes.get(name, self.default)) for profile, changes in PROFILES.items()}


def setting(kind: Kind, default: Any, text: str) -> Any:
    about = {"setting": Setting(kind, default, text)}
    return field(default_factory=dict, metadata=about) if default == {} else field(default=default, metadata=about)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class NodeSection:
    """Who this node is."""

    name: str = setting(
        Text("a name of at most 255 bytes", NAME_BYTES_MAX), "",
        "Name of this node, unique in the cluster. Empty: the host name.")
    on_name_conflict: str = setting(
        Choice("exit", "stay"), "exit",
        "When the cluster gives the name to another node: stop, with exit code 3, or run on, in conflict, as "
        "gossipctl info shows.")
    tags_file: str = setting(
        Text("a path"), "",
        "JSON file that keeps the tags, in the format of Serf: read at start if it is there, written when clients "
        "change them. Instead of tags.")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class NetworkSection:
    """Where gossip travels."""

    bind: str = setting(
        AddressText(needed=True), "0.0.0.0",
        f"Address of the gossip sockets, UDP and TCP. Without a port: {DEFAULT_PORT}.")
    interface: str = setting(
        InterfaceName(), "",
        "Interface whose address to bind: its first one that is not link-local if bind is 0.0.0.0; else bind must be "
        "one of its addresses. Empty: any.")
    advertise: str = setting(
        AddressText(own=True, any_port=False), "",
        "Address told to others. Empty: the bind address; if that is a wildcard, a private address of this machine. "
        "Without a port: the bind port.")
    profile: str = setting(
        Choice(*PROFILES), "lan",
        "Timing for a local network, for the internet, or for one machine: sets the defaults of [swim].")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class JoinSection:
    """Whom to look for at start."""

    seeds: tuple[str, ...] = setting(
        Addresses(), (),
        "Members to join at start, any one is enough. Names are looked up; without a port: the bind port.")
    retry_interval_s: float = setting(
        Seconds(1.0), 30.0, "Pause between attempts while no seed has answered.")
    retry_max: int = setting(
        Whole(0, COUNT_MAX, "attempts"), 0, "Give up and exit after this many further attempts. 0: never.")
    replay: bool = setting(
        Switch(), False, "Deliver the user events that happened before this node joined.")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class DiscoverySection:
    """Whom to find on the local network, by multicast DNS; Serf's agents do it the same way (-discover)."""

    cluster: str = setting(
        ClusterName(), "",
        "Find and join members of this cluster, and be found by them. Empty: no discovery.")
    interfaces: tuple[str, ...] = setting(
        Names('a list of interface names such as ["eth0"]'), (),
        "Interfaces to look on. Empty: network.interface, or else all that can multicast.")
    ipv4: bool = setting(Switch(), True, "Look by IPv4.")
    ipv6: bool = setting(Switch(), True, "Look by IPv6.")


_WHO = Names('a list of users and @groups such as ["ann", "@staff"]')


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class RpcSection:
    """How gossipctl and other clients reach the daemon."""

    socket: str = setting(
        Text("a path"), "",
        "Path of the unix socket for gossipctl. Empty: /run/gossipd/rpc.sock if that directory is ours, else "
        "gossipd/rpc.sock under $XDG_RUNTIME_DIR, else /tmp/gossipd-UID/rpc.sock.")
    tcp: str = setting(
        AddressText(port_needed=True, everywhere=True), "",
        'TCP address for clients of Serf, such as "127.0.0.1:7373". A port alone, ":7373", means all addresses, of '
        "IPv4 and IPv6. Empty: none.")
    auth_key: str = setting(
        Text(), "",
        "Clients on TCP must present this key, and then may do anything. Needed unless the address is a loopback one. "
        "Empty: none.")
    read: tuple[str, ...] = setting(
        _WHO, (),
        "Users, and groups as @group, by name or number, who may on the unix socket see members, events, statistics "
        "and coordinates. Root and the daemon's own user may do anything.")
    event: tuple[str, ...] = setting(
        _WHO, (), "Those who may also send events and queries and answer queries.")
    admin: tuple[str, ...] = setting(
        _WHO, ("@gossipctl",), "Those who may do anything. It is no error if there is no group gossipctl.")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class EncryptionSection:
    """Keys of the gossip traffic."""

    key: bytes = setting(
        Key(), b"", "Key of the cluster, base64 of 16, 24 or 32 bytes. Empty: traffic is not encrypted.")
    keyring_file: str = setting(
        Text("a path"), "", "JSON list of keys in base64, the first one encrypts. Instead of key. Changes of "
        "keys are written to it before they take effect; owner and group stay, its mode is 0600 then.")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class SnapshotSection:
    """What is remembered over a restart."""

    path: str = setting(
        Text("a path"), "",
        "File that remembers members and clocks over a restart. Empty: snapshot in $STATE_DIRECTORY, which systemd "
        "sets for the packaged service, else none.")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class LogSection:
    """What is logged, and how."""

    level: str = setting(
        Choice("debug", "info", "warning", "error", others={"trace": "debug", "warn": "warning", "err": "error"}),
        "info", "The least that is logged.")
    format: str = setting(
        Choice("auto", "text", "journal", "json"), "auto",
        "Lines for people, lines with <N> priorities for systemd, or JSON. auto: journal under systemd, else text.")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class LeaveSection:
    """Which signals say goodbye."""

    on_interrupt: bool = setting(Switch(), True, "SIGINT says goodbye to the cluster before the daemon stops.")
    on_terminate: bool = setting(Switch(), False, "SIGTERM does so too. Otherwise others see this node fail.")
    timeout_s: float = setting(Seconds(1.0), 10.0, "The longest that a goodbye may take.")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Config:
    """What the files and flags say, checked."""

    node: NodeSection = field(default_factory=NodeSection)
    network: NetworkSection = field(default_factory=NetworkSection)
    join: JoinSection = field(default_factory=JoinSection)
    discovery: DiscoverySection = field(default_factory=DiscoverySection)
    rpc: RpcSection = field(default_factory=RpcSection)
    encryption: EncryptionSection = field(default_factory=EncryptionSection)
    snapshot: SnapshotSection = field(default_factory=SnapshotSection)
    log: LogSection = field(default_factory=LogSection)
    leave: LeaveSection = field(default_factory=LeaveSection)
    hooks: tuple[Hook, ...] = ()                            # handlers of events
    notices: tuple[str, ...] = ()                           # what users should hear about their settings
    core: dict[str, Any] = field(default_factory=dict)      # by target: "swim.FIELD" and "serf.FIELD"

    def swim_config(self, name: str, addr: bytes, port: int, bind_port: int, keys: tuple[bytes, ...]) -> SwimConfig:
        """`addr` and `port` are what this node advertises; `keys` the keyring, primary first."""
        versions = VERSIONS[:5] + bytes([self.core.get("serf.protocol", VERSIONS[5])])
        identity = SwimConfig(name, addr, port, bind_port, versions, keys=keys)
        return replace(identity, **{**PROFILES[self.network.profile], **self._of_core("swim.")})

    def serf_config(self) -> SerfConfig:
        return replace(SerfConfig(), **self._of_core("serf."))

    def _of_core(self, prefix: str) -> dict[str, Any]:
        return {name.removeprefix(prefix): value for name, value in self.core.items() if name.startswith(prefix)}


def _swim(field_name: str, kind: Kind, text: str) -> Setting:
    return Setting(kind, SwimConfig.__dataclass_fields__[field_name].default, text, f"swim.{field_name}")


def _serf(field_name: str, kind: Kind, text: str) -> Setting:
    about = SerfConfig.__dataclass_fields__[field_name]
    return Setting(kind, {} if field_name == "tags" else about.default, text, f"serf.{field_name}")


_TICK = Seconds(0.01)
_TICK_OR_OFF = Seconds(0.01, off=True)
_WAIT = Seconds(0.0)
_COUNT = Whole(0, COUNT_MAX)
_BYTES = Whole(0, COUNT_MAX, "bytes")
_MULT = Whole(1, 1000)

CORE: dict[str, dict[str, Setting]] = {
    "node": {
        "tags": _serf("tags", Tags(), "What this node is, for everybody to see; at most 512 bytes in all."),
        "protocol": _serf("protocol", Whole(PROTOCOL_MIN, PROTOCOL_MAX), "Version of Serf's protocol to speak."),
    },
    "network": {
        "packet_size": _swim(
            "packet_bytes", Whole(PACKET_BYTES_MIN, DATAGRAM_BYTES_MAX, "bytes"), "Largest datagram sent."),
        "compression": _swim(
            "compress", Switch(), "Send compressed. Compressed packets are understood in any case."),
    },
    "encryption": {
        "label": _swim(
            "label", Text("a label of at most 255 bytes", LABEL_BYTES_MAX),
            "Packets carry this label, and others are refused. Serf agents know no labels. Empty: none."),
        "verify_incoming": _swim(
            "verify_incoming", Switch(),
            "Refuse what comes unencrypted. false only while encryption is being introduced."),
        "verify_outgoing": _swim(
            "verify_outgoing", Switch(), "Encrypt what is sent. false only while encryption is being introduced."),
    },
    "snapshot": {
        "rejoin_after_leave": _serf(
            "rejoin_after_leave", Switch(), "Join the members of the snapshot even after a leave."),
        "flush_interval": _serf("snapshot_flush_s", _TICK, "How long a line may wait to be written."),
        "clock_interval": _serf("snapshot_clock_s", _TICK, "How often a changed clock is recorded."),
        "compact_size": _serf("snapshot_compact_bytes", _BYTES, "Smaller files are never rewritten."),
        "recovery_interval": _serf("snapshot_recovery_s", _TICK, "Pause between attempts after a failed write."),
    },
    "swim": {
        "probe_interval": _swim("probe_interval_s", _TICK, "How often one other member is probed."),
        "probe_timeout": _swim(
            "probe_timeout_s", _TICK, "How long a probe waits for its answer before others are asked to help."),
        "tcp_timeout": _swim("tcp_timeout_s", _TICK, "The longest that a TCP exchange with a member may take."),
        "tcp_pings": _swim("tcp_pings", Switch(), "Try TCP when a UDP probe goes unanswered."),
        "indirect_checks": _swim("indirect_checks", Whole(0, 100), "Members asked to help with a probe."),
        "awareness_max": _swim(
            "awareness_max", Whole(1, 1000), "The local health score stays below this; probing slows down by it."),
        "suspicion_mult": _swim("suspicion_mult", _MULT, "Scales how long a suspected member has to answer."),
        "suspicion_max_timeout_mult": _swim(
            "suspicion_max_timeout_mult", _MULT, "How many times longer while nobody else confirms the suspicion."),
        "retransmit_mult": _swim("retransmit_mult", _MULT, "Scales how many times an update is sent."),
        "gossip_interval": _swim("gossip_interval_s", _TICK_OR_OFF, "How often queued updates are sent."),
        "gossip_nodes": _swim("gossip_nodes", Whole(1, 100), "Members that each round of gossip goes to."),
        "gossip_to_the_dead": _swim(
            "gossip_to_the_dead_s", _WAIT, "Failed members still get gossip for so long, to hear of it and object."),
        "push_pull_interval": _swim(
            "push_pull_interval_s", _TICK_OR_OFF, "How often the whole state is exchanged with one member."),
        "dead_node_reclaim": _swim(
            "dead_node_reclaim_s", _WAIT,
            "After so long a failed member's name may move to another address. 0s: never."),
        "eager": _swim("eager", Switch(), "Send news at once instead of with the next round of gossip."),
        "eager_delays": _swim("eager_delays_s", Durations(), "When the copies of one piece of news leave."),
        "eager_gather": _swim(
            "eager_gather_s", _WAIT, "Least time between two bursts of news, so that packets fill."),
        "second_sync": _swim(
            "second_sync_s", Durations(2),
            'After a join the state is exchanged once more, between these two times. ["0s", "0s"]: not.'),
        "refusal_witnesses": _swim(
            "refusal_witnesses", Whole(0, 100),
            "Members that must see a port refused before its daemon counts as crashed at once. 0: never."),
        "refusal_grace": _swim("refusal_grace_s", _WAIT, "Then it has so long to come back."),
        "verify_suspicions": _swim(
            "verify_suspicions", Switch(), "A few members that hear of a suspicion probe the suspect themselves."),
        "members_max": _swim(
            "members_max", Whole(1, 10 * COUNT_MAX, "members"), "Records kept; further names are ignored."),
    },
    "serf": {
        "broadcast_timeout": _serf("broadcast_timeout_s", _TICK, "The longest wait for a message to be sent in full."),
        "leave_propagate_delay": _serf(
            "leave_propagate_delay_s", _WAIT, "After the goodbye this node still answers for so long."),
        "coalesce_period": _serf(
            "member_period_s", _TICK_OR_OFF,
            "Member events after the first gather for at most so long. 0s: not at all."),
        "quiescent_period": _serf(
            "member_quiescent_s", _TICK_OR_OFF, "Or until there was none for so long. 0s: not at all."),
        "user_coalesce_period": _serf(
            "user_period_s", _TICK_OR_OFF, "The same for user events that may coalesce."),
        "user_quiescent_period": _serf("user_quiescent_s", _TICK_OR_OFF, "The same for user events that may coalesce."),
        "reap_interval": _serf("reap_interval_s", _TICK, "How often members to forget are looked for."),
        "reconnect_interval": _serf("reconnect_interval_s", _TICK, "How often one failed member is tried again."),
        "reconnect_timeout": _serf("reconnect_timeout_s", _TICK, "A failed member is forgotten after this."),
        "tombstone_timeout": _serf("tombstone_timeout_s", _TICK, "A member that left is forgotten after this."),
        "flap_timeout": _serf("flap_timeout_s", _WAIT, "A member back sooner than this is counted as flapping."),
        "recent_intent_timeout": _serf(
            "recent_intent_timeout_s", _TICK, "News of a member not known yet is kept for so long."),
        "queue_check_interval": _serf("queue_check_interval_s", _TICK, "How often the depth of queues is checked."),
        "queue_depth_warning": _serf("queue_depth_warning", _COUNT, "A deeper queue is warned of."),
        "max_queue_depth": _serf("queue_depth_max", Whole(1, COUNT_MAX), "What exceeds it is dropped, oldest first."),
        "min_queue_depth": _serf(
            "queue_depth_min", _COUNT, "If set, the limit is this or twice the number of members, whichever is more."),
        "event_buffer": _serf("event_buffer", Whole(1, COUNT_MAX, "events"), "User events remembered as known."),
        "query_buffer": _serf("query_buffer", Whole(1, COUNT_MAX, "queries"), "Queries remembered as known."),
        "user_event_size_limit": _serf(
            "user_event_bytes", Whole(1, USER_EVENT_BYTES_MAX, "bytes"), "Largest user event."),
        "query_size_limit": _serf("query_bytes", _BYTES, "Largest query."),
        "query_response_size_limit": _serf("query_response_bytes", _BYTES, "Largest answer to a query."),
        "query_timeout_mult": _serf("query_timeout_mult", _MULT, "Scales how long a query waits for answers."),
        "resolve_name_conflicts": _serf(
            "resolve_name_conflicts", Switch(), "Of two nodes of one name the one that fewer members know stops."),
        "coordinates": _serf("coordinates", Switch(), "Learn how far members are from each other."),
        "validate_node_names": _serf(
            "validate_names", Switch(), "Accept only names of letters, digits, dots and dashes."),
    },
}


def _section(kind: type, core: dict[str, Setting]) -> dict[str, Setting]:
    own = {key_of(about.name): about.metadata["setting"] for about in fields(kind)}
    return {**own, **core}


SECTIONS: dict[str, type] = {
    "node": NodeSection,
    "network": NetworkSection,
    "join": JoinSection,
    "discovery": DiscoverySection,
    "rpc": RpcSection,
    "encryption": EncryptionSection,
    "snapshot": SnapshotSection,
    "log": LogSection,
    "leave": LeaveSection,
}


def key_of(field_name: str) -> str:
    """What users call the field: durations lose their unit, since the value carries one."""
    return field_name.removesuffix("_s")


SETTINGS: dict[str, dict[str, Setting]] = {
    **{name: _section(kind, CORE.get(name, {})) for name, kind in SECTIONS.items()},
    "swim": CORE["swim"],
    "serf": CORE["serf"],
}
"""By section and key, in the order of the documentation."""


def build(values: dict[str, dict[str, Any]], hooks: tuple[Hook, ...] = (), notices: tuple[str, ...] = ()) -> Config:
    """A Config of checked values by section and key; what is not there has its default."""
    parts = {
        name: kind(**{about.name: values[name][key] for about in fields(kind)
                      if (key := key_of(about.name)) in values.get(name, {})})
        for name, kind in SECTIONS.items()
    }
    core = {SETTINGS[section][key].target: value for section, chosen in values.items()
            for key, value in chosen.items() if SETTINGS[section][key].target}
    config = Config(**parts, hooks=hooks, notices=notices, core=core)
    if config.network.interface and not config.discovery.interfaces:
        return replace(config, discovery=replace(config.discovery, interfaces=(config.network.interface,)))
    return config


def contradictions(config: Config) -> list[tuple[str, str, str]]:
    """(section, key, what is wrong) of settings that are right alone but not together."""
    found = []
    swim = config.swim_config("", b"", 0, 0, ())
    if swim.probe_timeout_s > swim.probe_interval_s:
        timeout, interval = show_duration(swim.probe_timeout_s), show_duration(swim.probe_interval_s)
        found.append(("swim", "probe_timeout", f"{timeout} is longer than probe_interval, {interval}"))
    if config.encryption.key and config.encryption.keyring_file:
        found.append(("encryption", "keyring_file", "not together with key"))
    if config.node.tags_file and config.core.get("serf.tags"):
        found.append(("node", "tags_file", "not together with tags"))
    if _host(config.network.advertise) in ("0.0.0.0", "::"):
        found.append(("network", "advertise", "nobody can reach a wildcard address"))
    if config.discovery.cluster and not (config.discovery.ipv4 or config.discovery.ipv6):
        found.append(("discovery", "cluster", "neither ipv4 nor ipv6 is switched on"))
    if config.rpc.tcp and not config.rpc.auth_key and not is_loopback(_host(config.rpc.tcp)):
        found.append(("rpc", "tcp", "needs rpc.auth_key on an address that is not a loopback one"))
    return found


def useless(config: Config) -> list[tuple[str, str, str]]:
    """The same of what a daemon could run with, though to no purpose."""
    why = unreachable(_host(config.network.bind))
    return [("network", "bind", f"nobody can reach {why}")] if why else []


def _host(address: str) -> str:
    return parse_address(address, 0)[0] if address else ""


def is_loopback(host: str) -> bool:
    """No name but one: who knows where others lead."""
    numeric = host.isascii() and host.replace(".", "").isdigit()
    return host in ("localhost", "::1") or (numeric and host.startswith("127."))
