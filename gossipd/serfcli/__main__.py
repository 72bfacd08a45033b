"""python -m gossipd.serfcli"""

from __future__ import annotations

from gossipd.serfcli.main import run

if __name__ == "__main__":
    run()
