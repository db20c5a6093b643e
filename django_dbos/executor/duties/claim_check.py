"""Claim check: compares a heartbeat's report with the executor's own claims and runs."""

from __future__ import annotations

import math

from django_dbos.executor.clock import Clock
from django_dbos.executor.dispatcher import Dispatcher
from django_dbos.executor.duties.duty import Duty
from django_dbos.executor.runs import Runs
from django_dbos.store.records import HeartbeatReport
from django_dbos.store.sessions import Session


class ClaimCheck(Duty):
    """The fallback for notifications that were lost or aren't available."""

    def __init__(self, runs: Runs, dispatcher: Dispatcher, clock: Clock) -> None:
        super().__init__(clock, period=math.inf)
        self._runs = runs
        self._dispatcher = dispatcher
        self._mismatches = 0

    def run(self, session: Session) -> None:
        """Do nothing: this duty acts on reports only."""

    def on_heartbeat(self, session: Session, report: HeartbeatReport) -> None:
        """Make the dispatcher poll, or compare claims with runs, if the report requires it."""
        if report.has_enqueued:
            self._dispatcher.poll_again()
        if not self._runs.store.wakeups.is_listening:
            # No notification comes when another process cancels a workflow.
            self._runs.doubt_all()
        self._check_count(report.held_count)

    def _check_count(self, held_count: int | None) -> None:
        """Audit when two counts in a row differ: a run may begin or end during one of them."""
        if held_count is None:
            return
        is_wrong = held_count != len(self._runs)
        self._mismatches = self._mismatches + 1 if is_wrong else 0
        if self._mismatches >= 2:
            self._dispatcher.audit()
