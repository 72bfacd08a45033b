"""`python -m tests.support.completions` writes packaging/completions/ from gossipctl's own table."""

from __future__ import annotations

from pathlib import Path

from gossipd.ctl.completion import script

DIRECTORY = Path(__file__).resolve().parent.parent.parent / "packaging/completions"
FILES = {"bash": "gossipctl", "zsh": "_gossipctl", "fish": "gossipctl.fish"}     # as the shells look for them

if __name__ == "__main__":
    for shell, name in FILES.items():
        (DIRECTORY / name).write_text(script(shell))
