"""Changed keys and tags are on the disk before they take effect."""

from __future__ import annotations

import os
import stat
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from gossipd.commands import ChangeKeys, Command, Leave, SetTags
from gossipd.config.keyring import keyring_text, read_keyring
from gossipd.config.tagsfile import read_tags, tags_text
from gossipd.daemon import files
from gossipd.daemon.keptfile import keyring_file, tags_file
from gossipd.effects import Effect, Reply
from gossipd.errors import CommandError
from gossipd.wire.secure import Keyring
from tests.support.serf import SerfBench
from tests.support.virtual import in_real_time, until

OLD, NEW = bytes(16), bytes(range(32))


class Node(SerfBench):
    """Keeps keys in the file `keyring` and tags in the file `tags`. Is its own engine: goes on when they are written.
    """

    def __init__(self, directory: Path, keyring: Keyring | None = None, tags: dict[str, str] | None = None) -> None:
        self.files = keyring_file(str(directory / "keyring")), tags_file(str(directory / "tags"))
        super().__init__(keyring=keyring, save_keys=self.files[0].save, save_tags=self.files[1].save, tags=tags or {})

    def resume(self, go_on: Callable[[float, list[Effect]], None]) -> None:
        go_on(self.now, self.out)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            for file in self.files:
                nursery.start_soon(file.run, self)
            yield
            nursery.cancel_scope.cancel()

    async def reply(self, command: Command) -> Reply:
        self.asks(command)
        with trio.fail_after(5.0):
            while True:
                self.runs_until(self.now + 0.1)
                if replies := self.takes(Reply):
                    return replies[0]
                await trio.sleep(0.002)

    async def change(self, action: str, key: bytes) -> tuple[object, str]:
        """(messages of nodes, error) of a change that this node asks of itself."""
        reply = await self.reply(ChangeKeys(1, action, key))
        return reply.result.messages, reply.error       # type: ignore[attr-defined]


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def a_full_disk(fd: int) -> None:
    raise OSError(28, "No space left on device")


# keys

def test_the_text_is_serfs_and_can_be_read_again(tmp_path):
    assert keyring_text([NEW, OLD]) == (
        f'[\n  "{b64encode(NEW).decode()}",\n  "{b64encode(OLD).decode()}"\n]')
    (tmp_path / "k").write_text(keyring_text([NEW, OLD]))
    assert read_keyring(str(tmp_path / "k")) == (NEW, OLD)


@in_real_time
async def test_the_keyring_file_follows_every_change(tmp_path):
    path, keyring = tmp_path / "keyring", Keyring([OLD])
    node = Node(tmp_path, keyring)
    async with node.running():
        for action, key, after in (("install", NEW, (OLD, NEW)), ("use", NEW, (NEW, OLD)), ("remove", OLD, (NEW,))):
            assert await node.change(action, key) == ({}, "")
            assert read_keyring(str(path)) == after == tuple(keyring.keys)
    assert mode_of(path) == 0o600 and os.listdir(tmp_path) == ["keyring"]


@pytest.mark.parametrize("mode", [0o640, 0o644])
@in_real_time
async def test_after_a_change_nobody_else_may_read_the_keys(tmp_path, mode):
    path = tmp_path / "keyring"
    path.write_text(keyring_text([OLD]))
    path.chmod(mode)
    node = Node(tmp_path, Keyring([OLD]))
    async with node.running():
        assert await node.change("install", NEW) == ({}, "")
    assert mode_of(path) == 0o600


@in_real_time
async def test_a_change_of_keys_that_cannot_be_written_does_not_happen_and_says_why(tmp_path, monkeypatch, caplog):
    path, keyring = tmp_path / "keyring", Keyring([OLD])
    path.write_text(keyring_text([OLD]))
    node = Node(tmp_path, keyring)
    monkeypatch.setattr(files.os, "fsync", a_full_disk)
    async with node.running():
        messages, error = await node.change("install", NEW)
    assert messages == {"me": "cannot write the keyring file: No space left on device"}
    assert error == "1/1 nodes reported failure" and f"keys stay as they are: cannot write {path}" in caplog.text
    assert keyring.keys == [OLD] and read_keyring(str(path)) == (OLD,) and os.listdir(tmp_path) == ["keyring"]


@in_real_time
async def test_what_changes_no_key_writes_nothing(tmp_path):
    node = Node(tmp_path, Keyring([OLD]))
    async with node.running():
        assert (await node.change("install", OLD))[1] == "" and os.listdir(tmp_path) == []


# tags

@in_real_time
async def test_the_tags_file_is_made_and_follows_every_change(tmp_path):
    path, node = tmp_path / "tags", Node(tmp_path)
    async with node.running():
        for tags, deleted, after in (({"a": "1"}, [], {"a": "1"}), ({"b": "<x>"}, [], {"a": "1", "b": "<x>"}),
                                     ({}, ["a", "b"], {})):
            assert (await node.reply(SetTags(1, tags, deleted))).error == ""
            assert read_tags(str(path)) == after == dict(node.serf.actions.tags)
    assert mode_of(path) == 0o600 and os.listdir(tmp_path) == ["tags"]


@in_real_time
async def test_a_tags_file_keeps_its_mode(tmp_path):
    path, node = tmp_path / "tags", Node(tmp_path)
    path.write_text("{}")
    path.chmod(0o644)
    async with node.running():
        assert (await node.reply(SetTags(1, {"a": "1"}))).error == ""
    assert mode_of(path) == 0o644 and read_tags(str(path)) == {"a": "1"}


@in_real_time
async def test_tags_that_cannot_be_written_stay_as_they_are_and_it_is_said_in_serfs_words(
        tmp_path, monkeypatch, caplog):
    path, node = tmp_path / "tags", Node(tmp_path, tags={"a": "1"})
    path.write_text('{"a": "1"}')
    monkeypatch.setattr(files.os, "fsync", a_full_disk)
    async with node.running():
        reply = await node.reply(SetTags(1, {"a": "2"}))
    assert reply.error == f"Failed to write tags file: open {path}: no space left on device"
    assert f"tags stay as they are: cannot write {path}" in caplog.text and os.listdir(tmp_path) == ["tags"]
    assert node.serf.actions.tags == {"a": "1"} == read_tags(str(path)) and node.told() == []


@pytest.mark.parametrize("leaves", [True, False])
@in_real_time
async def test_tags_that_are_refused_are_not_in_the_file(tmp_path, leaves):
    node = Node(tmp_path)
    async with node.running():
        if leaves:
            node.asks(Leave(1))
        with pytest.raises(CommandError):
            node.asks(SetTags(2, {"a": "1" if leaves else "x" * 600}))
        await trio.sleep(0.05)
    assert os.listdir(tmp_path) == []


# both

@pytest.mark.parametrize("command", [ChangeKeys(1, "install", NEW), SetTags(1, {"a": "2"})], ids=["keys", "tags"])
@in_real_time
async def test_nobody_waits_for_a_disk_that_hangs_and_not_even_the_end_of_the_daemon_does(
        tmp_path, monkeypatch, command):
    gate, keyring = threading.Event(), Keyring([OLD])
    (tmp_path / "keyring").write_text(keyring_text([OLD]))
    (tmp_path / "tags").write_text(tags_text({"a": "1"}))
    node = Node(tmp_path, keyring, {"a": "1"})
    reached = threading.Event()

    def hang(fd: int) -> None:
        reached.set()
        gate.wait(10.0)

    monkeypatch.setattr(files.os, "fsync", hang)
    try:
        began = trio.current_time()
        async with node.running():
            node.asks(command)
            await until(reached.is_set)
            assert keyring.keys == [OLD] and read_keyring(str(tmp_path / "keyring")) == (OLD,)
            assert node.serf.actions.tags == {"a": "1"} == read_tags(str(tmp_path / "tags"))
        assert trio.current_time() - began < 5.0
    finally:
        gate.set()
