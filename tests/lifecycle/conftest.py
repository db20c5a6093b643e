"""What all tests of this folder begin with."""

from __future__ import annotations

import pytest

from tests.lifecycle import workflows
from tests.operations.conftest import run_through_crashes as run_through_crashes


@pytest.fixture(autouse=True)
def _forget() -> None:
    workflows.done.clear()
    workflows.broken.clear()
