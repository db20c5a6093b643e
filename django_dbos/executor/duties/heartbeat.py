"""Heartbeat: one statement per interval, which proves life and reads the state of the tables.

Its report goes to the other duties: enqueued workflows, the next due time and deadline, executors
that look dead, lost wake-ups. So an idle worker runs this statement and no other.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

from django_dbos import telemetry
from django_dbos.conf import Settings
from django_dbos.executor.clock import Clock
from django_dbos.executor.duties.duty import Duty
from django_dbos.executor.identity import Identity
from django_dbos.executor.throttle import Throttle
from django_dbos.store import errors
from django_dbos.store.records import HeartbeatReport
from django_dbos.store.sessions import Session


class Heartbeat(Duty):
    """The heartbeat, and the lock that shows that the process lives.

    `on_report` receives each report. `on_silence` is called when the executor must register again,
    `on_life` after each heartbeat that found it registered.
    """

    def __init__(
        self,
        identity: Identity,
        settings: Settings,
        clock: Clock,
        *,
        on_report: Callable[[Session, HeartbeatReport], None],
        on_silence: Callable[[], None],
        on_life: Callable[[], None],
    ) -> None:
        super().__init__(clock, period=settings.heartbeat_interval, first=0.0)
        self._identity = identity
        self._store = identity.store
        self._lease = settings.lease
        self._on_report = on_report
        self._on_silence = on_silence
        self._on_life = on_life
        self._has_lock = False
        self._shows_lock = False
        """True if the row says that the lock is held: otherwise only silence shows a death."""
        self._previous: HeartbeatReport | None = None
        self.last_at = clock()
        """When the last heartbeat, or the registration, was answered, on the clock."""
        self._throttle = Throttle(clock)

    def register(self, session: Session) -> None:
        """Take the lock and write the executor's row."""
        identity = self._identity
        self._has_lock = self._store.hold_lock(session, identity.executor_id)
        self._shows_lock = self._has_lock
        self._store.register_executor(session, identity.info, has_lock=self._has_lock)
        self.last_at = self.clock()

    def run(self, session: Session) -> None:
        """Send a heartbeat, and pass its report on."""
        began = self.clock()
        try:
            report = self._send(session)
        except errors.LockTimeout:
            # The loop's short pause comes before the next attempt: others would soon take an
            # executor for dead that waits for a period each time.
            self.hurry()
            raise
        now = self.clock()
        telemetry.heartbeat(self._identity.executor_id, now - began)
        silence, self.last_at = now - self.last_at, now
        if silence > self._lease or not report.is_registered:
            # Its work may have been, or has been, given to others (CORRECTNESS rule 4).
            self._on_silence()
            return
        self._previous = report
        self._on_life()
        if not self._has_lock or self._store.is_pooled:
            self._take_lock(session)
        self._on_report(session, report)

    def search_all(self) -> None:
        """Make the next heartbeat search all waits for lost wake-ups."""
        self._previous = None

    def on_disconnect(self) -> None:
        """Send the next heartbeat at once: the lock was lost with the connection."""
        self._has_lock = False
        # Notifications may have been lost as well.
        self.search_all()
        self.hurry()

    def _send(self, session: Session) -> HeartbeatReport:
        is_thorough = self._throttle.is_allowed
        with self._throttle.spent() if is_thorough else nullcontext():
            return self._store.heartbeat(
                session, self._identity.executor_id, self._previous, is_thorough=is_thorough
            )

    def _take_lock(self, session: Session) -> None:
        executor_id = self._identity.executor_id
        self._has_lock = self._store.hold_lock(session, executor_id)
        if self._has_lock or self._shows_lock:
            self._shows_lock = self._has_lock
            self._store.mark_locked(session, executor_id, has_lock=self._has_lock)
