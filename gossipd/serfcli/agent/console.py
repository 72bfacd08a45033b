"""What `serf agent` writes to stdout: its own lines, and its log, which waits until it runs (spec agent §5, §6)."""

from __future__ import annotations

import logging
import sys

from gossipd.daemon.logs import LogRing, StderrHandler, Words, own_words, serf_line

OUTPUT, INFO = "==> ", "    "
HELD_LINES_MAX = 1000
SPEAKER = "gossipd.serfs."      # loggers of this name speak as Serf's agent: the rest is the component
LEVELS = {"TRACE": 1, "DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARN": logging.WARNING, "ERR": logging.ERROR}
_COMPONENTS = {"rpc": "agent.ipc", "discovery": "agent.mdns", "node": "serf", "cluster": "serf"}
_HEARD = ("gossipd.rpc",)       # they have words of Serf's in records that are less than information to us
_DEMOTED = "%s: clients must use TCP"       # Serf's clients do anyway

agent = logging.getLogger(SPEAKER + "agent")
ipc = logging.getLogger(SPEAKER + "agent.ipc")
serf = logging.getLogger(SPEAKER + "serf")


def words_of(record: logging.LogRecord) -> Words:
    """A record in the words of Serf's agent if it has them. What only gossipd tells is no more than a detail."""
    said: Words | None = getattr(record, "serf", None)
    if said is not None:
        return said
    level, name, text = own_words(record)
    if record.name.startswith(SPEAKER):
        return level, record.name.removeprefix(SPEAKER), text
    if level == logging.INFO or record.msg == _DEMOTED:
        level = logging.DEBUG
    component = _COMPONENTS.get(name, "agent")
    return level, component, text.removeprefix(component + ": ")


class Console(StderrHandler):
    """Stdout, shared by output and log. Like our other logs it never waits for long for a reader."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.threshold = logging.INFO
        self._held: list[str] | None = []

    def say(self, text: str) -> None:
        """Output, and errors: only the first of several lines has the prefix."""
        self.put(OUTPUT + text if text else "")

    def info(self, text: str) -> None:
        self.put(INFO + text if text else "")

    def put(self, text: str) -> None:
        self.write_line((text + "\n").encode("utf-8", "surrogateescape"))

    def emit(self, record: logging.LogRecord) -> None:
        words = words_of(record)
        if words[0] < self.threshold:
            return
        line = serf_line(record, words).removesuffix("\n")
        if self._held is None:
            self.info(line)
        elif len(self._held) < HELD_LINES_MAX:
            self._held.append(line)

    def show_log(self) -> None:
        """The log may be seen from now on, and what was held back is."""
        held, self._held = self._held or [], None
        for line in held:
            self.info(line)


def set_up(level: str) -> tuple[Console, LogRing]:
    """`level` as Serf has it. The ring is for clients that follow the log."""
    console = Console(sys.stdout.fileno())
    logger = logging.getLogger("gossipd")
    for name in _HEARD:
        logging.getLogger(name).setLevel(logging.DEBUG)
    ring = LogRing(logger, min(LEVELS[level], logging.INFO), words_of)
    logger.handlers[:] = [console, ring]
    logger.propagate = False
    logging.logThreads = logging.logMultiprocessing = logging.logProcesses = False
    console.threshold = LEVELS[level]
    return console, ring


def change_level(console: Console, ring: LogRing, level: str) -> None:
    console.threshold = LEVELS[level]
    ring.show_from(min(LEVELS[level], logging.INFO))
