"""Tests of shells in virtual time: the clock jumps ahead whenever every task waits."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

import trio
import trio.testing

UNTIL_S = 10.0


async def until(condition: Callable[[], object]) -> None:
    """Wait for it in real time, for UNTIL_S at most."""
    with trio.fail_after(UNTIL_S):
        while not condition():
            await trio.sleep(0.002)


def in_virtual_time(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A pytest test of an async function. No real sockets in it: the clock would jump while a packet is in flight."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        clock = trio.testing.MockClock(autojump_threshold=0)
        trio.run(functools.partial(test, *args, **kwargs), clock=clock, strict_exception_groups=True)

    return run


def in_real_time(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """For real sockets on one machine: fast because nothing waits for time. A test that hangs fails after 20 s."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def bounded() -> None:
            with trio.fail_after(20):
                await test(*args, **kwargs)

        trio.run(bounded, strict_exception_groups=True)

    return run
