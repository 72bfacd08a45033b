"""python -m gossipd"""

from __future__ import annotations

import sys

from gossipd.daemon.main import main

if __name__ == "__main__":
    sys.exit(main())
