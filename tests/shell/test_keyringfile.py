"""Changed keys are on the disk before they take effect."""

from __future__ import annotations

import os
import stat
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from gossipd.commands import ChangeKeys
from gossipd.config.keyring import keyring_text, read_keyring
from gossipd.daemon import files
from gossipd.daemon.keyringfile import KeyringFile
from gossipd.effects import Effect, Reply
from gossipd.wire.secure import Keyring
from tests.support.serf import SerfBench
from tests.support.virtual import in_real_time

OLD, NEW = bytes(16), bytes(range(32))


class Node(SerfBench):
    """Is its own engine: goes on when the file is written."""

    def __init__(self, path: Path, keyring: Keyring) -> None:
        self.file = KeyringFile(str(path))
        super().__init__(keyring=keyring, save_keys=self.file.save)

    def resume(self, go_on: Callable[[float, list[Effect]], None]) -> None:
        go_on(self.now, self.out)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.file.run, self)
            yield
            nursery.cancel_scope.cancel()

    async def change(self, action: str, key: bytes) -> tuple[object, str]:
        """(messages of nodes, error) of a change that this node asks of itself."""
        self.asks(ChangeKeys(1, action, key))
        with trio.fail_after(5.0):
            while True:
                self.runs_until(self.now + 0.1)
                if replies := self.takes(Reply):
                    return replies[0].result.messages, replies[0].error  # type: ignore[attr-defined]
                await trio.sleep(0.002)


def test_the_text_is_serfs_and_can_be_read_again(tmp_path):
    assert keyring_text([NEW, OLD]) == (
        f'[\n  "{b64encode(NEW).decode()}",\n  "{b64encode(OLD).decode()}"\n]')
    (tmp_path / "k").write_text(keyring_text([NEW, OLD]))
    assert read_keyring(str(tmp_path / "k")) == (NEW, OLD)


@in_real_time
async def test_the_file_follows_every_change(tmp_path):
    path = tmp_path / "k"
    keyring = Keyring([OLD])
    node = Node(path, keyring)
    async with node.running():
        for action, key, after in (("install", NEW, (OLD, NEW)), ("use", NEW, (NEW, OLD)), ("remove", OLD, (NEW,))):
            assert await node.change(action, key) == ({}, "")
            assert read_keyring(str(path)) == after == tuple(keyring.keys)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and os.listdir(tmp_path) == ["k"]


@in_real_time
async def test_a_change_that_cannot_be_written_does_not_happen_and_says_why(tmp_path, monkeypatch, caplog):
    path = tmp_path / "k"
    path.write_text(keyring_text([OLD]))
    keyring = Keyring([OLD])
    node = Node(path, keyring)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    async with node.running():
        messages, error = await node.change("install", NEW)
    assert messages == {"me": "cannot write the keyring file: No space left on device"}
    assert error == "1/1 nodes reported failure" and f"cannot write {path}" in caplog.text
    assert keyring.keys == [OLD] and read_keyring(str(path)) == (OLD,) and os.listdir(tmp_path) == ["k"]


@in_real_time
async def test_what_changes_nothing_writes_nothing(tmp_path):
    node = Node(tmp_path / "k", Keyring([OLD]))
    async with node.running():
        assert (await node.change("install", OLD))[1] == "" and os.listdir(tmp_path) == []


@in_real_time
async def test_nobody_waits_for_a_disk_that_hangs_and_not_even_the_end_of_the_daemon_does(tmp_path, monkeypatch):
    path, gate = tmp_path / "k", threading.Event()
    path.write_text(keyring_text([OLD]))
    keyring = Keyring([OLD])
    node = Node(path, keyring)
    monkeypatch.setattr(files.os, "fsync", lambda fd: gate.wait(10.0))
    try:
        async with node.running():
            began = trio.current_time()
            node.asks(ChangeKeys(1, "install", NEW))
            await trio.sleep(0.05)
            assert keyring.keys == [OLD] and read_keyring(str(path)) == (OLD,)
        assert trio.current_time() - began < 5.0
    finally:
        gate.set()
