"""Settings of the membership layer (spec memberlist §18). Intervals are seconds."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_PORT = 7946
META_BYTES_MAX = 512
VERSIONS = bytes([1, 5, 2, 2, 5, 5])
"""What we advertise: memberlist min, max, current; Serf min, max, current (§8)."""

PROFILES: dict[str, dict[str, float | int]] = {
    "lan": {},
    "wan": {
        "tcp_timeout_s": 30.0,
        "suspicion_mult": 6,
        "push_pull_interval_s": 60.0,
        "probe_interval_s": 5.0,
        "probe_timeout_s": 3.0,
        "gossip_interval_s": 0.5,
        "gossip_nodes": 4,
        "gossip_to_the_dead_s": 60.0,
    },
    "local": {
        "tcp_timeout_s": 1.0,
        "indirect_checks": 1,
        "retransmit_mult": 2,
        "suspicion_mult": 3,
        "push_pull_interval_s": 15.0,
        "probe_timeout_s": 0.2,
        "gossip_interval_s": 0.1,
        "gossip_to_the_dead_s": 15.0,
    },
}
"""What differs from the defaults below, which are memberlist's LAN profile."""


@dataclass(frozen=True, slots=True)
class SwimConfig:
    """Who we are, and every timer. Zero for an interval switches that activity off."""

    name: str
    addr: bytes                             # advertised: 4 or 16 raw bytes, the same form across restarts (§9.2)
    port: int = DEFAULT_PORT                # advertised
    bind_port: int = DEFAULT_PORT           # stands in for a port 0 that peers send
    versions: bytes = VERSIONS

    probe_interval_s: float = 1.0
    probe_timeout_s: float = 0.5
    tcp_timeout_s: float = 10.0
    tcp_pings: bool = True
    indirect_checks: int = 3                # helpers asked when a direct ping goes unanswered
    awareness_max: int = 8                  # the health score stays below this
    suspicion_mult: int = 4
    suspicion_max_timeout_mult: int = 6
    retransmit_mult: int = 4
    gossip_interval_s: float = 0.2
    gossip_nodes: int = 3
    gossip_to_the_dead_s: float = 30.0
    push_pull_interval_s: float = 30.0
    dead_node_reclaim_s: float = 0.0        # 0: a dead member's name cannot move to another address

    packet_bytes: int = 1400                # budget of one datagram
    compress: bool = False                  # send compressed; always understood
    label: str = ""                         # cluster label; Serf itself knows none
    keys: tuple[bytes, ...] = ()            # primary first; empty: no encryption
    verify_incoming: bool = True
    verify_outgoing: bool = True

    eager: bool = True                      # send news at once instead of at the next gossip tick
    eager_delays_s: tuple[float, ...] = (0.0, 0.010, 0.030)     # when the copies of one update leave
    eager_gather_s: float = 0.003           # least time between two bursts, so that packets fill
    second_sync_s: tuple[float, float] = (2.0, 5.0)     # after a join: one more push/pull within these; (0, 0): none

    refusal_witnesses: int = 3              # nodes that must see a port refused before the fast verdict; 0: never
    refusal_grace_s: float = 1.0            # then this long for a restart
    verify_suspicions: bool = True          # a few who hear of a suspicion probe the suspect themselves

    members_max: int = 65536                # records kept; further unknown names are ignored
