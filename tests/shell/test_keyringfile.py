"""Changed keys are on the disk before they take effect."""

from __future__ import annotations

import os
import stat
from base64 import b64encode

from gossipd.commands import ChangeKeys
from gossipd.config.keyring import keyring_text, read_keyring
from gossipd.daemon import files
from gossipd.daemon.keyringfile import keys_go_to
from gossipd.effects import Reply
from gossipd.wire.secure import Keyring
from tests.support.serf import SerfBench

OLD, NEW = bytes(16), bytes(range(32))


def change(bench: SerfBench, action: str, key: bytes) -> tuple[object, str]:
    """(messages of nodes, error) of a change that this node asks of itself."""
    bench.asks(ChangeKeys(1, action, key))
    bench.runs_until(bench.now + 10.0)
    (reply,) = bench.takes(Reply)
    return reply.result.messages, reply.error  # type: ignore[attr-defined]


def test_the_text_is_serfs_and_can_be_read_again(tmp_path):
    assert keyring_text([NEW, OLD]) == (
        f'[\n  "{b64encode(NEW).decode()}",\n  "{b64encode(OLD).decode()}"\n]')
    (tmp_path / "k").write_text(keyring_text([NEW, OLD]))
    assert read_keyring(str(tmp_path / "k")) == (NEW, OLD)


def test_the_file_follows_every_change(tmp_path):
    path = tmp_path / "k"
    keyring = Keyring([OLD])
    bench = SerfBench(keyring=keyring, save_keys=keys_go_to(str(path)))
    for action, key, after in (("install", NEW, (OLD, NEW)), ("use", NEW, (NEW, OLD)), ("remove", OLD, (NEW,))):
        assert change(bench, action, key) == ({}, "")
        assert read_keyring(str(path)) == after == tuple(keyring.keys)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and os.listdir(tmp_path) == ["k"]


def test_a_change_that_cannot_be_written_does_not_happen_and_says_why(tmp_path, monkeypatch, caplog):
    path = tmp_path / "k"
    path.write_text(keyring_text([OLD]))
    keyring = Keyring([OLD])
    bench = SerfBench(keyring=keyring, save_keys=keys_go_to(str(path)))

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    messages, error = change(bench, "install", NEW)
    assert messages == {"me": "cannot write the keyring file: No space left on device"}
    assert error == "1/1 nodes reported failure" and f"cannot write {path}" in caplog.text
    assert keyring.keys == [OLD] and read_keyring(str(path)) == (OLD,) and os.listdir(tmp_path) == ["k"]


def test_what_changes_nothing_writes_nothing(tmp_path):
    bench = SerfBench(keyring=Keyring([OLD]), save_keys=keys_go_to(str(tmp_path / "k")))
    assert change(bench, "install", OLD)[1] == "" and os.listdir(tmp_path) == []
