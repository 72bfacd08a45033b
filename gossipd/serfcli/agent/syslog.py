"""The log in syslog as well, as Serf's agent sends it (spec agent §6)."""

from __future__ import annotations

import logging
import os
import socket
import time

from gossipd.serfcli.agent.console import LEVELS, words_of

SOCKETS = ("/dev/log", "/var/run/syslog", "/var/run/log")
TAG = "serf"
FACILITIES = {name: number for number, name in enumerate((
    "KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV", "FTP"))} | {
        f"LOCAL{number}": 16 + number for number in range(8)}
_SEVERITIES = {LEVELS["TRACE"]: 7, LEVELS["DEBUG"]: 6, LEVELS["INFO"]: 5, LEVELS["WARN"]: 4, LEVELS["ERR"]: 3}
_NOTICE = 5


class SyslogError(Exception):
    """There is no syslog to send to. The text is Serf's."""


class Syslog(logging.Handler):
    """Datagrams that are sent at once or never."""

    def __init__(self, facility: str, threshold: int) -> None:
        """Raises SyslogError."""
        super().__init__()
        number = FACILITIES.get(facility.upper().removeprefix("LOG_"))
        if number is None:
            raise SyslogError(f"invalid syslog facility: {facility}")
        self._facility, self.threshold = number, threshold
        self._socket = _connect()

    def emit(self, record: logging.LogRecord) -> None:
        level, component, text = words_of(record)
        if level < self.threshold:
            return
        priority = 8 * self._facility + _SEVERITIES.get(level, _NOTICE)
        stamp = time.strftime("%b %e %H:%M:%S", time.localtime(record.created))
        line = f"<{priority}>{stamp} {TAG}[{os.getpid()}]: {component}: {text}\n"
        try:
            self._socket.send(line.encode("utf-8", "surrogateescape"))
        except OSError:
            pass        # it went away, or does not keep up


def _connect() -> socket.socket:
    for path in SOCKETS:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            connection.connect(path)
        except OSError:
            connection.close()
            continue
        connection.setblocking(False)
        return connection
    raise SyslogError("Unix syslog delivery error")
