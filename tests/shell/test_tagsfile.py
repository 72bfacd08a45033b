"""Changed tags are on the disk before anybody hears of them."""

from __future__ import annotations

import os
import stat

import pytest

from gossipd.commands import Leave, SetTags
from gossipd.config.tagsfile import read_tags
from gossipd.daemon import files
from gossipd.daemon.tagsfile import tags_go_to
from gossipd.errors import CommandError
from tests.support.serf import SerfBench


def test_the_file_is_made_and_follows_every_change(tmp_path):
    path = tmp_path / "tags"
    bench = SerfBench(save_tags=tags_go_to(str(path)))
    assert not path.exists()
    for tags in ({"a": "1"}, {"a": "1", "b": "<x>"}, {}):
        bench.asks(SetTags(1, tags))
        assert read_tags(str(path)) == tags == dict(bench.serf.actions.tags)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and os.listdir(tmp_path) == ["tags"]


def test_a_file_keeps_its_mode(tmp_path):
    path = tmp_path / "tags"
    path.write_text("{}")
    path.chmod(0o644)
    assert tags_go_to(str(path))({"a": "1"}) == ""
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_change_that_cannot_be_written_does_not_happen_and_says_why_in_serfs_words(tmp_path, monkeypatch, caplog):
    path = tmp_path / "tags"
    path.write_text('{"a": "1"}')
    bench = SerfBench(tags={"a": "1"}, save_tags=tags_go_to(str(path)))

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(CommandError) as refusal:
        bench.asks(SetTags(1, {"a": "2"}))
    assert str(refusal.value) == f"Failed to write tags file: open {path}: no space left on device"
    assert f"cannot write {path}" in caplog.text and os.listdir(tmp_path) == ["tags"]
    assert bench.serf.actions.tags == {"a": "1"} == read_tags(str(path)) and bench.replies() == []


@pytest.mark.parametrize("leaves", [True, False])
def test_tags_that_are_refused_are_not_in_the_file(tmp_path, leaves):
    bench = SerfBench(save_tags=tags_go_to(str(tmp_path / "tags")))
    if leaves:
        bench.asks(Leave(1))
    with pytest.raises(CommandError):
        bench.asks(SetTags(2, {"a": "1" if leaves else "x" * 600}))
    assert os.listdir(tmp_path) == []
