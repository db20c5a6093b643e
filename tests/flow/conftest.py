"""Fixtures with executors in this process and in others, on committed data."""

from __future__ import annotations

from tests.executor.conftest import gate, start_executor
from tests.process.conftest import start_worker

__all__ = ["gate", "start_executor", "start_worker"]
