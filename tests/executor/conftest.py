"""Executors in this process, on committed data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from django_dbos.executor import Executor


@pytest.fixture
def start_executor(transactional_db: None) -> Iterator[Callable[..., Executor]]:
    """Start executors that are stopped after the test."""
    with ExitStack() as stack:

        def start(*args: Any, **options: Any) -> Executor:
            return stack.enter_context(Executor(*args, **options))

        yield start
