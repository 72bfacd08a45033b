"""`python -m tests.support.completions` writes packaging/completions/ from gossipctl's table and gossipd's flags."""

from __future__ import annotations

from pathlib import Path

from gossipd.ctl.completion import PROGRAMS, script

DIRECTORY = Path(__file__).resolve().parent.parent.parent / "packaging/completions"
PATTERNS = {"bash": "{}", "zsh": "_{}", "fish": "{}.fish"}     # as the shells look for them
FILES = {(shell, program): DIRECTORY / pattern.format(program)
         for shell, pattern in PATTERNS.items() for program in PROGRAMS}

if __name__ == "__main__":
    for (shell, program), path in FILES.items():
        path.write_text(script(shell, program))
