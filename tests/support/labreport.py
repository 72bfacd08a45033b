"""A pytest hook, for the `conftest.py` of directories whose tests use a `Lab`: failures show the agents' logs."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tests.support.processes import Lab


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: Any) -> Generator[None, Any, None]:
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            lab = value if isinstance(value, Lab) else getattr(value, "lab", None)
            if isinstance(lab, Lab):
                report.sections += lab.logs()
