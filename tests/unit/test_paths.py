from __future__ import annotations

import os

from gossipd import paths


def test_a_daemon_without_rights_uses_the_users_runtime_directory(monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert paths.user_socket() == "/run/user/7/gossipd/rpc.sock"


def test_without_one_it_uses_tmp(monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert paths.user_socket() == f"/tmp/gossipd-{os.getuid()}/rpc.sock"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    assert paths.user_socket() == f"/tmp/gossipd-{os.getuid()}/rpc.sock"


def test_the_packaged_socket_comes_first_if_it_exists(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    monkeypatch.setattr(paths, "SYSTEM_SOCKET", str(tmp_path / "rpc.sock"))
    assert paths.default_socket() == "/run/user/7/gossipd/rpc.sock"
    (tmp_path / "rpc.sock").touch()
    assert paths.default_socket() == str(tmp_path / "rpc.sock")


def test_only_an_own_directory_that_others_cannot_write_to_is_private(tmp_path):
    own = tmp_path / "own"
    own.mkdir(mode=0o700)
    assert paths.is_private(str(own))
    (tmp_path / "link").symlink_to(own)
    own.chmod(0o770)
    assert not paths.is_private(str(own))
    own.chmod(0o700)
    assert not paths.is_private(str(tmp_path / "link"))
    assert not paths.is_private(str(tmp_path / "missing"))
    (tmp_path / "file").touch(mode=0o600)
    assert not paths.is_private(str(tmp_path / "file"))
