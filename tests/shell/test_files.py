"""Files that are replaced as a whole, and files that grow by lines."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gossipd.daemon import files
from gossipd.daemon.files import LineFile, replace_file
from gossipd.errors import GossipdError
from tests.support.disks import small_disk
from tests.support.require import need_root


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """As on a full disk: a write that goes beyond is cut short, the next one fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# replaced as a whole

def test_a_new_file_has_the_mode_that_was_asked_for(tmp_path):
    replace_file(str(tmp_path / "f"), b"text", 0o600)
    assert (tmp_path / "f").read_bytes() == b"text"
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600 and os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_an_existing_file_keeps_its_mode(tmp_path, mode):
    (tmp_path / "f").touch()
    (tmp_path / "f").chmod(mode)
    replace_file(str(tmp_path / "f"), b"text", 0o600)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == mode


def test_an_existing_file_keeps_its_owner(tmp_path):
    need_root("files of other owners")
    (tmp_path / "f").touch(mode=0o640)
    os.chown(tmp_path / "f", 1234, 5678)
    replace_file(str(tmp_path / "f"), b"text", 0o600)
    status = (tmp_path / "f").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 5678, 0o640)


def test_if_the_owner_cannot_be_kept_nothing_changes(tmp_path, monkeypatch):
    (tmp_path / "f").write_bytes(b"old")
    monkeypatch.setattr(files.os, "geteuid", lambda: 4321)
    monkeypatch.setattr(files.os, "fchown", refusing(PermissionError(1, "Operation not permitted")))
    with pytest.raises(PermissionError):
        replace_file(str(tmp_path / "f"), b"new", 0o600)
    assert (tmp_path / "f").read_bytes() == b"old" and os.listdir(tmp_path) == ["f"]


def refusing(error: OSError):
    def refuse(*arguments: object) -> None:
        raise error

    return refuse


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "there").write_bytes(b"old")
    (tmp_path / "f").symlink_to("there")
    replace_file(str(tmp_path / "f"), b"new", 0o600)
    assert (tmp_path / "f").is_symlink() and (tmp_path / "there").read_bytes() == b"new"


def test_what_a_crash_left_behind_is_in_nobodys_way_and_no_link_of_a_stranger_is_followed(tmp_path):
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "f.compact").symlink_to("precious")
    replace_file(str(tmp_path / "f"), b"new", 0o600)
    assert (tmp_path / "precious").read_bytes() == b"precious" and sorted(os.listdir(tmp_path)) == ["f", "precious"]


@pytest.mark.parametrize("call", ["write", "fsync", "replace", "fchmod"])
def test_wherever_it_fails_the_old_file_is_whole_and_alone(tmp_path, monkeypatch, call):
    (tmp_path / "f").write_bytes(b"old")
    monkeypatch.setattr(files.os, call, refusing(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        replace_file(str(tmp_path / "f"), b"new", 0o600)
    monkeypatch.undo()
    assert (tmp_path / "f").read_bytes() == b"old" and os.listdir(tmp_path) == ["f"]


def test_a_write_cut_short_leaves_the_old_file(tmp_path):
    (tmp_path / "f").write_bytes(b"old")
    with no_file_larger_than(2), pytest.raises(OSError, match="File too large"):
        replace_file(str(tmp_path / "f"), b"newer", 0o600)
    assert (tmp_path / "f").read_bytes() == b"old" and os.listdir(tmp_path) == ["f"]


# growing by lines

TEXT = b"alive: a 10.0.0.1:7946\nclock: 12\nevent-clock: 7\n# failed: b 10.0.0.2:1\nquery-clock: 9\n"


def a_file(tmp_path: Path, text: bytes | None = None) -> LineFile:
    if text is not None:
        (tmp_path / "f").write_bytes(text)
    file = LineFile(str(tmp_path / "f"))
    assert file.read() == (text or b"")
    return file


def test_lines_follow_what_was_there(tmp_path):
    file = a_file(tmp_path, b"1\n2\n")
    file.append(b"3\n")
    file.append(b"4\n5\n")
    file.sync()
    assert (tmp_path / "f").read_bytes() == b"1\n2\n3\n4\n5\n" and file.size == 10


def test_a_missing_file_is_empty_and_made_when_needed(tmp_path):
    file = a_file(tmp_path)
    assert not (tmp_path / "f").exists()
    file.append(b"1\n")
    assert (tmp_path / "f").read_bytes() == b"1\n"


@pytest.mark.parametrize("end", range(len(TEXT) + 1))
def test_wherever_a_file_was_cut_off_its_whole_lines_and_all_later_ones_count(tmp_path, end):
    """A piece of a line must not become a line: it may hold half a number."""
    file = a_file(tmp_path, TEXT[:end])
    file.append(b"clock: 13\n")
    whole = TEXT[:end].rpartition(b"\n")
    assert (tmp_path / "f").read_bytes() == whole[0] + whole[1] + b"clock: 13\n"
    assert file.size == (tmp_path / "f").stat().st_size


def test_where_nothing_can_be_cut_off_a_newline_comes_first(tmp_path, monkeypatch):
    file = a_file(tmp_path, b"1\n2")
    monkeypatch.setattr(files.os, "ftruncate", refusing(PermissionError(1, "Operation not permitted")))
    file.append(b"3\n")
    file.append(b"4\n")
    assert (tmp_path / "f").read_bytes() == b"1\n2\n3\n4\n"


def test_a_write_cut_short_leaves_no_piece_of_a_line(tmp_path):
    file = a_file(tmp_path, b"1\n")
    with no_file_larger_than(4):
        with pytest.raises(OSError, match="File too large"):
            file.append(b"2345\n")
        assert (tmp_path / "f").read_bytes() == b"1\n"
        file.append(b"2\n")
    file.append(b"3\n")
    assert (tmp_path / "f").read_bytes() == b"1\n2\n3\n" and file.size == 6


def test_a_write_cut_short_that_cannot_be_taken_back_costs_one_line(tmp_path, monkeypatch):
    file = a_file(tmp_path, b"1\n")
    monkeypatch.setattr(files.os, "ftruncate", refusing(PermissionError(1, "Operation not permitted")))
    with no_file_larger_than(4), pytest.raises(OSError, match="File too large"):
        file.append(b"2345\n")
    file.append(b"6\n")
    assert (tmp_path / "f").read_bytes() == b"1\n23\n6\n"


def test_a_full_disk_costs_what_came_while_it_was_full_and_nothing_else(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        file = a_file(disk.path, TEXT)
        file.append(b"clock: 13\n")
        disk.fill()
        with pytest.raises(OSError, match="No space"):
            file.append(b"clock: 1234567\n" * 1000)
        with pytest.raises(OSError, match="No space"):
            file.replace(b"clock: 1234567\n")
        whole = TEXT + b"clock: 13\n"
        assert (disk.path / "f").read_bytes() == whole and sorted(os.listdir(disk.path)) == ["f", "filler"]
        disk.free()
        file.append(b"clock: 14\n")
        assert (disk.path / "f").read_bytes() == whole + b"clock: 14\n"


def test_a_file_that_somebody_removed_or_replaced_is_not_written_into_the_void(tmp_path):
    file = a_file(tmp_path, b"1\n")
    file.append(b"2\n")
    (tmp_path / "f").unlink()
    with pytest.raises(OSError, match="removed or replaced"):
        file.append(b"3\n")
    file.replace(b"1\n2\n3\n")
    file.append(b"4\n")
    assert (tmp_path / "f").read_bytes() == b"1\n2\n3\n4\n"


def test_a_replaced_file_goes_on_growing(tmp_path):
    file = a_file(tmp_path, b"1\n2")
    file.append(b"3\n")
    file.replace(b"4\n")
    file.append(b"5\n")
    assert (tmp_path / "f").read_bytes() == b"4\n5\n" and file.size == 4


@pytest.mark.parametrize(("make", "why"), [
    (lambda path: path.mkdir(), "not a regular file|Is a directory"),
    (lambda path: os.mkfifo(path), "not a regular file"),
    (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    (lambda path: path.symlink_to("f"), "symbolic links"),
], ids=["directory", "pipe", "device", "loop"])
def test_what_cannot_be_read_is_an_error_that_names_the_file(tmp_path, make, why):
    make(tmp_path / "f")
    with pytest.raises(GossipdError, match=f"{tmp_path}/f: .*({why})"):
        LineFile(str(tmp_path / "f")).read()


def test_a_directory_that_is_missing_is_an_error_and_a_huge_file_too(tmp_path):
    with pytest.raises(GossipdError, match="No such file or directory"):
        LineFile(str(tmp_path / "none/f")).read()
    with (tmp_path / "f").open("wb") as huge:
        huge.truncate(300 << 20)
    with pytest.raises(GossipdError, match="larger than 256 MiB"):
        LineFile(str(tmp_path / "f")).read()
