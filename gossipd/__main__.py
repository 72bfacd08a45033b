"""python -m gossipd"""

from __future__ import annotations

import gc
import sys

gc.disable()    # until the daemon runs: start-up makes no garbage worth looking for

from gossipd.daemon.main import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
