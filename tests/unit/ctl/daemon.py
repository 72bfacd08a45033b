"""A daemon of one thread: the real session behind a real unix socket, with a fake cluster."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gossipd.events import Event
from gossipd.rpc.session import Session
from tests.unit.rpc.fakes import FakeBackend


class FakeDaemon:
    def __init__(self, path: Path, backend: FakeBackend, **options: Any) -> None:
        self.path, self.backend, self._options = str(path), backend, options
        self.events: list[Event] = []       # told to every stream as soon as it is there
        self.hangs_up = True                # after that
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(ConnectionError):     # the client has gone
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        session = Session(self.backend, "test", **self._options)
        while not session.closed and (data := connection.recv(65536)):
            session.receive(data, now=1.0)
            self._write(connection, session)
            if session._streams or session._monitor:
                for event in self.events:
                    session.on_event(event, now=2.0)
                self._write(connection, session)
                if self.hangs_up:
                    return

    def _write(self, connection: socket.socket, session: Session) -> None:
        while data := session.take_output():
            connection.sendall(data)


@contextmanager
def a_daemon(path: Path, backend: FakeBackend | None = None, **options: Any) -> Iterator[FakeDaemon]:
    daemon = FakeDaemon(path, backend or FakeBackend(), **options)
    try:
        yield daemon
    finally:
        daemon.stop()
