"""Work that blocks, mostly on disks, away from the event loop."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any, TypeVar

import trio

T = TypeVar("T")
# trio 0.22 calls it by another name
_ABANDON: dict[str, Any] = {"cancellable" if trio.__version__.startswith("0.22.") else "abandon_on_cancel": True}


async def in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """If the caller is cancelled, nobody waits for the thread: one that hangs in the kernel must not hold us up.

    It is one more thread, however many there are: those that trio hands out may all hang in name look-ups. Raises
    OSError if this process may have no more.
    """
    begun = False

    def begin() -> T:
        nonlocal begun
        begun = True
        return work(*arguments)

    try:
        return await trio.to_thread.run_sync(begin, limiter=trio.CapacityLimiter(1), **_ABANDON)
    except RuntimeError:
        if begun:
            raise
        raise OSError(errno.EAGAIN, f"cannot start a thread: {os.strerror(errno.EAGAIN)}") from None
