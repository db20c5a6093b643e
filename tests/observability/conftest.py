"""Fixtures: worker processes."""

from tests.process.conftest import start_worker

__all__ = ["start_worker"]
