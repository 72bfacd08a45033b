"""Settings of the Serf layer (spec serf §16). Sizes are bytes, periods are seconds; the defaults are the agent's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gossipd.errors import ConfigError

PROTOCOL_MIN, PROTOCOL_MAX = 2, 5
USER_EVENT_BYTES_MAX = 9216
"""No configuration allows a larger user event (§7.1)."""


@dataclass(frozen=True, slots=True)
class SerfConfig:
    """What this node says about itself, and every limit and timer of this layer."""

    protocol: int = PROTOCOL_MAX                    # the Serf protocol version that we speak
    tags: Mapping[str, str] = field(default_factory=dict)

    broadcast_timeout_s: float = 5.0                # longest wait for a broadcast to be sent in full
    leave_propagate_delay_s: float = 1.0            # after the goodbye we still answer probes this long

    member_period_s: float = 3.0                    # member events gather at most this long; 0: not at all
    member_quiescent_s: float = 1.0                 # or until it was quiet this long; 0: not at all
    user_period_s: float = 3.0                      # the same for user events that may coalesce
    user_quiescent_s: float = 1.0

    reap_interval_s: float = 15.0
    reconnect_interval_s: float = 30.0
    reconnect_timeout_s: float = 24 * 3600.0        # a failed member is forgotten after this
    tombstone_timeout_s: float = 24 * 3600.0        # a left one after this
    flap_timeout_s: float = 60.0                    # back sooner than this after failing: counted as a flap
    recent_intent_timeout_s: float = 300.0

    queue_check_interval_s: float = 30.0
    queue_depth_warning: int = 128
    queue_depth_max: int = 4096
    queue_depth_min: int = 0                        # above 0: the maximum is max(this, 2 * members) instead

    event_buffer: int = 512                         # slots of the rings that know duplicates
    query_buffer: int = 512
    user_event_bytes: int = 512                     # largest user event that we send
    query_bytes: int = 1024                         # largest query
    query_response_bytes: int = 1024                # largest answer, and largest relayed answer
    query_timeout_mult: int = 16

    resolve_name_conflicts: bool = True
    coordinates: bool = True
    validate_names: bool = False

    rejoin_after_leave: bool = False
    snapshot_flush_s: float = 0.5
    snapshot_clock_s: float = 0.5
    snapshot_compact_bytes: int = 128 * 1024
    snapshot_recovery_s: float = 30.0

    def check(self) -> None:
        """Raises ConfigError for what no node may start with (§1.1, §7.1)."""
        if not PROTOCOL_MIN <= self.protocol <= PROTOCOL_MAX:
            raise ConfigError(f"Serf protocol must be {PROTOCOL_MIN} to {PROTOCOL_MAX}, not {self.protocol}")
        if self.user_event_bytes > USER_EVENT_BYTES_MAX:
            raise ConfigError(f"user event limit must be at most {USER_EVENT_BYTES_MAX} bytes,"
                              f" not {self.user_event_bytes}")
        if self.event_buffer < 1 or self.query_buffer < 1:
            raise ConfigError("event and query buffers need at least one slot")

    def queue_depth_limit(self, members: int) -> int:
        """How deep a broadcast queue may be in a cluster of so many members (§11)."""
        return max(self.queue_depth_min, 2 * members) if self.queue_depth_min > 0 else self.queue_depth_max
