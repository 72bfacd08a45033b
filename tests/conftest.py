"""Shared by all tests: which versions they ran with, and at the end one line for everything that was not tested."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tests.support.require import MARK

DEPENDENCIES = ("trio", "msgpack", "cryptography", "sdnotify", "tomli-w", "dnspython", "hypothesis")


def pytest_report_header() -> str:
    return "with: " + ", ".join(f"{name} {_version(name)}" for name in DEPENDENCIES)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    untested = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", []))
    if not untested:
        return
    listed = "; ".join(f"{what} ({count} skipped)" for what, count in untested.items())
    terminalreporter.write_line(f"{MARK}{listed}", yellow=True, bold=True)


def _reason(report: Any) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return str(text).removeprefix("Skipped: ").removeprefix(MARK)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
