"""Many small writes at once: an event for 2000 stream clients is 2000 system calls, which two threads share.

A call on a TCP socket takes several microseconds, in which Python lets another thread go on. The caller waits for both,
so nothing else of the daemon runs meanwhile, as if it had written alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

SHARED_FROM = 32        # writes; waking the other thread for fewer takes longer than to write them

T = TypeVar("T")
Send = Callable[[bytes], int]
"""A non-blocking socket's `send`."""


class Fanout(Generic[T]):
    """`T` is by whom writes are told apart."""

    def __init__(self) -> None:
        self._helper: ThreadPoolExecutor | None = None

    def write(self, writes: list[tuple[T, Send, bytes]]) -> list[tuple[T, bytes]]:
        """Try each once: what could not be written, of whom. An error is one more thing that can be met again."""
        left: list[tuple[T, bytes]] = []
        each = iter(writes)
        helped = self._help(each, left) if len(writes) >= SHARED_FROM else None
        _write_each(each, left)
        if helped is not None:
            helped.result()
        return left

    def _help(self, each: Iterator[tuple[T, Send, bytes]], left: list[tuple[T, bytes]]) -> Future[None] | None:
        """The other thread takes from the same iterator; None if there can be no other thread."""
        if self._helper is None:
            self._helper = ThreadPoolExecutor(1, "fanout")
        try:
            return self._helper.submit(_write_each, each, left)
        except RuntimeError:        # no more threads for this process
            self._helper = None     # it keeps what it was given for when there is one
            return None


def _write_each(each: Iterator[tuple[T, Send, bytes]], left: list[tuple[T, bytes]]) -> None:
    """Runs twice at a time: taking the next of a list and adding to one are single steps of the interpreter."""
    for who, send, data in each:
        try:
            sent = send(data)
        except OSError:
            sent = 0
        if sent != len(data):
            left.append((who, data[sent:]))
