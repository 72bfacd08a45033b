"""A child process for a script: its own process group, input and output by pipes, ended if it takes too long."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from string import ascii_letters, digits

import trio

OUTPUT_BYTES_MAX = 8192         # kept of a child's output: the last ones, as in Serf (spec agent §11)
READ_BYTES = 65536              # a pipe's usual size
FLOOD_BYTES = 1 << 20           # of output; from then on there are pauses between reads,
FLOOD_PAUSE_S = 0.002           # so that a child that writes without end gets 32 MB/s and not all of our time
EOF_GRACE_S = 0.5               # after the end of the script a process in its background may hold the output open
SLOW_S = 1.0                    # a child that runs for longer is worth a word
TERM_GRACE_S = 2.0              # between TERM and KILL, both to the script's whole process group
KILL_GRACE_S = 1.0              # then a child is given up: it waits in the kernel, or is another user's
POLL_S = 0.01                   # between looks at a child on kernels without pidfd (before 5.3)

_IN_PLAIN_PATHS = frozenset(ascii_letters + digits + "/._+-")
# What is ignored children inherit: Python ignores the first two, and a parent of ours may have ignored the third.
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD)


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

    def go_words(self) -> str:
        """As programs in Go say it: `exit status 3`, `signal: killed`."""
        if self.status >= 0:
            return f"exit status {self.status}"
        return f"signal: {(signal.strsignal(-self.status) or str(-self.status)).lower()}"


def own_environment() -> dict[bytes, bytes]:
    """What we were started with, and PWD, which shells set too.

    In the C locale Python adds LC_CTYPE to its own (PEP 538), which is not for children.
    """
    environment = dict(os.environb)
    with suppress(OSError), open("/proc/self/environ", "rb") as file:
        if not any(item.startswith(b"LC_CTYPE=") for item in file.read().split(b"\0")):
            environment.pop(b"LC_CTYPE", None)
    if not _is_here(environment.get(b"PWD", b"")):
        with suppress(OSError):
            environment[b"PWD"] = os.getcwdb()
    return environment


def _is_here(path: bytes) -> bool:
    try:
        return os.path.samefile(path, b".")
    except OSError:
        return False


class Child:
    """A running `/bin/sh -c script`. One task looks after it, so that a short script costs us little more than itself.

    posix_spawn takes 0.1 ms however large the daemon is; `trio.run_process` takes several, and a thread.
    """

    def __init__(self, script: str, environment: Mapping[bytes, bytes], stdin: bytes) -> None:
        """Raises OSError or ValueError (a NUL in the environment) if it cannot be started."""
        self._started = trio.current_time()
        self._stdin = stdin
        self._tail, self._received = bytearray(), 0
        self._exited = False
        self._pidfd = self._input = self._output = -1
        self._events = select.epoll()       # one thing to wait for, whatever happens
        theirs: list[int] = []
        try:
            taken, self._input = os.pipe2(os.O_CLOEXEC)
            theirs.append(taken)
            self._output, written = os.pipe2(os.O_CLOEXEC)
            theirs.append(written)
            os.set_blocking(self._input, False)
            self._write()       # before the child is there: what fits into the pipe needs no second thought
            self.pid = _spawn(script, environment, (taken, written, written))
        except BaseException:
            self._close()
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        self._watch()

    def _watch(self) -> None:
        self._events.register(self._output, select.EPOLLIN)
        if self._input >= 0:
            self._events.register(self._input, select.EPOLLOUT)
        with suppress(OSError):
            self._pidfd = os.pidfd_open(self.pid)
            self._events.register(self._pidfd, select.EPOLLIN)

    async def finish(self, timeout_s: float, slow: Callable[[], None]) -> Outcome:
        """Until it has ended: by itself, or by TERM and KILL after `timeout_s` or when this is cancelled.

        `slow` is called if it still runs after SLOW_S.
        """
        try:
            await self._attend(min(SLOW_S, timeout_s), EOF_GRACE_S)
            if not self._exited and timeout_s > SLOW_S:
                slow()
                await self._attend(timeout_s - SLOW_S, EOF_GRACE_S)
        finally:
            timed_out = not self._exited
            if timed_out:
                with trio.CancelScope(shield=True):
                    await self._terminate()
            self._close()
            status = self._reap()
        return Outcome(status, bytes(self._tail[-OUTPUT_BYTES_MAX:]), trio.current_time() - self._started, timed_out)

    async def _attend(self, timeout_s: float, eof_grace_s: float) -> None:
        """Until it has ended, with its output or else `eof_grace_s` later; at most `timeout_s`."""
        with trio.move_on_after(timeout_s) as patience:
            while self._output >= 0 or not self._exited:
                await self._news()
                for descriptor, _ in self._events.poll(0):
                    if descriptor == self._output:
                        await self._read()
                    elif descriptor == self._input:
                        self._write()
                if not self._exited and self._has_exited():
                    patience.deadline = trio.current_time() + eof_grace_s

    async def _news(self) -> None:
        with trio.move_on_after(POLL_S if self._pidfd < 0 else inf):
            await trio.lowlevel.wait_readable(self._events.fileno())

    def _has_exited(self) -> bool:
        try:
            self._exited = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            self._exited = True     # and reaped, not by us
        if self._exited and self._pidfd >= 0:
            self._events.unregister(self._pidfd)
        return self._exited

    async def _read(self) -> None:
        data = os.read(self._output, READ_BYTES)
        self._received += len(data)
        self._tail += data
        if len(self._tail) > READ_BYTES:
            del self._tail[:-OUTPUT_BYTES_MAX]
        if not data:
            os.close(self._output)
            self._output = -1
        elif self._received > FLOOD_BYTES:
            await trio.sleep(FLOOD_PAUSE_S)

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

    async def _terminate(self) -> None:
        """All of the group goes. Until we reap the child, its number stands for no other group."""
        self._signal_group(signal.SIGTERM)
        await self._attend(TERM_GRACE_S, TERM_GRACE_S)
        self._signal_group(signal.SIGKILL)
        await self._attend(KILL_GRACE_S, 0.0)

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(OSError):     # nobody in it is ours any more
            os.killpg(self.pid, number)

    def _reap(self) -> int:
        """The exit status, as subprocess gives it; of a child given up, or reaped by others, that of one killed."""
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return -signal.SIGKILL
        return os.waitstatus_to_exitcode(status) if pid else -signal.SIGKILL

    def _close(self) -> None:
        self._events.close()
        for descriptor in (self._input, self._output, self._pidfd):
            if descriptor >= 0:
                os.close(descriptor)
        self._input = self._output = self._pidfd = -1


def _spawn(script: str, environment: Mapping[bytes, bytes], files: Sequence[int]) -> int:
    """The process id. A script that is just a path runs without the shell, which would take a third of a short run.

    A process group, not a session: where the kernel schedules by session (sched_autogroup), a new one for each child
    takes it twice the time on a busy machine.
    """
    def spawn(*argv: str) -> int:
        return os.posix_spawn(argv[0], argv, environment, file_actions=actions, setpgroup=0, setsigdef=_RESTORED)

    actions = [(os.POSIX_SPAWN_DUP2, ours, theirs) for theirs, ours in enumerate(files)]
    if script.startswith("/") and _IN_PLAIN_PATHS.issuperset(script):
        with suppress(OSError):     # the shell knows what to say, or how to run a file without #!
            return spawn(script)
    return spawn("/bin/sh", "-c", script)
