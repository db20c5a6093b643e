"""Liveness: locks and heartbeats of executors, and recovery of the work of dead ones."""

from __future__ import annotations

import abc
from dataclasses import asdict

from django_dbos.core.records import ExecutorInfo, Lane
from django_dbos.store.holding import Holding
from django_dbos.store.records import HeartbeatReport, Recovered
from django_dbos.store.sessions import Session
from django_dbos.store.watchdog import get_watchdog


class Liveness(Holding):
    """Locks, heartbeats and recovery."""

    @abc.abstractmethod
    def hold_lock(self, session: Session, executor_id: str) -> bool:
        """Take the lock that proves, while it is held, that the process is alive; False: not now.

        To be called again after every error of the session.
        """

    @abc.abstractmethod
    def release_lock(self, session: Session, executor_id: str) -> None:
        """Undo `hold_lock`."""

    def mark_locked(self, session: Session, executor_id: str, *, has_lock: bool = True) -> None:
        """Record whether the executor holds its lock; an executor declared dead stays dead."""
        session.run("mark_locked", {"executor_id": executor_id, "has_lock": has_lock})

    def register_executor(self, session: Session, info: ExecutorInfo, *, has_lock: bool) -> None:
        """Insert the executor's row."""
        params = {"has_lock": has_lock, "lease_microseconds": int(info.lease * 1_000_000)}
        session.run("register_executor", asdict(info) | params)

    def deregister_executor(self, session: Session, executor_id: str) -> None:
        """Delete the executor's row."""
        session.run("deregister_executor", {"executor_id": executor_id})

    @abc.abstractmethod
    def heartbeat(
        self,
        session: Session,
        executor_id: str,
        previous: HeartbeatReport | None,
        *,
        is_thorough: bool = True,
    ) -> HeartbeatReport:
        """Record a heartbeat and report the pending work; a thorough one also counts rows."""

    def list_heartbeats(self, session: Session, executor_id: str) -> list[float]:
        """Return the ages in seconds of the other executors' heartbeats."""
        found = session.run("list_heartbeats", {"executor_id": executor_id})
        return [age for row in found for age in row if age is not None]

    def list_orphans(self, session: Session) -> list[str]:
        """Return executors without a row that still hold workflows."""
        return [row[0] for row in session.run("list_orphans")]

    def hurry(self, executor_id: str, seconds: float) -> None:
        """Limit every answer that the executor awaits to `seconds`, since it is stopping."""
        get_watchdog().hurry(executor_id, seconds)

    def relax(self, executor_id: str) -> None:
        """Undo `hurry`."""
        get_watchdog().relax(executor_id)

    def _free_dead(self, session: Session, executor_id: str) -> tuple[list[Lane], int]:
        """Free the places that linger with a dead executor; return their lanes.

        Returns also the number of rows that still name it.
        """
        held = self.list_held(session, executor_id)
        count, freed = self.free_places(session, executor_id, held.lingering)
        return freed, held.count - count

    @abc.abstractmethod
    def recover_executor(
        self,
        session: Session,
        executor_id: str,
        *,
        is_unlocked: bool,
        is_orphaned: bool = False,
        silence: float = 0.0,
    ) -> Recovered | None:
        """Declare an executor dead and enqueue its workflows; return None if it lives after all.

        An executor whose lock is free is dead if it was silent for `silence` seconds as well.
        """
