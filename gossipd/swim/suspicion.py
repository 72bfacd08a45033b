"""A suspicion: a countdown that every new accuser shortens (Lifeguard, LHA-Suspicion; spec memberlist §11)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from gossipd.swim.config import SwimConfig


@dataclass(slots=True)
class Suspicion:
    """A value that answers when it ends. `n`, and with it everything but the accusers, is fixed at the start."""

    started: float              # seconds, monotonic
    min_s: float
    max_s: float
    wanted: int                 # confirmations that bring the countdown down to min_s
    accusers: dict[str, None]   # in order of arrival; the first is not a confirmation
    refused_by: tuple[str, ...] = field(default=())     # witnesses that nobody listens on its port any more
    refused_at: float = math.inf                        # when there were enough of them
    answered: bool = False                              # a probe of ours since it began
    called: float = -math.inf                           # when we told the suspect itself, for the last time

    def confirm(self, accuser: str) -> bool:
        """Count `accuser` once. True if the countdown became shorter."""
        if accuser in self.accusers or len(self.accusers) > self.wanted:
            return False
        self.accusers[accuser] = None
        return True

    def deadline(self, grace_s: float) -> float:
        """When the suspect is to be declared dead: seconds, monotonic. `grace_s` runs from enough refusals."""
        return min(self.started + self.countdown_s(), self.refused_at + grace_s)

    def countdown_s(self) -> float:
        if self.wanted < 1:
            return self.min_s
        shrink = math.log(len(self.accusers)) / math.log(self.wanted + 1)
        # whole milliseconds, rounded down, as the reference does and its vectors show (§11.3)
        return max(self.min_s, math.floor(1000 * (self.max_s - shrink * (self.max_s - self.min_s))) / 1000)


def suspicion_for(config: SwimConfig, n: int, now: float, accuser: str) -> Suspicion:
    """A new suspicion in a table of `n` records (§11.1, §11.2)."""
    min_s = min_timeout_s(config.suspicion_mult, n, config.probe_interval_s)
    wanted = config.suspicion_mult - 2
    if n - 2 < wanted:
        wanted = 0
    return Suspicion(now, min_s, config.suspicion_max_timeout_mult * min_s, max(0, wanted), {accuser: None})


def min_timeout_s(mult: int, n: int, probe_interval_s: float) -> float:
    scale = max(1.0, math.log10(max(1, n)))
    return mult * math.floor(scale * 1000) * probe_interval_s / 1000
