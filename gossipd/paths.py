"""Where the RPC socket is when nobody says so: one rule for the daemon and its client."""

from __future__ import annotations

import os

SYSTEM_SOCKET = "/run/gossipd/rpc.sock"
"""Of the packaged service."""


def user_runtime_dir() -> str:
    """Of a daemon that runs without rights and without a config: private to the user, gone after a reboot."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    return f"{base}/gossipd" if base.startswith("/") else f"/tmp/gossipd-{os.getuid()}"


def user_socket() -> str:
    return user_runtime_dir() + "/rpc.sock"


def is_private(directory: str) -> bool:
    """True if `directory` is a real directory of this user that nobody else can write to.

    In /tmp anybody may have made it first; neither side should trust a socket there without asking this.
    """
    try:
        info = os.lstat(directory)
    except OSError:
        return False
    return info.st_mode & 0o170022 == 0o040000 and info.st_uid == os.getuid()


def default_socket() -> str:
    """The packaged daemon's socket if there is one, else that of this user's own daemon."""
    return SYSTEM_SOCKET if os.path.exists(SYSTEM_SOCKET) else user_socket()
