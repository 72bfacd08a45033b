"""Stdout of `serf agent`: output and log, and the log in syslog."""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gossipd.daemon.logs import LogRing, as_serf
from gossipd.serfcli.agent import syslog
from gossipd.serfcli.agent.console import Console, agent, serf, words_of
from gossipd.serfcli.agent.face import go_duration
from gossipd.serfcli.agent.syslog import Syslog, SyslogError

STAMP = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d ")
own = logging.getLogger("gossipd.app")


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("gossipd")
    before = logger.handlers[:], logger.level, logger.propagate
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.handlers[:] = []
    yield logger
    logger.handlers[:], level, logger.propagate = before
    logger.setLevel(level)


@pytest.fixture
def console(logger: logging.Logger) -> Iterator[tuple[Console, Callable[[], list[str]]]]:
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    made = Console(write_end)
    logger.addHandler(made)

    def written() -> list[str]:
        try:
            return STAMP.sub("", os.read(read_end, 65536).decode()).split("\n")[:-1]
        except BlockingIOError:
            return []

    yield made, written
    os.close(read_end)
    os.close(write_end)


def test_the_log_waits_until_it_may_be_seen_and_output_does_not(console):
    made, written = console
    agent.info("one")
    made.say("Starting")
    assert written() == ["==> Starting"]
    made.show_log()
    agent.info("two")
    assert written() == ["    [INFO] agent: one", "    [INFO] agent: two"]


def test_only_the_first_line_has_a_prefix_and_an_empty_one_has_none(console):
    made, written = console
    made.show_log()
    made.say("a\nb\n")
    made.info("")
    agent.warning("error joining: %s", "1 error occurred:\n\t* no\n\n")
    assert written() == ["==> a", "b", "", "", "    [WARN] agent: error joining: 1 error occurred:", "\t* no", ""]


def test_serfs_words_are_shown_and_our_own_information_is_a_detail(console):
    made, written = console
    made.show_log()
    serf.info("EventMemberJoin: a 127.0.0.1")
    own.info("node a at 127.0.0.1")
    own.error("this is bad")
    own.warning("handler failed script='x'", extra=as_serf(logging.ERROR, "agent", "Error invoking script 'x'"))
    own.debug("client connected", extra=as_serf(logging.INFO, "agent.ipc", "Accepted client: 127.0.0.1:1"))
    logging.getLogger("gossipd.rpc").warning("agent.ipc: Dropping logs to x")
    assert written() == [
        "    [INFO] serf: EventMemberJoin: a 127.0.0.1", "    [ERR] agent: this is bad",
        "    [ERR] agent: Error invoking script 'x'", "    [INFO] agent.ipc: Accepted client: 127.0.0.1:1",
        "    [WARN] agent.ipc: Dropping logs to x"]
    made.threshold = logging.DEBUG
    own.info("node a at 127.0.0.1")
    assert written() == ["    [DEBUG] agent: node a at 127.0.0.1"]


def test_clients_that_follow_the_log_see_the_same(logger):
    ring = LogRing(logger, logging.INFO, words_of)
    logger.addHandler(ring)
    heard: list[str] = []
    ring.listen(lambda level, line: heard.append(STAMP.sub("", line)), logging.INFO)
    own.info("a detail")
    own.warning("x", extra=as_serf(logging.ERROR, "agent", "y"))
    assert heard == ["[ERR] agent: y"]
    assert [STAMP.sub("", line) for line in ring.recent(logging.DEBUG)] == ["[DEBUG] agent: a detail", "[ERR] agent: y"]


@pytest.mark.parametrize("seconds, text", [
    (1, "1s"), (30, "30s"), (1.5, "1.5s"), (60, "1m0s"), (90.5, "1m30.5s"), (3600, "1h0m0s"), (5025, "1h23m45s")])
def test_durations_are_written_as_go_writes_them(seconds, text):
    assert go_duration(seconds) == text


# syslog

@pytest.fixture
def devlog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    path = str(tmp_path / "log")
    monkeypatch.setattr(syslog, "SOCKETS", (str(tmp_path / "not-there"), path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        listener.setblocking(False)
        yield listener


@pytest.mark.parametrize("facility, level, priority", [
    ("LOCAL0", logging.INFO, 133), ("LOCAL0", logging.ERROR, 131), ("LOCAL7", logging.WARNING, 188),
    ("daemon", logging.INFO, 29), ("KERN", logging.DEBUG, 6)])
def test_syslog_gets_datagrams_without_time_and_level(logger, devlog, facility, level, priority):
    logger.addHandler(Syslog(facility, logging.DEBUG))
    agent.log(level, "Received event: member-join")
    line = devlog.recv(1000).decode()
    assert re.fullmatch(rf"<{priority}>\w{{3}} [ \d]\d \d\d:\d\d:\d\d serf\[{os.getpid()}\]: "
                        r"agent: Received event: member-join\n", line)


def test_syslog_has_the_same_threshold(logger, devlog):
    logger.addHandler(Syslog("LOCAL0", logging.WARNING))
    agent.info("no")
    with pytest.raises(BlockingIOError):
        devlog.recv(1000)


def test_syslog_that_goes_away_is_no_harm(logger, devlog):
    logger.addHandler(Syslog("LOCAL0", logging.INFO))
    devlog.close()
    agent.info("nobody hears")


def test_a_facility_that_is_none_and_a_syslog_that_is_not_there(monkeypatch, tmp_path):
    with pytest.raises(SyslogError, match="invalid syslog facility: BOGUS"):
        Syslog("BOGUS", logging.INFO)
    monkeypatch.setattr(syslog, "SOCKETS", (str(tmp_path / "no"),))
    with pytest.raises(SyslogError, match="Unix syslog delivery error"):
        Syslog("LOCAL0", logging.INFO)
