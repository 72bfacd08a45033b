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

@pytest.mark.parametrize("is_link", [False, True])
def test_what_is_no_file_is_never_replaced_by_one(tmp_path, is_link):
    """As root, with a tags file that leads to /dev/null, the machine would lose its /dev/null."""
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / ("link" if is_link else "pipe")
    if is_link:
        path.symlink_to("pipe")
    with pytest.raises(OSError) as caught:
        replace_file(str(path), b"text", 0o600)
    assert caught.value.strerror == "is not a regular file"
    assert stat.S_ISFIFO(path.stat().st_mode) and not list(tmp_path.glob("*.compact"))


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


@pytest.mark.parametrize("mode", [0o400, 0o640, 0o664])
def test_an_existing_file_gets_the_mode_where_secrets_are_in_it(tmp_path, mode):
    (tmp_path / "f").touch()
    (tmp_path / "f").chmod(mode)
    replace_file(str(tmp_path / "f"), b"text", 0o600, keep_mode=False)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600


def test_an_existing_file_keeps_its_owner(tmp_path):
    need_root("files of other owners")
    (tmp_path / "f").touch(mode=0o640)
    os.chown(tmp_path / "f", 1234, 5678)
    for keep_mode, mode in ((True, 0o640), (False, 0o600)):
        replace_file(str(tmp_path / "f"), b"text", 0o600, keep_mode=keep_mode)
        status = (tmp_path / "f").stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 5678, mode)


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
    assert b"".join(file.read()) == (text or b"")
    return file


def test_lines_follow_what_was_there(tmp_path):
    file = a_file(tmp_path, b"1\n2\n")
    file.append(b"3\n")
    file.append(b"4\n5\n")
    file.sync()
    assert (tmp_path / "f").read_bytes() == b"1\n2\n3\n4\n5\n" and file.size == 10


def test_a_missing_file_is_empty_and_made_at_once_so_that_nobody_else_makes_it(tmp_path):
    file = a_file(tmp_path)
    assert (tmp_path / "f").read_bytes() == b"" and is_taken(tmp_path / "f")
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


def test_a_write_cut_short_in_a_new_file_leaves_nothing_of_the_size_of_the_old_one(tmp_path):
    file = a_file(tmp_path, b"1\n" * 50)
    (tmp_path / "f").unlink()
    with pytest.raises(OSError, match="removed or replaced"):
        file.append(b"2\n")
    with no_file_larger_than(4), pytest.raises(OSError, match="File too large"):
        file.append(b"2345\n")
    file.append(b"6\n")
    assert (tmp_path / "f").read_bytes() == b"6\n" and file.size == 2


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


@pytest.mark.parametrize("write", [LineFile.append, LineFile.replace])
def test_a_pipe_in_the_place_of_the_file_is_neither_written_to_nor_replaced(tmp_path, write):
    file = a_file(tmp_path, b"1\n")
    (tmp_path / "f").unlink()
    os.mkfifo(tmp_path / "f")
    for _ in range(2):      # the first finds that the file has gone
        with pytest.raises(OSError):
            write(file, b"2\n")
    assert stat.S_ISFIFO((tmp_path / "f").stat().st_mode)


@pytest.mark.parametrize(("make", "why"), [
    (lambda path: path.mkdir(), "not a regular file|Is a directory"),
    (lambda path: os.mkfifo(path), "not a regular file"),
    (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    (lambda path: path.symlink_to("f"), "symbolic links"),
], ids=["directory", "pipe", "device", "loop"])
def test_what_cannot_be_read_is_an_error_that_names_the_file(tmp_path, make, why):
    make(tmp_path / "f")
    with pytest.raises(GossipdError, match=f"{tmp_path}/f: .*({why})"):
        list(LineFile(str(tmp_path / "f")).read())


def test_a_directory_that_is_missing_is_an_error_and_a_huge_file_without_an_end_of_a_line_too(tmp_path):
    with pytest.raises(GossipdError, match="No such file or directory"):
        list(LineFile(str(tmp_path / "none/f")).read())
    with (tmp_path / "f").open("wb") as huge:
        huge.truncate(300 << 20)
    with pytest.raises(GossipdError, match="no line ends in its last 256 MiB"):
        for _ in LineFile(str(tmp_path / "f")).read():
            pass


# long files

@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(files, "PIECE_BYTES", 7)
    monkeypatch.setattr(files, "READ_BYTES_MAX", 30)


@pytest.mark.parametrize("end", range(len(TEXT) + 1))
def test_a_file_is_read_in_pieces_and_of_a_long_one_the_end(tmp_path, small_pieces, end):
    (tmp_path / "f").write_bytes(TEXT[:end])
    file = LineFile(str(tmp_path / "f"))
    pieces = list(file.read())
    assert all(len(piece) <= 7 for piece in pieces) and file.skipped == max(0, end - 30)
    whole = TEXT[:end] if end <= 30 else TEXT[end - 30:end].partition(b"\n")[2]
    assert b"".join(pieces) == whole
    file.append(b"clock: 13\n")
    assert (tmp_path / "f").read_bytes() == TEXT[:end].rpartition(b"\n")[0] + b"\n" * (b"\n" in TEXT[:end]) + \
        b"clock: 13\n"


def test_a_file_that_is_cut_while_it_is_read_ends_there(tmp_path, small_pieces):
    (tmp_path / "f").write_bytes(b"1\n2\n3\n4\n5\n6\n")
    pieces = LineFile(str(tmp_path / "f")).read()
    assert next(pieces) == b"1\n2\n3\n4"
    os.truncate(tmp_path / "f", 4)
    assert list(pieces) == []


# one process at a time

def is_taken(path: Path) -> bool:
    try:
        file = LineFile(str(path))
        list(file.read())
        file.close()
    except GossipdError as error:
        assert str(error) == f"{path}: in use by another process (pid {os.getpid()})"
        return True
    return False


def test_a_file_belongs_to_one_process_until_that_closes_it_whatever_it_does_with_it(tmp_path):
    path = tmp_path / "f"
    file = a_file(tmp_path, b"1\n")
    assert is_taken(path)
    file.append(b"2\n")
    assert is_taken(path)
    for _ in range(3):
        file.replace(b"3\n")
        assert is_taken(path)
        file.append(b"4\n")
        assert is_taken(path)
    file.close()
    assert not is_taken(path) and path.read_bytes() == b"3\n4\n"


def test_a_file_is_never_without_a_lock_while_it_is_replaced(tmp_path, monkeypatch):
    file = a_file(tmp_path, b"1\n")
    rename, taken = os.replace, []

    def replace(source: str, target: str) -> None:
        taken.append(is_taken(tmp_path / "f"))
        rename(source, target)
        taken.append(is_taken(tmp_path / "f"))

    monkeypatch.setattr(files.os, "replace", replace)
    file.replace(b"2\n")
    assert taken == [True, True]


def test_whoever_got_the_lock_of_a_file_that_was_replaced_meanwhile_takes_the_new_one(tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_bytes(b"old\n")
    lock, attempts = files._lock, []

    def slow_lock(fd: int) -> bool:
        attempts.append(fd)
        if len(attempts) == 1:
            replace_file(str(path), b"new\n", 0o600)       # locks too
        return lock(fd)

    monkeypatch.setattr(files, "_lock", slow_lock)
    assert list(LineFile(str(path)).read()) == [b"new\n"] and len(attempts) == 3


def test_a_file_that_somebody_put_in_our_files_place_and_keeps_is_left_alone(tmp_path):
    file = a_file(tmp_path, b"1\n")
    (tmp_path / "f").unlink()
    other = a_file(tmp_path, b"theirs\n")
    for change in (file.append, file.replace):
        for _ in range(2):
            with pytest.raises(OSError, match="removed or replaced|in use"):
                change(b"2\n")
    assert (tmp_path / "f").read_bytes() == b"theirs\n"
    other.close()
    file.replace(b"2\n")
    assert (tmp_path / "f").read_bytes() == b"2\n"


def test_a_file_that_cannot_be_written_is_read_and_taken_all_the_same(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        (disk.path / "f").write_bytes(b"1\n")
        disk.read_only(True)
        file = LineFile(str(disk.path / "f"))
        assert list(file.read()) == [b"1\n"] and is_taken(disk.path / "f")
        with pytest.raises(OSError, match="Read-only"):
            file.append(b"2\n")
        assert is_taken(disk.path / "f")
        assert list(LineFile(str(disk.path / "none")).read()) == []
        disk.read_only(False)
        file.append(b"2\n")
        assert is_taken(disk.path / "f") and (disk.path / "f").read_bytes() == b"1\n2\n"
        file.close()


def test_where_there_are_no_locks_everybody_may_have_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(files.fcntl, "flock", refusing(OSError(37, "No locks available")))
    file = a_file(tmp_path, b"1\n")
    file.replace(b"2\n")
    assert list(LineFile(str(tmp_path / "f")).read()) == [b"2\n"]
