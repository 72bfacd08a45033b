"""Files that people write, read without surprises: settings, keys, tags. A name may be anything, a device or a pipe."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from gossipd.errors import ConfigError

TEXT_BYTES_MAX = 1 << 20        # a list of ten thousand seeds has a quarter of this
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LONE = re.compile("[\ud800-\udfff]")


class BadFile(ConfigError):
    """One line that begins with the path. `words` are what follows."""

    def __init__(self, path: str, words: str) -> None:
        super().__init__(f"{path}: {words}")
        self.words = words


class Unreadable(BadFile):
    """Nothing of what it holds is known."""

    def __init__(self, path: str, words: str, missing: bool = False) -> None:
        super().__init__(path, words)
        self.missing = missing


def read_bytes(path: str, bytes_max: int = TEXT_BYTES_MAX) -> bytes:
    """The whole file, at once: it never waits for the other end of a pipe. Raises Unreadable."""
    with opened(path) as file:
        if os.fstat(file.fileno()).st_size <= bytes_max:        # in /proc nobody tells the length
            raw = file.read(bytes_max + 1)
            if len(raw) <= bytes_max:
                return raw
    raise Unreadable(path, f"is larger than {bytes_max >> 20} MiB")


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """A regular file or the null device. Raises Unreadable, also for what goes wrong while it is read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            _check(path, os.fstat(fd))
            with open(fd, "rb", closefd=False) as file:
                yield file
        finally:
            os.close(fd)
    except OSError as error:
        raise Unreadable(path, error.strerror or str(error), isinstance(error, FileNotFoundError)) from None
    except ValueError:
        raise Unreadable(path, "is no path") from None


def _check(path: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise Unreadable(path, "is a directory")
    if not stat.S_ISREG(status.st_mode) and not os.path.samestat(status, os.stat(os.devnull)):
        raise Unreadable(path, "is not a regular file")


def read_text(path: str, errors: str = "strict") -> str:
    """As UTF-8. Raises BadFile, and Unreadable among them."""
    raw = read_bytes(path)
    if raw.startswith(_BYTE_ORDER_MARK):
        raise BadFile(path, "begins with a byte order mark; save it without")
    try:
        return raw.decode(errors=errors)
    except UnicodeDecodeError:
        raise BadFile(path, "is not UTF-8 text") from None


def whole_text(text: str) -> str:
    """A string out of JSON, which may hold halves of characters, as Go takes it: with U+FFFD instead."""
    return text if text.isascii() else _LONE.sub("\ufffd", text)
