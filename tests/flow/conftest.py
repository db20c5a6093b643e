"""Fixtures with executors in this process and in others, on committed data."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from django_dbos.core.records import Lane
from django_dbos.store.base import Store
from tests.executor.conftest import gate, start_executor
from tests.flow import gates, workflows
from tests.process.conftest import start_worker
from tests.store.conftest import executor_id, session, store
from tests.waiting import eventually

__all__ = ["executor_id", "gate", "session", "start_executor", "start_worker", "store"]


@pytest.fixture(autouse=True)
def _forget() -> None:
    workflows.ran.clear()


@pytest.fixture
def amid_an_hour() -> None:
    """Wait if an hour is about to begin: it would be one more instant of an hourly schedule."""
    eventually(lambda: time.time() % 3_600 < 3_570, every=0.1)


@pytest.fixture
def closed_gates() -> Iterator[None]:
    """Close the gates of `tests.flow.gates`, and open them after the test."""
    gates.events.clear()
    gates.reached.clear()
    gates.go.clear()
    yield
    gates.go.set()


@pytest.fixture
def notified(store: Store) -> Iterator[list[Lane]]:
    """Collect the lanes of which the executors of this process are notified."""
    lanes: list[Lane] = []

    def note(found: list[Lane] | None) -> None:
        lanes.extend(found or [])

    store.wakeups.add_lane_listener(note)
    yield lanes
    store.wakeups.remove_lane_listener(note)
