from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.bridge import Bridges
from tests.support.labreport import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]


@pytest.fixture
def bridge() -> Iterator[Bridges]:
    with ExitStack() as stack:
        yield Bridges(stack)
