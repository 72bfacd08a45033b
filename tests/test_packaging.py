"""What is shipped beside the code: the Python package, the systemd unit, its user."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

import gossipd
from gossipd.config.flags import parse
from tests.support.require import need, need_program

ROOT = Path(__file__).resolve().parent.parent
UNIT = ROOT / "systemd/gossipd.service"
EXPOSURE_MAX = 1.5      # systemd-analyze security: 0 is shut, 10 is open

BUILD = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    need(find_spec("setuptools") and find_spec("wheel"), "building the package: no setuptools or no wheel")
    directory = tmp_path_factory.mktemp("build")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, directory)
    shutil.copytree(ROOT / "gossipd", directory / "gossipd", ignore=shutil.ignore_patterns("__pycache__"))
    (directory / "tests").mkdir()
    (directory / "tests/__init__.py").touch()
    done = subprocess.run([sys.executable, "-c", BUILD, "dist"], cwd=directory, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(directory / "dist" / done.stdout.splitlines()[-1])


def test_the_setuptools_here_builds_the_package_with_its_version(wheel):
    (metadata,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
    assert f"\nVersion: {gossipd.__version__}\n" in wheel.read(metadata).decode()


def test_the_package_holds_all_modules_and_nothing_else(wheel):
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "gossipd").rglob("*.py")}
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == modules


def test_the_two_commands_lead_to_functions(wheel):
    (points,) = [name for name in wheel.namelist() if name.endswith("/entry_points.txt")]
    targets = re.findall(r"^(\w+) = ([\w.]+):(\w+)$", wheel.read(points).decode(), re.MULTILINE)
    assert [name for name, _, _ in sorted(targets)] == ["gossipctl", "gossipd"]
    for _, module, function in targets:
        assert f"def {function}(" in (ROOT / (module.replace(".", "/") + ".py")).read_text()


def unit_values(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


def test_the_units_command_line_is_one_that_gossipd_takes():
    (command,) = unit_values("ExecStart")
    program, *argv = shlex.split(command)
    assert program == "/usr/bin/gossipd" and parse(argv).paths == ["/etc/gossipd"]


def test_the_units_user_and_group_are_made():
    made = re.findall(r"^([ug])\s+(\S+)", (ROOT / "systemd/gossipd.sysusers").read_text(), re.MULTILINE)
    assert [("u", *unit_values("User")), ("g", *unit_values("Group"))] == sorted(made, reverse=True)


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    analyze = need_program("systemd-analyze", "the unit file")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/usr/bin/gossipd", sys.executable))
    done = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_sandbox_is_as_tight_as_promised():
    analyze = need_program("systemd-analyze", "the unit's sandbox")
    done = subprocess.run([analyze, "security", "--offline=true", "--no-pager", str(UNIT)],
                          capture_output=True, text=True)
    assert float(re.findall(r"exposure level.*: ([\d.]+)", done.stdout)[0]) <= EXPOSURE_MAX


def test_systemd_can_make_the_user():
    sysusers = need_program("systemd-sysusers", "the unit's user")
    done = subprocess.run([sysusers, "--dry-run", str(ROOT / "systemd/gossipd.sysusers")],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
