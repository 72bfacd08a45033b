"""The frame of the project: one version, two commands, nothing skipped in silence."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import gossipd

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def tracked_files() -> list[Path]:
    """Every text file of the project, as git knows them; in a tree without git, all that is not generated."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True)
    if listed.returncode == 0 and listed.stdout:
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        generated = {".venv", "build", "dist", "__pycache__", ".git"}
        paths = [path for path in ROOT.rglob("*") if path.is_file() and not generated & set(path.parts)]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8000]]


FILES = tracked_files()
SOURCES = [path for path in FILES if path.suffix == ".py" and path.is_relative_to(ROOT / "gossipd")]
TESTS = [path for path in FILES if path.suffix == ".py" and path.is_relative_to(ROOT / "tests")]


def test_the_version_stands_in_one_place():
    assert re.fullmatch(r"\d+\.\d+\.\d+", gossipd.__version__)
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "gossipd.__version__"}
    assert "version" not in PYPROJECT["project"]
    quoted = [path for path in SOURCES if f'"{gossipd.__version__}"' in path.read_text()]
    assert quoted == [ROOT / "gossipd/__init__.py"]


def test_the_changelog_begins_with_this_version():
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == gossipd.__version__


def test_readme_names_exactly_the_two_commands():
    commands = re.findall(r"^make [a-z-]+$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert set(commands) == {"make demo", "make test"}


def test_ci_runs_the_test_command_of_the_readme_with_nothing_left_out():
    script = (ROOT / ".ci/run").read_text()
    assert "make test" in script and "GOSSIPD_TEST_REQUIRE=all" in script
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_every_directory_with_tests_is_a_package():
    """Otherwise two test files of one name in different directories collide."""
    wanted = {path.parent for path in TESTS}
    assert sorted(path for path in wanted if not (path / "__init__.py").exists()) == []


def test_no_test_is_skipped_in_silence():
    """Only `need` may skip: it says what was not tested, and fails where everything is required."""
    silent = re.compile(r"pytest\.(skip|importorskip|xfail)\(|mark\.(skip|skipif|xfail)\b|unittest\.skip")
    here = Path(__file__).resolve()
    allowed = {here, ROOT / "tests/support/require.py"}
    assert [str(path) for path in TESTS if path not in allowed and silent.search(path.read_text())] == []


def test_sources_have_a_readable_size():
    long = {str(path.relative_to(ROOT)): size for path in SOURCES
            if (size := len(path.read_text().splitlines())) > 600}
    assert long == {}, "ask which second noun lives there"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_names_no_package_host_and_leaves_nothing_for_later(path):
    forbidden = r"py" r"pi\.org|python" r"hosted|deb\.debian\.org|\bTO" r"DO\b|\bFIX" r"ME\b"
    assert re.findall(forbidden, path.read_text(errors="replace")) == []
