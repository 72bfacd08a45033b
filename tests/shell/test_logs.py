from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterator

import pytest

from gossipd.daemon import logs
from gossipd.daemon.logs import (
    LINE_BYTES_MAX,
    RING_LINES,
    JournalFormatter,
    JsonFormatter,
    LogRing,
    StderrHandler,
    TextFormatter,
    stderr_is_journal,
)


def a_record(level: int = logging.INFO, text: str = "member failed name=%s", *args: object) -> logging.LogRecord:
    return logging.LogRecord("gossipd.gossiper", level, "f.py", 1, text, args or ("bea",) * text.count("%s"), None)


class Pipe:
    """A pipe whose reader may be slow."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)

    def read(self) -> str:
        try:
            return os.read(self.reader, 1 << 20).decode()
        except BlockingIOError:
            return ""


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.close(made.reader)
    os.close(made.writer)


def handler_on(pipe: Pipe) -> StderrHandler:
    handler = StderrHandler(pipe.writer)
    handler.setFormatter(JournalFormatter())
    return handler


def test_lines_for_people_have_time_level_and_subsystem(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    line = TextFormatter().format(a_record())
    time, level, text = line.split(maxsplit=2)
    assert len(time) == len("12:34:56.789") and level == "info" and text == "gossiper: member failed name=bea"


def test_warnings_are_coloured_on_a_terminal_only(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert TextFormatter().format(a_record(logging.WARNING)).startswith("\x1b[33m")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    line = TextFormatter().format(a_record(logging.WARNING))
    assert "\x1b" not in line and line[4] == "-"


@pytest.mark.parametrize("level, prefix", [
    (logging.DEBUG, "<7>"), (logging.INFO, "<6>"), (logging.WARNING, "<4>"), (logging.ERROR, "<3>")])
def test_lines_for_the_journal_begin_with_their_priority(level, prefix):
    assert JournalFormatter().format(a_record(level)) == prefix + "gossiper: member failed name=bea"


def test_every_line_of_a_long_text_has_its_priority():
    assert JournalFormatter().format(a_record(logging.ERROR, "a\nb")) == "<3>gossiper: a\n<3>b"


def test_json_lines_are_objects():
    line = JsonFormatter().format(a_record(logging.WARNING, 'quote " and\nnewline'))
    assert "\n" not in line
    assert json.loads(line) | {"time": 0} == {
        "time": 0, "level": "warning", "logger": "gossipd.gossiper", "text": 'quote " and\nnewline'}


@pytest.mark.parametrize("formatter", [TextFormatter, JournalFormatter, JsonFormatter])
def test_an_exception_is_logged_with_its_traceback(formatter):
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        record = a_record(logging.ERROR, "unexpected")
        record.exc_info = sys.exc_info()
    assert "RuntimeError: boom" in formatter().format(record)


def test_a_line_is_written_at_once(pipe):
    handler_on(pipe).emit(a_record())
    assert pipe.read() == "<6>gossiper: member failed name=bea\n"


def test_a_reader_that_does_not_read_costs_lines_but_never_stops_the_daemon(pipe, monkeypatch):
    monkeypatch.setattr(logs, "PATIENCE_MS", 1)
    handler = handler_on(pipe)
    for _ in range(1000):
        handler.emit(a_record(logging.INFO, "x" * 1000))
    assert 900 < handler.dropped < 1000
    dropped = handler.dropped
    while pipe.read():
        pass
    handler.emit(a_record(logging.INFO, "after"))
    assert pipe.read() == f"({dropped} lines were dropped: nobody read them)\n<6>gossiper: after\n"
    assert handler.dropped == 0


def test_a_reader_that_is_gone_does_no_harm(pipe):
    os.close(pipe.reader)
    handler_on(pipe).emit(a_record())
    pipe.reader = os.open(os.devnull, os.O_RDONLY)


def test_a_line_is_never_longer_than_a_pipe_takes_at_once(pipe):
    handler_on(pipe).emit(a_record(logging.INFO, "x" * 10 * LINE_BYTES_MAX))
    line = pipe.read()
    assert len(line) == LINE_BYTES_MAX and line.endswith(" ...\n")


def test_text_that_is_no_unicode_is_written_escaped(pipe):
    handler_on(pipe).emit(a_record(logging.INFO, "name=%s", b"\xff".decode("utf-8", "surrogateescape")))
    assert pipe.read() == "<6>gossiper: name=\\udcff\n"


def test_the_journal_is_recognised_by_device_and_inode(monkeypatch, tmp_path):
    with open(tmp_path / "stderr", "w") as file:
        monkeypatch.setattr(sys, "stderr", file)
        info = os.fstat(file.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{info.st_dev}:{info.st_ino}")
        assert stderr_is_journal()
        monkeypatch.setenv("JOURNAL_STREAM", f"{info.st_dev}:{info.st_ino + 1}")
        assert not stderr_is_journal()
        monkeypatch.delenv("JOURNAL_STREAM")
        assert not stderr_is_journal()


@pytest.mark.parametrize("style, formatter", [
    ("text", TextFormatter), ("journal", JournalFormatter), ("json", JsonFormatter), ("auto", TextFormatter)])
def test_level_and_format_are_as_configured(style, formatter, monkeypatch, tmp_path):
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    logger = logging.getLogger("gossipd")
    before = logger.handlers[:], logger.level, logger.propagate
    with open(tmp_path / "stderr", "w") as file:
        monkeypatch.setattr(sys, "stderr", file)
        try:
            ring = logs.set_up("warning", style)
            logging.getLogger("gossipd.x").info("not this")
            logging.getLogger("gossipd.x").warning("but this")
            assert [line.partition("] ")[2] for line in ring.recent(0)] == ["x: not this", "x: but this"]
            assert isinstance(logger.handlers[0].formatter, formatter)
        finally:
            logger.handlers[:], logger.level, logger.propagate = before
            logger.setLevel(before[1])
    text = (tmp_path / "stderr").read_text()
    assert "but this" in text and "not this" not in text


# what RPC clients see

@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    made = logging.getLogger("gossipd.test")
    before = made.handlers[:], made.level
    made.propagate = False
    yield made
    made.handlers[:] = before[0]
    made.setLevel(before[1])
    made.propagate = True


def a_ring(logger: logging.Logger, level: int = logging.INFO) -> LogRing:
    ring = LogRing(logger, level)
    logger.handlers[:] = [ring]
    return ring


def test_the_last_lines_are_kept_in_serfs_form(logger):
    ring = a_ring(logger)
    for level in (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        logger.log(level, "member failed name=%s", "bea")
    words = [re.fullmatch(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[(\w+)\] test: member failed name=bea", line)[1]
             for line in ring.recent(0)]
    assert words == ["INFO", "WARN", "ERR", "ERR"]
    assert len(ring.recent(logging.WARNING)) == 3
    for number in range(1000):
        logger.info("line %d", number)
    assert len(ring.recent(0)) == RING_LINES and ring.recent(0)[-1].endswith("line 999")
    logger.info("x" * 100_000)
    assert len(ring.recent(0)[-1]) == LINE_BYTES_MAX


def test_what_is_said_of_clients_is_a_line_as_serf_has_it(logger):
    ring = a_ring(logger)
    logger.warning("agent.ipc: Dropping event to ipc.client: 127.0.0.1:9")
    assert ring.recent(0)[0].endswith(" [WARN] agent.ipc: Dropping event to ipc.client: 127.0.0.1:9")


def test_details_are_logged_while_somebody_listens_for_them(logger):
    ring = a_ring(logger)
    heard: list[str] = []
    hear, other = (lambda level, line: heard.append(line)), (lambda level, line: heard.append("other"))
    logger.debug("before")
    ring.listen(hear, logging.DEBUG)
    ring.listen(other, logging.ERROR)
    logger.debug("during")
    ring.mute(hear)
    logger.debug("after")
    logger.error("error")
    ring.mute(other)
    logger.error("nobody")
    assert [line.partition(": ")[2] or line for line in heard] == ["during", "other"]
    assert [line.partition(": ")[2] for line in ring.recent(0)] == ["during", "error", "nobody"]


def test_a_daemon_that_writes_details_keeps_them_too(logger):
    ring = a_ring(logger, logging.DEBUG)
    logger.debug("detail")
    assert len(ring.recent(0)) == 1
