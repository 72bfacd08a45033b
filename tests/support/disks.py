"""Small file systems of their own, for tests of disks that are full or cannot be written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.require import need, need_root


class Disk:
    """Mounted at `path`, with room for 256 KiB."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """Not a byte is left, until `free`."""
        with (self.path / "filler").open("wb", buffering=0) as filler:
            for size in (4096, 1):
                try:
                    while filler.write(b"x" * size):
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        (self.path / "filler").unlink()

    def read_only(self, on: bool) -> None:
        _mount("-o", "remount,ro" if on else "remount,rw", str(self.path))


@contextmanager
def small_disk(path: Path) -> Iterator[Disk]:
    """Skips the test where none can be made."""
    need_root("disks that are full or read-only")
    os.makedirs(path)
    need(_mount("-t", "tmpfs", "-o", "size=256k", "none", str(path)), "disks that are full or read-only: cannot mount")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0
