"""Drain check: begins to drain the executor when its row asks for it."""

from __future__ import annotations

import math
from collections.abc import Callable

from django_dbos.executor.clock import Clock
from django_dbos.executor.duties.duty import Duty
from django_dbos.store.records import HeartbeatReport
from django_dbos.store.sessions import Session


class DrainCheck(Duty):
    """The request to drain, which each heartbeat reports; a notification hurries the heartbeat."""

    def __init__(self, clock: Clock, on_request: Callable[[], None]) -> None:
        super().__init__(clock, period=math.inf)
        self._on_request = on_request

    def run(self, session: Session) -> None:
        """Do nothing: this duty acts on reports only."""

    def on_heartbeat(self, session: Session, report: HeartbeatReport) -> None:
        """Begin to drain if that was requested."""
        if report.must_drain:
            self._on_request()
