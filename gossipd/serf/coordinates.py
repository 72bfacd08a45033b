"""Network coordinates: where this node lies, so that round trips between any two can be guessed (spec serf §10).

Vivaldi (Dabek et al. 2004) with heights, adjustment terms and gravity, operation by operation as Serf computes it: sums
run from left to right, for the built-in `sum` rounds differently from Python 3.12 on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from gossipd.errors import WireError
from gossipd.wire.codec import pack, take_float, take_list, unpack_map
from gossipd.wire.reasons import BAD_FIELD, BAD_TYPE

DIMENSIONS = 8
ERROR_MAX = 1.5
CE = CC = 0.25
WINDOW = 20                     # adjustment samples
HEIGHT_MIN = 1e-5               # seconds
LATENCIES = 3                   # samples of each node that the median is of
GRAVITY_RHO = 150.0
ZERO = 1e-6
RTT_NS_MAX = 10_000_000_000
DISTANCE_NS_MAX = (1 << 63) - 1

PEER_SECONDS_MAX = 100.0        # a component beyond is no place on this planet (§18.8)
PEER_ERROR_MAX = 10.0
_VERSION = b"\x01"
_NUMBERS = frozenset((float, int))

Vec = tuple[float, ...]
"""Eight of them."""


@dataclass(slots=True)
class Coordinate:
    """Lengths are seconds; `error` has no unit. Nobody changes one once it is made."""

    vec: Vec = (0.0,) * DIMENSIONS
    error: float = ERROR_MAX
    adjustment: float = 0.0
    height: float = HEIGHT_MIN

    def is_finite(self) -> bool:
        a, b, c, d, e, f, g, h = self.vec
        return math.isfinite(a + b + c + d + e + f + g + h + self.error + self.adjustment + self.height)


ORIGIN = Coordinate()


def distance_ns(a: Coordinate, b: Coordinate) -> int:
    """The estimated round trip: whole nanoseconds, rounded down; the largest for one that is not finite."""
    raw = _raw_distance(a, b)
    adjusted = raw + a.adjustment + b.adjustment
    ns = (adjusted if adjusted > 0.0 else raw) * 1e9
    return int(ns) if ns < DISTANCE_NS_MAX else DISTANCE_NS_MAX


def encode_coordinate(c: Coordinate) -> bytes:
    """The payload of an ack."""
    return _VERSION + pack({"Adjustment": c.adjustment, "Error": c.error, "Height": c.height, "Vec": c.vec})


def decode_coordinate(payload: bytes) -> Coordinate:
    """A peer's, believable. Raises WireError."""
    if not payload.startswith(_VERSION):
        raise WireError(BAD_TYPE, f"coordinate version {payload[:1].hex()}")
    fields = unpack_map(payload[1:])
    vec = take_list(fields, b"Vec")
    if len(vec) != DIMENSIONS or not _NUMBERS.issuperset(map(type, vec)):
        raise WireError(BAD_FIELD, "coordinate dimensions")
    peer = Coordinate(tuple(map(float, vec)), take_float(fields, b"Error"),    # type: ignore[arg-type]
                      take_float(fields, b"Adjustment"), take_float(fields, b"Height"))
    if not believable(peer):
        raise WireError(BAD_FIELD, "absurd coordinate")
    return peer


def believable(peer: Coordinate) -> bool:
    """Finite values can still be so absurd that they spoil everybody's coordinates."""
    low, high = -PEER_SECONDS_MAX, PEER_SECONDS_MAX
    return (len(peer.vec) == DIMENSIONS and peer.is_finite() and low <= min(peer.vec) and max(peer.vec) <= high
            and low <= peer.adjustment <= high and 0.0 <= peer.height <= high and 0.0 <= peer.error <= PEER_ERROR_MAX)


class Vivaldi:
    """This node's coordinate, moved by every measured round trip."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.coordinate = ORIGIN
        self.resets = 0
        self._latencies: dict[str, tuple[float, ...]] = {}
        self._window = [0.0] * WINDOW
        self._window_at = 0

    def update(self, name: str, peer: Coordinate, rtt_ns: int) -> bool:
        """False, and nothing changed, for a peer or round trip that cannot be believed."""
        return believable(peer) and self.move(name, peer, rtt_ns)

    def move(self, name: str, peer: Coordinate, rtt_ns: int) -> bool:
        """`update` for a peer that is known to be believable."""
        if not 0 <= rtt_ns <= RTT_NS_MAX:
            return False
        rtt_s = self._filter(name, _seconds(rtt_ns))
        self.coordinate = self._attract(peer, rtt_s)
        self._adjust(peer, rtt_s)
        self.coordinate = self._gravity()
        if not self.coordinate.is_finite():
            self._reset()
        return True

    def rtt_s(self, name: str) -> float | None:
        """The median of the last round trips to this node, as measured."""
        latencies = self._latencies.get(name)
        return None if latencies is None else sorted(latencies)[len(latencies) // 2]

    def forget(self, name: str) -> None:
        self._latencies.pop(name, None)

    def _reset(self) -> None:
        self.resets += 1
        self.coordinate = ORIGIN
        self._window = [0.0] * WINDOW       # Serf keeps it, and resets again at each of the next 19 updates

    def _filter(self, name: str, rtt_s: float) -> float:
        latencies = (*self._latencies.get(name, ()), rtt_s)[-LATENCIES:]
        self._latencies[name] = latencies
        return sorted(latencies)[len(latencies) // 2]       # of two the larger

    def _attract(self, peer: Coordinate, rtt_s: float) -> Coordinate:
        c = self.coordinate
        dist = _seconds(distance_ns(c, peer))
        rtt_s = max(rtt_s, ZERO)
        wrongness = abs(dist - rtt_s) / rtt_s
        total = max(c.error + peer.error, ZERO)
        weight = c.error / total
        error = min(CE * weight * wrongness + c.error * (1.0 - CE * weight), ERROR_MAX)
        return self._push(Coordinate(c.vec, error, c.adjustment, c.height), peer, CC * weight * (rtt_s - dist))

    def _adjust(self, peer: Coordinate, rtt_s: float) -> None:
        c = self.coordinate
        self._window[self._window_at] = rtt_s - _raw_distance(c, peer)
        self._window_at = (self._window_at + 1) % WINDOW
        total = 0.0
        for sample in self._window:
            total += sample
        self.coordinate = Coordinate(c.vec, c.error, total / (2.0 * WINDOW), c.height)

    def _gravity(self) -> Coordinate:
        """A weak pull that keeps all coordinates together around the origin."""
        pull = _seconds(distance_ns(ORIGIN, self.coordinate)) / GRAVITY_RHO
        return self._push(self.coordinate, ORIGIN, -1.0 * (pull * pull))

    def _push(self, c: Coordinate, other: Coordinate, force: float) -> Coordinate:
        """Move `c` away from `other`, or toward it for a negative force."""
        away = _minus(c.vec, other.vec)
        length = _length(away)
        unit: Vec
        if length > ZERO:
            height = max((c.height + other.height) * force / length + c.height, HEIGHT_MIN)
            scale = 1.0 / length
            x0, x1, x2, x3, x4, x5, x6, x7 = away
            unit = (x0 * scale, x1 * scale, x2 * scale, x3 * scale, x4 * scale, x5 * scale, x6 * scale, x7 * scale)
        else:
            height, unit = c.height, self._random_direction()
        v0, v1, v2, v3, v4, v5, v6, v7 = c.vec
        u0, u1, u2, u3, u4, u5, u6, u7 = unit
        moved = (v0 + u0 * force, v1 + u1 * force, v2 + u2 * force, v3 + u3 * force,
                 v4 + u4 * force, v5 + u5 * force, v6 + u6 * force, v7 + u7 * force)
        return Coordinate(moved, c.error, c.adjustment, height)

    def _random_direction(self) -> Vec:
        draws = tuple([self._rng.random() - 0.5 for _ in range(DIMENSIONS)])
        length = _length(draws)
        if length > ZERO:
            scale = 1.0 / length
            return tuple([d * scale for d in draws])
        return (1.0,) + (0.0,) * (DIMENSIONS - 1)


class Coordinates:
    """Our own coordinate and those of the nodes that we have probed: what acks carry and what users ask for."""

    def __init__(self, local_name: str, rng: Random) -> None:
        self._local_name = local_name
        self.vivaldi = Vivaldi(rng)
        self._payload = encode_coordinate(ORIGIN)
        self._peers: dict[str, bytes] = {}      # as they came: a quarter of the room of the decoded ones

    @property
    def ack_payload(self) -> bytes:
        return self._payload

    def measured(self, name: str, payload: bytes, rtt_s: float) -> None:
        """A direct ping was answered with this payload. Raises WireError if it is unusable.

        An empty one is fine: that peer has no coordinates.
        """
        if payload and self.vivaldi.move(name, decode_coordinate(payload), int(rtt_s * 1e9)):
            self._peers[name] = payload
            self._payload = encode_coordinate(self.vivaldi.coordinate)

    def get(self, name: str) -> Coordinate | None:
        if name == self._local_name:
            return self.vivaldi.coordinate
        payload = self._peers.get(name)
        return None if payload is None else decode_coordinate(payload)

    def forget(self, name: str) -> None:
        self._peers.pop(name, None)
        self.vivaldi.forget(name)


def _seconds(ns: int) -> float:
    """As Go's Duration.Seconds rounds."""
    return ns // 1_000_000_000 + (ns % 1_000_000_000) / 1e9


def _raw_distance(a: Coordinate, b: Coordinate) -> float:
    return _length(_minus(a.vec, b.vec)) + a.height + b.height


# Loops over eight numbers, written out: this runs for every answered ping.

def _minus(v: Vec, w: Vec) -> Vec:
    v0, v1, v2, v3, v4, v5, v6, v7 = v
    w0, w1, w2, w3, w4, w5, w6, w7 = w
    return v0 - w0, v1 - w1, v2 - w2, v3 - w3, v4 - w4, v5 - w5, v6 - w6, v7 - w7


def _length(v: Vec) -> float:
    a, b, c, d, e, f, g, h = v
    return math.sqrt(a * a + b * b + c * c + d * d + e * e + f * f + g * g + h * h)
