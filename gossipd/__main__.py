"""python -m gossipd, and the program `gossipd`; by the name of `serf` it is Serf's command line."""

from __future__ import annotations

import gc
import sys

gc.disable()    # until the daemon runs: start-up makes no garbage worth looking for


def main() -> int:
    try:
        return _main()
    except KeyboardInterrupt:
        return 1        # before there was anything to end


def _main() -> int:
    if sys.argv[0].rpartition("/")[2] == "serf":
        from gossipd.serfcli.main import run

        run()
    from gossipd.daemon.interrupts import Interrupts

    interrupts = Interrupts()
    interrupts.hold()
    from gossipd.daemon.main import main as run_gossipd

    try:
        return run_gossipd(decided=interrupts.decided)
    finally:
        interrupts.decided()


if __name__ == "__main__":
    sys.exit(main())
