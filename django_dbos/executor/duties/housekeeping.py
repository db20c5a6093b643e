"""Housekeeping: the duties that share the heartbeat's thread and connection."""

from __future__ import annotations

from collections.abc import Callable

from django_dbos.conf import get_settings
from django_dbos.executor.clock import Clock
from django_dbos.executor.dispatcher import Dispatcher
from django_dbos.executor.duties.claim_check import ClaimCheck
from django_dbos.executor.duties.drain_check import DrainCheck
from django_dbos.executor.duties.duty_thread import DutyThread
from django_dbos.executor.duties.heartbeat import Heartbeat
from django_dbos.executor.duties.key_waits import KeyWaits
from django_dbos.executor.duties.orphans import Orphans
from django_dbos.executor.duties.recovery import Recovery
from django_dbos.executor.duties.schedules import ScheduleTimer
from django_dbos.executor.duties.sweep import Sweep
from django_dbos.executor.duties.timers import DeadlineTimer, DueTimer
from django_dbos.executor.identity import Identity
from django_dbos.executor.runs import Runs


class Housekeeping(DutyThread):
    """The thread of the heartbeat, and of all duties that are quick enough not to delay it."""

    def __init__(
        self,
        identity: Identity,
        runs: Runs,
        dispatcher: Dispatcher,
        clock: Clock,
        *,
        on_silence: Callable[[], None],
        on_life: Callable[[], None],
        on_drain: Callable[[], None],
    ) -> None:
        super().__init__("housekeeping", identity, clock)
        store, settings = identity.store, get_settings()
        self.heartbeat = Heartbeat(
            identity,
            settings,
            clock,
            on_report=self.report,
            on_silence=on_silence,
            on_life=on_life,
        )
        self.due = DueTimer(store, clock, self.heartbeat, self.loop.wake)
        self.deadlines = DeadlineTimer(store, clock, self.heartbeat, self.loop.wake)
        self.schedules = ScheduleTimer(store, clock, self.heartbeat, self.loop.wake)
        sweep = Sweep(store, clock, self.heartbeat)
        self.recovery = Recovery(
            identity, settings, clock, heartbeat=self.heartbeat, on_recovered=sweep.expect_lost
        )
        # The heartbeat comes last: its report then includes the effects of the others, to which it
        # is handed in this order.
        self.add(self.due)
        self.add(self.deadlines)
        self.add(self.schedules)
        self.add(ClaimCheck(runs, dispatcher, clock))
        self.add(KeyWaits(store, clock))
        self.add(DrainCheck(clock, on_drain))
        self.add(self.recovery)
        self.add(sweep)
        self.add(Orphans(store, clock, self.recovery))
        self.add(self.heartbeat)
