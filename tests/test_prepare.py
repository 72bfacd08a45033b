"""`make demo` and `make test` may be called while another one prepares the same checkout."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTHON = """#!/bin/sh
[ "$2" = venv ] || { echo 3.11 True; exit 0; }
mkdir busy || exit 1
sleep 0.3
mkdir -p .venv/bin
printf '#!/bin/sh\\n' | tee .venv/bin/python >.venv/bin/pip
chmod +x .venv/bin/*
rmdir busy
"""
"""Makes an environment, and fails if another one is being made."""


def test_of_two_at_once_the_second_waits_for_the_first(tmp_path):
    (tmp_path / "tests/support").mkdir(parents=True)
    prepare = shutil.copy(ROOT / "tests/support/prepare", tmp_path / "tests/support")
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    both = [subprocess.Popen([prepare, "runtime"], env={"PATH": "/usr/bin:/bin", "PYTHON": "./python"},
                             stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [one.communicate(timeout=30)[1] for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert sum("making .venv" in text for text in said) == 1 == sum("waiting" in text for text in said)
