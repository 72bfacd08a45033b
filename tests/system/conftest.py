from __future__ import annotations

from tests.support.labreport import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]
