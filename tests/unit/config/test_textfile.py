"""Whatever a path may lead to, reading it ends at once and says what is wrong in one line."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from gossipd.config.keyring import read_keyring
from gossipd.config.serfjson import SerfFile
from gossipd.config.tagsfile import read_tags
from gossipd.config.textfile import TEXT_BYTES_MAX, read_bytes, read_text, whole_text
from gossipd.config.toml import load
from gossipd.errors import ConfigError

READERS: dict[str, tuple[str, Callable[[str], object]]] = {
    # a name for the file, and who reads it
    "settings": ("x.toml", lambda path: load([path])),
    "Serf's settings": ("x.json", SerfFile),
    "keys": ("keyring", read_keyring),
    "tags": ("tags.json", read_tags),
}


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def a_directory(path: Path) -> None:
    path.mkdir()
    (path / path.name).mkdir()      # config directories are read, but not directories in them


def one_too_large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 30)


def one_a_little_too_large(path: Path) -> None:
    path.write_bytes(b" " * (TEXT_BYTES_MAX + 1))


def one_with_nuls(path: Path) -> None:
    path.write_bytes(b'\0{}\0[]\0x = 1\0')


def one_with_a_byte_order_mark(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf{}")


def one_in_utf16(path: Path) -> None:
    path.write_bytes("[node]".encode("utf-16"))


def one_of_garbage(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\xfd\x80")


@pytest.mark.parametrize("make", [
    a_device, a_pipe, a_socket, one_too_large, one_a_little_too_large, one_with_nuls, one_with_a_byte_order_mark,
    one_in_utf16, one_of_garbage, a_directory])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_text_of_ours_is_one_line_with_its_name(tmp_path, reader, make):
    name, read = READERS[reader]
    path = tmp_path / name
    make(path)
    if reader == "settings" and make is a_directory:
        wanted = path / name
    else:
        wanted = path
    with pytest.raises(ConfigError) as refusal:
        read(str(path))
    assert str(refusal.value).startswith(f"{wanted}: ") and "\n" not in str(refusal.value)


def test_what_must_not_be_read_is_said_so(tmp_path, monkeypatch):
    def refused(path: str, flags: int) -> int:      # root may read everything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("gossipd.config.textfile.os.open", refused)
    with pytest.raises(ConfigError, match=r"^/etc/x: Permission denied$"):
        read_text("/etc/x")


def test_a_file_that_does_not_tell_its_length_is_limited_too(monkeypatch):
    with pytest.raises(ConfigError, match="is larger than 0 MiB"):
        read_bytes("/proc/self/maps", 10)


def test_the_null_device_is_an_empty_file():
    assert read_bytes("/dev/null") == b"" and load(["/dev/null"]).node.name == ""


def test_the_largest_file_is_read(tmp_path):
    (tmp_path / "x").write_bytes(b" " * TEXT_BYTES_MAX)
    assert len(read_text(str(tmp_path / "x"))) == TEXT_BYTES_MAX


def test_files_that_were_opened_are_closed(tmp_path):
    before = os.listdir("/proc/self/fd")
    for path in ("/", "/dev/zero", "/dev/null"):
        try:
            read_bytes(path)
        except ConfigError:
            pass
    assert os.listdir("/proc/self/fd") == before


def test_lines_of_ours_may_end_as_elsewhere(tmp_path):
    (tmp_path / "x.toml").write_bytes(b'[node]\r\nname = "x"\r\nbogus = 1\r\n')
    with pytest.raises(ConfigError, match=r"x\.toml:3: node\.bogus"):
        load([str(tmp_path / "x.toml")])


def test_a_path_with_a_nul_is_an_error_and_no_traceback():
    with pytest.raises(ConfigError, match="is no path"):
        read_bytes("a\0b")


def test_text_that_is_whole_stays():
    assert (whole_text("aé😀"), whole_text("a\ud800")) == ("aé😀", "a\ufffd")
