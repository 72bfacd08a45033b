"""A child process for a script: its own session, input and output by pipes, ended if it takes too long."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import trio

OUTPUT_BYTES_MAX = 8192         # kept of a child's output: the last ones, as in Serf (spec agent §11)
READ_BYTES = 65536              # a pipe's usual size
FLOOD_PAUSE_S = 0.002           # between full reads: a child that writes without end gets 32 MB/s, not all of our time
EOF_GRACE_S = 0.5               # after the end of the script a process in its background may hold the output open
SLOW_S = 1.0                    # a child that runs for longer is worth a word
TERM_GRACE_S = 2.0              # between TERM and KILL, both to the script's whole process group
KILL_GRACE_S = 1.0              # then a child is given up: it waits in the kernel, or is another user's
POLL_S = 0.01                   # for the end of a child, on kernels without pidfd (before 5.3)

_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)    # Python ignores them, and what is ignored children inherit


@dataclass(slots=True)
class Outcome:
    status: int                 # exit status; negative: the number of the signal that ended it
    output: bytes               # the last OUTPUT_BYTES_MAX of stdout and stderr together
    duration_s: float
    timed_out: bool             # or was ended because we end

    def describe(self) -> str:
        """In a log line: `status=3`, `signal=SIGKILL`."""
        if self.status >= 0:
            return f"status={self.status}"
        number = -self.status
        return f"signal={signal.Signals(number).name if number in set(signal.Signals) else number}"


class Child:
    """A running `/bin/sh -c script`.

    posix_spawn takes 0.1 ms however large the daemon is; `trio.run_process` takes twenty times that, and a thread.
    """

    def __init__(self, script: str, environment: Mapping[bytes, bytes], stdin: bytes) -> None:
        """Raises OSError or ValueError (a NUL in the environment) if it cannot be started."""
        self._started = trio.current_time()
        self._stdin = stdin
        self._tail = bytearray()
        self._eof = trio.Event()
        self._exited = False
        self._pidfd = self._input = self._output = -1
        theirs: list[int] = []
        try:
            taken, self._input = os.pipe2(os.O_CLOEXEC)
            theirs.append(taken)
            self._output, written = os.pipe2(os.O_CLOEXEC)
            theirs.append(written)
            os.set_blocking(self._input, False)
            os.set_blocking(self._output, False)
            self._write()       # before the child is there: what fits into the pipe needs no second thought
            self.pid = os.posix_spawn(
                "/bin/sh", ["/bin/sh", "-c", script], environment, setsid=True, setsigdef=_RESTORED,
                file_actions=[(os.POSIX_SPAWN_DUP2, taken, 0), (os.POSIX_SPAWN_DUP2, written, 1),
                              (os.POSIX_SPAWN_DUP2, written, 2)])
        except BaseException:
            self._close()
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:
            pass        # then we poll

    async def finish(self, timeout_s: float, slow: Callable[[], None]) -> Outcome:
        """Until it has ended: by itself, or by TERM and KILL after `timeout_s` or when this is cancelled.

        `slow` is called if it still runs after SLOW_S.
        """
        try:
            await self._communicate_within(min(SLOW_S, timeout_s))
            if not self._exited and timeout_s > SLOW_S:
                slow()
                await self._communicate_within(timeout_s - SLOW_S)
        finally:
            timed_out = not self._exited
            if timed_out:
                with trio.CancelScope(shield=True):
                    await self._terminate()
            self._close()
            status = self._reap()
        return Outcome(status, bytes(self._tail[-OUTPUT_BYTES_MAX:]), trio.current_time() - self._started, timed_out)

    async def _communicate_within(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self._communicate(EOF_GRACE_S)

    async def _communicate(self, eof_grace_s: float) -> None:
        """Until it has ended and its output too, but at most `eof_grace_s` after its end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read)
            if self._input >= 0:
                nursery.start_soon(self._feed)
            await self._exit()
            with trio.move_on_after(eof_grace_s):
                await self._eof.wait()
            nursery.cancel_scope.cancel()

    async def _terminate(self) -> None:
        """All of the group goes. Until we reap the child, its number stands for no other group."""
        self._signal_group(signal.SIGTERM)
        with trio.move_on_after(TERM_GRACE_S):
            await self._communicate(TERM_GRACE_S)
        self._signal_group(signal.SIGKILL)
        with trio.move_on_after(KILL_GRACE_S):
            await self._exit()

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(OSError):     # nobody in it is ours any more
            os.killpg(self.pid, number)

    def _reap(self) -> int:
        """The exit status, as subprocess gives it; of a child given up that of one killed."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else -signal.SIGKILL

    async def _exit(self) -> None:
        if self._pidfd >= 0:
            await trio.lowlevel.wait_readable(self._pidfd)
        else:
            while os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                await trio.sleep(POLL_S)
        self._exited = True

    async def _read(self) -> None:
        while not self._eof.is_set():
            await trio.lowlevel.wait_readable(self._output)
            data = os.read(self._output, READ_BYTES)
            if not data:
                self._eof.set()
            self._tail += data
            if len(self._tail) > READ_BYTES:
                del self._tail[:-OUTPUT_BYTES_MAX]
            if len(data) == READ_BYTES:
                await trio.sleep(FLOOD_PAUSE_S)

    async def _feed(self) -> None:
        while self._input >= 0:
            await trio.lowlevel.wait_writable(self._input)
            self._write()

    def _write(self) -> None:
        """As much of the input as goes; after the last of it, or when nobody reads any more, the pipe is closed."""
        try:
            while self._stdin:
                self._stdin = self._stdin[os.write(self._input, self._stdin):]
        except BlockingIOError:
            return
        except BrokenPipeError:
            pass        # a script need not read
        os.close(self._input)
        self._input = -1

    def _close(self) -> None:
        for descriptor in (self._input, self._output, self._pidfd):
            if descriptor >= 0:
                os.close(descriptor)
        self._input = self._output = self._pidfd = -1
