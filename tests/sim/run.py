"""One run of a scenario: its settings, its world, what was measured and what was wrong."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import Any

from tests.sim.checkers import Agreement, ClockWatch, false_failures, odd_events
from tests.sim.network import Quality
from tests.sim.real import real_world
from tests.sim.trace import Trace
from tests.sim.world import World


@dataclass(slots=True)
class Settings:
    """What the command line may change. None: the scenario's own choice."""

    seed: int = 1
    nodes: int | None = None
    seconds: float | None = None
    loss: float | None = None
    trace: Trace | None = None


@dataclass(slots=True)
class Run:
    """One run: facts to report and problems found."""

    name: str
    settings: Settings
    nodes: int
    seconds: float
    world: World = field(init=False)
    agreement: Agreement = field(init=False)
    clocks: ClockWatch = field(init=False)
    facts: dict[str, object] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    building_s: float = 0.0     # real time that making the world took
    building_cpu_s: float = 0.0
    overrides: dict[str, Any] = field(default_factory=dict)     # settings over the scenario's own
    slow_ones_may_err: bool = False

    def begin(self, *, acquainted: bool = True, nodes: int | None = None, quality: Quality | None = None,
              **settings: Any) -> World:
        """A new world for this run; what was asked for on the command line goes over `quality`."""
        quality = quality or Quality()
        if self.settings.loss is not None:
            quality.loss = self.settings.loss
        began, cpu = perf_counter(), process_time()
        self.world = real_world(self.settings.seed, self.nodes if nodes is None else nodes, quality,
                                acquainted=acquainted, trace=self.settings.trace, **{**settings, **self.overrides})
        self.building_s += perf_counter() - began
        self.building_cpu_s += process_time() - cpu
        self.agreement = Agreement(self.world)
        self.clocks = ClockWatch(self.world)
        self.clocks.begin()
        return self.world

    def expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.problems.append(otherwise)

    def agree(self, within_s: float, step_s: float = 0.05) -> float | None:
        """Wait until everybody agrees who is alive; a problem if that takes too long. Seconds."""
        took = self.world.wait_for(self.agreement.holds, within_s, step_s)
        if took is None:
            self.problems.append(f"no agreement within {within_s:g} s")
            self.problems += self.agreement.disagreements()[:5]
            return None
        return round(took, 3)

    def finish(self) -> Run:
        """The checks that hold in every world."""
        self.problems += false_failures(self.world, self.slow_ones_may_err)
        self.problems += odd_events(self.world) + self.clocks.problems
        return self

    @property
    def command_line(self) -> str:
        given = self.settings
        words = ["python", "-m", "tests.sim", "--scenario", self.name, "--seed", str(given.seed),
                 "--nodes", str(self.nodes)]
        if given.seconds is not None:
            words += ["--seconds", f"{given.seconds:g}"]
        if given.loss is not None:
            words += ["--loss", f"{given.loss:g}"]
        return shlex.join(words)


@dataclass(frozen=True, slots=True)
class Scenario:
    play: Callable[[Run], None]
    nodes: int
    seconds: float              # virtual time that it takes, or at most takes

    @property
    def about(self) -> str:
        return (self.play.__doc__ or "").strip().splitlines()[0]
