"""A pytest hook, for the `conftest.py` of directories whose tests use a `Lab`: failures show the agents' logs."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Protocol, runtime_checkable

import pytest


@runtime_checkable
class HasLogs(Protocol):
    """A fixture's value that holds agents."""

    def logs(self) -> list[tuple[str, str]]:
        """Titles and texts."""


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: Any) -> Generator[None, Any, None]:
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        logs = (value.logs() for value in getattr(item, "funcargs", {}).values() if isinstance(value, HasLogs))
        report.sections += {title: (title, text) for some in logs for title, text in some}.values()
