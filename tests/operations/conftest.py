"""Fixtures that run workflows, also with a crash after each of their writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from django_dbos import WorkflowHandle
from tests.crashing import run_with_crash


@pytest.fixture
def run_through_crashes(db: None) -> Callable[..., int]:
    """Run a workflow once per write with a crash after that write, recover, and compare."""

    def run(start: Callable[[], WorkflowHandle[Any]], check: Callable[[Any], None]) -> int:
        for writes in range(1, 60):
            handle = start()
            if not run_with_crash(writes):
                return writes
            check(handle)
        raise AssertionError("The workflow wrote more than 60 times.")

    return run
