"""Fixtures with executors in this process, on committed data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from django_dbos.executor import Executor
from tests.process.workflows import Gate


@pytest.fixture
def start_executor(transactional_db: None) -> Iterator[Callable[..., Executor]]:
    """Start executors, and stop them after the test."""
    with ExitStack() as stack:

        def start(*args: Any, **options: Any) -> Executor:
            return stack.enter_context(Executor(*args, **options))

        yield start


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """Block workflows of `tests.process.workflows` in the middle of a step."""
    return Gate(tmp_path / "gate")
