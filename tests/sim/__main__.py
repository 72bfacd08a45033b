"""Run one scenario: `python -m tests.sim --scenario crash --seed 7 --nodes 1000`. Exit status 1 if a check fails."""

from __future__ import annotations

import argparse
import resource
import sys
import time
from contextlib import nullcontext
from pathlib import Path

from tests.sim.run import Run, Settings
from tests.sim.scenarios import SCENARIOS, play
from tests.sim.trace import Trace


def main() -> int:
    options = _parser().parse_args()
    if options.list:
        for name, scenario in SCENARIOS.items():
            print(f"{name:22}{scenario.nodes:5} nodes  {scenario.about}")
        return 0
    with open(options.trace, "w") if options.trace else nullcontext() as lines:
        settings = Settings(options.seed, options.nodes, options.seconds, options.loss, Trace(lines))
        started, cpu = time.perf_counter(), time.process_time()
        run = play(options.scenario, settings)
        _report(run, time.perf_counter() - started, time.process_time() - cpu)
    return 1 if run.problems else 0


def _report(run: Run, wall_s: float, cpu_s: float) -> None:
    world = run.world
    packets = sum(host.sent_packets for host in world.hosts.values())
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{run.name}: {SCENARIOS[run.name].about}")
    for key, value in run.facts.items():
        print(f"  {key} = {value}")
    wall_s, cpu_s = wall_s - run.building_s, cpu_s - run.building_cpu_s
    print(f"  {len(world.hosts)} nodes made in {run.building_s:.2f} s; {world.now:.1f} s virtual in {wall_s:.2f} s:"
          f" {wall_s / world.now:.3f} s, {cpu_s / world.now:.3f} s CPU for each virtual second;"
          f" {packets} packets; {peak_mb:.0f} MB at most")
    print(f"  trace {world.trace.hexdigest()} of {world.trace.entries} entries, Python {sys.version.split()[0]}")
    for problem in run.problems:
        print(f"  WRONG: {problem}")
    print("  again: " + run.command_line)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description="Real nodes in a simulated world.")
    parser.add_argument("--scenario", choices=list(SCENARIOS), default="quiet", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nodes", type=int)
    parser.add_argument("--seconds", type=float, help="virtual time, as far as the scenario lets one choose")
    parser.add_argument("--loss", type=float, help="share of packets lost, 0 to 1")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write every event as a line of text")
    return parser


if __name__ == "__main__":
    sys.exit(main())
