"""Log lines on stderr: for people, for systemd's journal, or as JSON. A stuck reader never holds the daemon up."""

from __future__ import annotations

import logging
import os
import select
import sys
import time
from collections import deque
from collections.abc import Callable

LINE_BYTES_MAX = 4096       # PIPE_BUF: a pipe that has room for anything has room for all of this
RING_LINES = 512            # that a monitor is shown first, as in Serf
PATIENCE_MS = 50            # once per stall: then lines are dropped and counted until there is room again

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_SYSLOG = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_SERF_WORDS = {logging.DEBUG: "DEBUG", logging.INFO: "INFO", logging.WARNING: "WARN", logging.ERROR: "ERR",
               logging.CRITICAL: "ERR"}
_IPC = "agent.ipc: "        # what sessions say of their clients begins with its component
_COLOURS = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m", logging.CRITICAL: "\x1b[31m"}


def set_up(level: str, style: str) -> LogRing:
    """`level` and `style` as in the configuration: debug info warning error; auto text journal json."""
    if style == "auto":
        style = "journal" if stderr_is_journal() else "text"
    formatters = {"text": TextFormatter, "journal": JournalFormatter, "json": JsonFormatter}
    handler = StderrHandler(sys.stderr.fileno())
    handler.setFormatter(formatters[style]())
    logger = logging.getLogger("gossipd")
    handler.setLevel(_LEVELS[level])
    ring = LogRing(logger, min(_LEVELS[level], logging.INFO))
    logger.handlers[:] = [handler, ring]
    logger.propagate = False
    # What a record would find out for each line and none of ours shows (logging's documentation, "Optimization").
    logging.logThreads = logging.logMultiprocessing = logging.logProcesses = False
    return ring


def stderr_is_journal() -> bool:
    """$JOURNAL_STREAM names the device and inode that stderr then has (systemd.exec(5))."""
    stream = os.environ.get("JOURNAL_STREAM", "")
    if not stream:
        return False
    try:
        info = os.fstat(sys.stderr.fileno())
    except OSError:
        return False
    return stream == f"{info.st_dev}:{info.st_ino}"


class TextFormatter(logging.Formatter):
    """`12:34:56.789 warning gossiper: text`, in colour on a terminal. Dates are there where lines are kept."""

    def __init__(self) -> None:
        super().__init__()
        self._terminal = sys.stderr.isatty()
        self._date = "%H:%M:%S" if self._terminal else "%Y-%m-%dT%H:%M:%S"

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime(self._date, time.localtime(record.created))
        line = f"{stamp}.{int(record.msecs):03} {record.levelname.lower():7} {short_name(record)}: {text_of(record)}"
        colour = _COLOURS.get(record.levelno, "") if self._terminal else ""
        return f"{colour}{line}\x1b[0m" if colour else line


class JournalFormatter(logging.Formatter):
    """`<4>gossiper: text`: the journal adds the rest. Each line of a longer text gets the prefix."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_SYSLOG.get(record.levelno, 6)}>"
        return f"\n{prefix}".join(f"{prefix}{short_name(record)}: {text_of(record)}".split("\n"))


class JsonFormatter(logging.Formatter):
    """One object a line: time (unix seconds), level, logger, text."""

    def __init__(self) -> None:
        super().__init__()
        import json  # 2 ms that the other formats do not pay

        self._encode = json.JSONEncoder(ensure_ascii=True).encode

    def format(self, record: logging.LogRecord) -> str:
        return self._encode({"time": round(record.created, 3), "level": record.levelname.lower(),
                             "logger": record.name, "text": text_of(record)})


def short_name(record: logging.LogRecord) -> str:
    return record.name.removeprefix("gossipd.")


def text_of(record: logging.LogRecord) -> str:
    """The message and, for an exception, its traceback."""
    text = record.getMessage()
    if record.exc_info:
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    return text


Words = tuple[int, str, str]
"""Level, component, text: a line of Serf's log without its time."""


def as_serf(level: int, component: str, text: str) -> dict[str, Words]:
    """`extra` of a record for which Serf's agent has words of its own, that operators look for."""
    return {"serf": (level, component, text)}


def own_words(record: logging.LogRecord) -> Words:
    return record.levelno, short_name(record), text_of(record)


def serf_line(record: logging.LogRecord, words: Words) -> str:
    stamp = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(record.created))
    level, component, text = words
    said = text if text.startswith(_IPC) else f"{component}: {text}"
    return f"{stamp} [{_SERF_WORDS.get(level, record.levelname)}] {said}"


class StderrHandler(logging.Handler):
    """Writes a line only if it can be written now."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._stuck = False
        self.dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.write_line((self.format(record) + "\n").encode("utf-8", "backslashreplace"))

    def write_line(self, line: bytes) -> None:
        """Or lines. What is too long for one write is cut off."""
        if not self._writable():
            self.dropped += 1
            return
        if self.dropped:
            dropped, self.dropped = self.dropped, 0
            self._write(b"(%d lines were dropped: nobody read them)\n" % dropped)
        self._write(line if len(line) <= LINE_BYTES_MAX else line[:LINE_BYTES_MAX - 5] + b" ...\n")

    def _writable(self) -> bool:
        self._stuck = not self._poll.poll(0 if self._stuck else PATIENCE_MS)
        return not self._stuck

    def _write(self, line: bytes) -> None:
        try:
            os.write(self._fd, line)
        except OSError:
            self.dropped += 1       # stderr is gone, which is no reason to end


class LogRing(logging.Handler):
    """The last lines of the log for RPC clients, and further ones as they come, in the form that Serf's agent gives.

    Both whatever level the daemon itself writes: lines below `level` come while somebody listens for them.
    """

    def __init__(
        self, logger: logging.Logger, level: int, words_of: Callable[[logging.LogRecord], Words] = own_words
    ) -> None:
        super().__init__()
        self._logger, self._least, self._words_of = logger, level, words_of
        self._lines: deque[tuple[int, str]] = deque(maxlen=RING_LINES)
        self._hearers: dict[Callable[[int, str], None], int] = {}
        self._set_level()

    def emit(self, record: logging.LogRecord) -> None:
        words = self._words_of(record)
        line = serf_line(record, words)[:LINE_BYTES_MAX]
        self._lines.append((words[0], line))
        for hear, level in tuple(self._hearers.items()):
            if words[0] >= level:
                hear(words[0], line)

    def recent(self, level: int) -> list[str]:
        """The last lines of this level or above, oldest first."""
        return [line for number, line in self._lines if number >= level]

    def show_from(self, level: int) -> None:
        """Take lines of this level and above, if no listener wants more."""
        self._least = level
        self._set_level()

    def listen(self, hear: Callable[[int, str], None], level: int) -> None:
        """`hear(level, line)` must not wait; what it logs itself, it hears."""
        self._hearers[hear] = level
        self._set_level()

    def mute(self, hear: Callable[[int, str], None]) -> None:
        self._hearers.pop(hear, None)
        self._set_level()

    def _set_level(self) -> None:
        self._logger.setLevel(max(min((self._least, *self._hearers.values())), 1))
