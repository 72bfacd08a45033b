"""The flags of `serf agent`, and the keys of Serf's files that they are instead of (spec agent §1)."""

from __future__ import annotations

from gossipd.serfcli.flags import LIST, SWITCH, TEXT, WHOLE, Flags, parse_flags

PATHS, TAG, NO_COMPRESSION = "config-file", "tag", "disable-compression"

FLAGS: dict[str, tuple[str, str, str]] = {
    # flag: kind, how it is written, what it does
    "node": (TEXT, "-node=NAME", "Name of this node; the host name if it is left out."),
    "bind": (TEXT, "-bind=0.0.0.0:7946", "Address of the gossip sockets."),
    "advertise": (TEXT, "-advertise=ADDR", "Address told to others."),
    "iface": (TEXT, "-iface=NAME", "Interface to bind to, and to discover on."),
    "config-file": (LIST, "-config-file=FILE", "JSON file with settings; repeatable."),
    "config-dir": (f"{LIST}:{PATHS}", "-config-dir=DIR", "Directory with *.json files; repeatable."),
    "discover": (TEXT, "-discover=CLUSTER", "Find members of this cluster by multicast DNS."),
    "mdns-iface": (TEXT, "-mdns-iface=NAME", "Interface to discover on."),
    "mdns-disable-ipv4": (SWITCH, "-mdns-disable-ipv4", "Do not discover by IPv4."),
    "mdns-disable-ipv6": (SWITCH, "-mdns-disable-ipv6", "Do not discover by IPv6."),
    "encrypt": (TEXT, "-encrypt=KEY", "Key of the cluster in base64."),
    "keyring-file": (TEXT, "-keyring-file=FILE", "JSON file with keys, kept up to date."),
    "event-handler": (LIST, "-event-handler=[EVENT=]SCRIPT", "Script to run on events; repeatable."),
    "join": (LIST, "-join=ADDR", "Member to join at start, or else end; repeatable."),
    "replay": (SWITCH, "-replay", "Deliver the events that happened before the join."),
    "retry-join": (LIST, "-retry-join=ADDR", "Member to join, tried until it works; repeatable."),
    "retry-interval": (TEXT, "-retry-interval=30s", "Pause between such attempts."),
    "retry-max": (WHOLE, "-retry-max=0", "End after so many further attempts; 0: never."),
    "rejoin": (SWITCH, "-rejoin", "Join those of the snapshot even after a leave."),
    "snapshot": (TEXT, "-snapshot=FILE", "Remember members over a restart."),
    "log-level": (TEXT, "-log-level=info", "The least to log: trace, debug, info, warn or err."),
    "profile": (TEXT, "-profile=lan", "Timing: lan, wan or local."),
    "protocol": (WHOLE, "-protocol=5", "Version of the protocol to speak."),
    "role": (TEXT, "-role=ROLE", "Deprecated: -tag role=ROLE."),
    "tag": (LIST, "-tag KEY=VALUE", "What this node is; repeatable."),
    "tags-file": (TEXT, "-tags-file=FILE", "JSON file with tags, kept up to date."),
    "rpc-addr": (TEXT, "-rpc-addr=127.0.0.1:7373", "Where clients find the agent."),
    "syslog": (SWITCH, "-syslog", "Log to syslog as well."),
    "broadcast-timeout": (TEXT, "-broadcast-timeout=5s", "The longest wait for a message to be sent in full."),
    "disable-compression": (SWITCH, "-disable-compression", "Send uncompressed."),
}

_KEYS = {
    "node": "node_name", "bind": "bind", "advertise": "advertise", "iface": "interface", "discover": "discover",
    "mdns-iface": "mdns.interface", "mdns-disable-ipv4": "mdns.disable_ipv4", "mdns-disable-ipv6": "mdns.disable_ipv6",
    "encrypt": "encrypt_key", "keyring-file": "keyring_file", "event-handler": "event_handlers", "join": "start_join",
    "replay": "replay_on_join", "retry-join": "retry_join", "retry-interval": "retry_interval",
    "retry-max": "retry_max_attempts", "rejoin": "rejoin_after_leave", "snapshot": "snapshot_path",
    "log-level": "log_level", "profile": "profile", "protocol": "protocol", "role": "role", "tags-file": "tags_file",
    "rpc-addr": "rpc_addr", "syslog": "enable_syslog", "broadcast-timeout": "broadcast_timeout",
}


def agent_flags(argv: list[str]) -> Flags:
    """Raises FlagError."""
    return parse_flags({name: flag[0] for name, flag in FLAGS.items()}, argv)


def values_of(flags: Flags) -> dict[str, object]:
    """The flags as a file would say the same; without tags, whose pairs may be wrong."""
    return {key: flags.given[name] for name, key in _KEYS.items() if name in flags.given}
