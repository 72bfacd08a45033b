"""Files that survive a crash in the middle of a write: replaced as a whole, or appended to line by line."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from gossipd.errors import GossipdError

TEMPORARY = ".compact"      # Serf calls its unfinished snapshot so
READ_BYTES_MAX = 256 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def replace_file(path: str, data: bytes, mode: int) -> None:
    """The file holds its old content or all of `data`, whatever happens meanwhile. Raises OSError: the old, then.

    An existing file keeps mode and owner, and a link stays a link; `mode` is for a new file.
    """
    path = os.path.realpath(path)
    temporary = path + TEMPORARY
    with suppress(FileNotFoundError):
        os.unlink(temporary)        # of somebody who crashed
    try:
        _write_new(temporary, data, mode, _status(path))
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_directory(os.path.dirname(path))


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _write_new(path: str, data: bytes, mode: int, like: os.stat_result | None) -> None:
    fd = os.open(path, _NEW, mode if like is None else 0o600)
    try:
        if like is not None:
            if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(fd, like.st_uid, like.st_gid)
            os.fchmod(fd, stat.S_IMODE(like.st_mode))
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Raises OSError, perhaps after a part was written."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest):]


def _sync_directory(path: str) -> None:
    """So that the new name survives a power cut. It is in use already: a file system that cannot do it is no error."""
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class LineFile:
    """A text file that grows by whole lines. Calls block, and raise OSError when the file cannot be written."""

    def __init__(self, path: str, mode: int = 0o644) -> None:
        self.path, self._mode = path, mode
        self._fd = -1
        self.size = 0               # bytes that count: whole lines
        self._unfinished = False    # behind them is a piece of a line

    def read(self) -> bytes:
        """What is there, b"" if nothing is. Before anything is appended. Raises GossipdError."""
        try:
            text = self._read()
        except FileNotFoundError as error:
            if not os.path.isdir(os.path.dirname(self.path) or "."):
                raise GossipdError(f"{self.path}: {error.strerror}") from None
            return b""
        except OSError as error:
            raise GossipdError(f"{self.path}: {error.strerror}") from None
        self.size = text.rfind(b"\n") + 1
        self._unfinished = self.size < len(text)
        return text

    def _read(self) -> bytes:
        # not blocking: opening a pipe would wait for its other end
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise GossipdError(f"{self.path}: is not a regular file")
            if status.st_size > READ_BYTES_MAX:
                raise GossipdError(f"{self.path}: is larger than {READ_BYTES_MAX >> 20} MiB")
            return file.read(READ_BYTES_MAX)

    def append(self, lines: bytes) -> None:
        """Whole lines. If this fails, what was written of them will not count."""
        fd = self._open()
        if self._unfinished:
            self._cut(fd)
        data = b"\n" + lines if self._unfinished else lines
        try:
            write_all(fd, data)
        except OSError:
            self._unfinished = True
            self._cut(fd)
            raise
        self.size += len(data)
        self._unfinished = False

    def _open(self) -> int:
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, self._mode)
        elif not self._is_ours():
            self.close()
            raise FileNotFoundError(errno.ENOENT, "the file was removed or replaced")
        return self._fd

    def _is_ours(self) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._fd))
        except OSError:
            return False

    def _cut(self, fd: int) -> None:
        """Take away a piece of a line: a newline behind it would make it count, with half a number perhaps."""
        with suppress(OSError):
            os.ftruncate(fd, self.size)
            self._unfinished = False

    def sync(self) -> None:
        if self._fd >= 0:
            os.fsync(self._fd)

    def replace(self, text: bytes) -> None:
        """`text` instead of everything: the old file or the new one is there, and whole, whatever happens meanwhile."""
        replace_file(self.path, text, self._mode)
        self.close()
        self.size, self._unfinished = len(text), False

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
