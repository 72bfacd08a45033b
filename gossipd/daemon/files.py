"""Files that survive a crash in the middle of a write: replaced as a whole, or appended to line by line."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from gossipd.errors import GossipdError

TEMPORARY = ".compact"      # Serf calls its unfinished snapshot so
READ_BYTES_MAX = 256 << 20
PIECE_BYTES = 1 << 20       # read at a time
TAKES_MAX = 10              # attempts to lock a file that is being replaced
_OPEN = os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
_NEW = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ETXTBSY)


def replace_file(path: str, data: bytes, mode: int, *, keep_mode: bool = True) -> None:
    """The file holds its old content or all of `data`, whatever happens meanwhile. Raises OSError: the old, then.

    An existing file keeps owner and group, and a link stays a link. `mode` is for a new file, or without `keep_mode`
    for any.
    """
    os.close(_replace(path, data, mode, keep_mode))


def _replace(path: str, data: bytes, mode: int, keep_mode: bool = True) -> int:
    """The new file, locked before it has its name, so that nobody finds it unlocked."""
    path = os.path.realpath(path)
    like = _status(path)
    temporary = path + TEMPORARY
    with suppress(FileNotFoundError):
        os.unlink(temporary)        # of somebody who crashed
    fd = -1
    try:
        fd = os.open(temporary, _NEW, mode if like is None else 0o600)
        _lock(fd)
        if like is not None:
            _resemble(fd, like, stat.S_IMODE(like.st_mode) if keep_mode else mode)
        write_all(fd, data)
        os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:
        if fd >= 0:
            os.close(fd)
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_directory(os.path.dirname(path))
    return fd


def _status(path: str) -> os.stat_result | None:
    """None if there is no such file. Raises OSError if it is not a regular one: opening a pipe would wait for its other
    end, opening a device may do anything, and nobody misses a file as much as /dev/null."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "is not a regular file")
    return status


def _resemble(fd: int, like: os.stat_result, mode: int) -> None:
    if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(fd, like.st_uid, like.st_gid)
    os.fchmod(fd, mode)


def _lock(fd: int) -> bool:
    """Keep the file for ourselves, until it is closed. False if somebody else does. Serf looks at no locks, and there
    are file systems without: then nobody keeps anything."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _holder(fd: int) -> str:
    """Who has locked the file, as far as one can see: the end of a sentence."""
    status = os.fstat(fd)
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with suppress(OSError), open("/proc/locks") as locks:
        for line in locks:
            words = line.split()
            if words[1] == "FLOCK" and words[-3] == file and words[-4] != "0":
                return f" (pid {words[-4]})"
    return ""


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
    """A text file that grows by whole lines and belongs to one process at a time. Calls block, and raise OSError when
    the file cannot be written."""

    def __init__(self, path: str, mode: int = 0o644) -> None:
        self.path, self._mode = path, mode
        self._fd = -1
        self._writable = False
        self.size = 0               # bytes that count: whole lines
        self.skipped = 0            # bytes at its beginning that were not read
        self._unfinished = False    # behind them is a piece of a line

    def read(self) -> Iterator[bytes]:
        """What is there, in pieces, nothing if nothing is. Before anything is appended. Of a file that is too long to
        be read the end, from the beginning of a line on. Raises GossipdError, also if another process has the file."""
        try:
            if self._take_or_look():
                yield from self._pieces()
        except OSError as error:
            raise GossipdError(f"{self.path}: {error.strerror}") from None

    def _take_or_look(self) -> bool:
        """False if there is no file and none can be made: that is for whoever writes to tell."""
        status = _status(self.path)
        try:
            self._take(os.O_RDWR | os.O_CREAT)
        except OSError as error:
            if error.errno == errno.ENOENT and os.path.isdir(os.path.dirname(self.path) or "."):
                return False        # in a working directory that was removed
            if error.errno not in _UNWRITABLE:
                raise
            if status is None:
                return False
            self._take(os.O_RDONLY)
        return True

    def _take(self, flags: int) -> None:
        """Open and lock it. Whoever had it may have put another in its place until we had the lock."""
        for _ in range(TAKES_MAX):
            _status(self.path)
            fd = os.open(self.path, flags | _OPEN, self._mode)
            self.close()
            self._fd = fd
            self._writable = flags != os.O_RDONLY
            if not _lock(self._fd):
                holder = _holder(self._fd)
                self.close()
                raise OSError(errno.EBUSY, f"in use by another process{holder}")
            if self._is_ours():
                return
        raise OSError(errno.EBUSY, "replaced again and again by another process")

    def _pieces(self) -> Iterator[bytes]:
        end = os.fstat(self._fd).st_size
        at = self.size = self.skipped = max(0, end - READ_BYTES_MAX)
        skipping = at > 0
        while at < end and (piece := os.pread(self._fd, min(PIECE_BYTES, end - at), at)):
            newline = piece.rfind(b"\n") + 1
            if newline:
                self.size = at + newline
            at += len(piece)
            if skipping:
                _, newline_byte, piece = piece.partition(b"\n")
                skipping = not newline_byte
            yield piece
        if skipping:
            raise GossipdError(f"{self.path}: no line ends in its last {READ_BYTES_MAX >> 20} MiB: is no snapshot")
        self._unfinished = self.size < at

    def append(self, lines: bytes) -> None:
        """Whole lines. If this fails, what was written of them will not count."""
        self._open()
        if self._unfinished:
            self._cut()
        data = b"\n" + lines if self._unfinished else lines
        try:
            write_all(self._fd, data)
        except OSError:
            self._unfinished = True
            self._cut()
            raise
        self.size += len(data)
        self._unfinished = False

    def _open(self) -> None:
        if self._fd < 0 or not self._writable:
            self._take(os.O_RDWR | os.O_CREAT)
            self.size = min(self.size, os.fstat(self._fd).st_size)      # it may be another file
        elif not self._is_ours():
            self.close()
            raise FileNotFoundError(errno.ENOENT, "the file was removed or replaced")

    def _is_ours(self) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._fd))
        except OSError:
            return False

    def _cut(self) -> None:
        """Take away a piece of a line: a newline behind it would make it count, with half a number perhaps."""
        with suppress(OSError):
            os.ftruncate(self._fd, self.size)
            self._unfinished = False

    def sync(self) -> None:
        if self._fd >= 0 and self._writable:
            os.fsync(self._fd)

    def replace(self, text: bytes) -> None:
        """`text` instead of everything: the old file or the new one is there, and whole, whatever happens meanwhile."""
        if self._fd < 0 or not self._is_ours():
            with suppress(FileNotFoundError):
                self._take(os.O_RDONLY)     # somebody else may have it by now
        fd = _replace(self.path, text, self._mode)
        self.close()
        self._fd, self._writable = fd, True
        self.size, self._unfinished = len(text), False

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
