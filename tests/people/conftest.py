"""Fixtures that run workflows, also with a crash after each of their writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from django_dbos import WorkflowHandle
from django_dbos.testing import run_until_idle
from tests.crashing import Crash, crash_after, recover


@pytest.fixture
def run_through_crashes(db: None) -> Callable[..., int]:
    """Run a workflow once per write with a crash after that write, recover, and compare."""

    def run(start: Callable[[], WorkflowHandle[Any]], check: Callable[[Any], None]) -> int:
        for writes in range(1, 60):
            handle = start()
            try:
                with crash_after(writes):
                    run_until_idle()
            except Crash:
                recover()
                run_until_idle()
            else:
                return writes
            check(handle)
        raise AssertionError("The workflow wrote more than 60 times.")

    return run
