"""Scheduler: starts the instants of schedules that are due, in one transaction with their rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from django_dbos import telemetry
from django_dbos.core import schedules, zones
from django_dbos.core.records import Lane, NewWorkflow
from django_dbos.core.schedules import Definition, Overlap, Plan, StoredSchedule
from django_dbos.operations.scheduling import new_workflow
from django_dbos.store import errors
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session
from django_dbos.telemetry import concealing

logger = logging.getLogger("django_dbos.executor")

# Schedules that one transaction starts, and the instants of all of them that are caught up.
LIMIT, TOTAL = 1_000, 1_000
# Seconds for which an executor with older time-zone data leaves an instant to others.
PATIENCE = 5.0
# Active workflows of a schedule that are looked up: two are as good as more, unless all are to be
# cancelled.
COUNTED, CANCELLED = 2, 1_000


@dataclass(slots=True, kw_only=True)
class Pass:
    """The schedules and workflows that one transaction has started."""

    plans: list[Plan] = field(default_factory=list)
    new: list[NewWorkflow] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    freed: list[Lane] = field(default_factory=list)
    """The queues in which their cancellation frees places."""
    replacing: list[str] = field(default_factory=list)
    """Schedules that cancel active workflows: each in a transaction of its own, as it may have to
    wait for a lock."""
    has_more: bool = False
    """True if schedules may be due that it has left for the next pass."""
    since: datetime
    """The time before it looked."""


class Scheduler:
    """Starts the instants that are due, each once, whichever executors are at it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.broken: set[str] = set()
        """Schedules whose instants can't be computed here; others may be able to."""

    def run(self, session: Session) -> float | None:
        """Start what is due; return the seconds until the next instant, None if there is none.

        Raises:
            LockTimeout: A workflow that is to be cancelled is locked; the others are started.
        """
        begun = self._start(session)
        locked: errors.LockTimeout | None = None
        for name in begun.replacing:
            try:
                self._start(session, only=name)
            except errors.LockTimeout as error:
                # The others' workflows aren't locked for that.
                locked = error
        if locked is not None:
            raise locked
        return 0.0 if begun.has_more else self._store.next_schedule(session, begun.since)

    def _start(self, session: Session, *, only: str | None = None) -> Pass:
        with session.transaction():
            found = self._store.lock_due_schedules(
                session,
                limit=LIMIT,
                tzdata=zones.data_version(),
                patience=PATIENCE,
                without=sorted(self.broken),
                only=only,
            )
            begun = Pass(has_more=len(found.schedules) == LIMIT, since=found.since)
            if found.schedules:
                due, now = found.schedules, found.now
                self._plan(session, due, now, begun, may_cancel=only is not None)
                self._write(session, begun)
        self._announce(session, begun)
        return begun

    def _plan(
        self,
        session: Session,
        due: Sequence[StoredSchedule],
        now: datetime,
        begun: Pass,
        *,
        may_cancel: bool,
    ) -> None:
        definitions = self._definitions(due)
        at_once = max(TOTAL // len(due), 1)
        active = self._read_active(session, definitions)
        ends = self._read_ends(session, due, definitions)
        for schedule in due:
            if schedule.name not in definitions:
                continue
            name = schedule.name
            compute = partial(
                schedules.plan,
                schedule,
                now,
                active.get(name, ()),
                ends.get(name, ()),
                at_once=at_once,
            )
            plan: Plan | None = self._try(name, compute)
            if plan is None:
                continue
            if plan.cancelled and not may_cancel:
                begun.replacing.append(schedule.name)
                continue
            begun.plans.append(plan)
            begun.has_more |= plan.schedule.next_at is not None and plan.schedule.next_at <= now

    def _definitions(self, due: Sequence[StoredSchedule]) -> dict[str, Definition]:
        found: dict[str, Definition | None] = {
            schedule.name: self._try(schedule.name, partial(getattr, schedule, "definition"))
            for schedule in due
        }
        return {name: definition for name, definition in found.items() if definition is not None}

    def _try(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return a result; None for a schedule that can't be computed here, which is logged once.

        One bad row must not keep the others from starting.
        """
        try:
            return compute()
        except Exception as error:
            self.broken.add(name)
            shown = concealing.shown("", error)
            logger.error(
                "Schedule %r can't be computed by this executor, and is left to others: %r",
                name,
                shown,
                exc_info=shown,
            )
            return None

    def _read_active(
        self, session: Session, definitions: Mapping[str, Definition]
    ) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for limit, overlaps in (
            (COUNTED, (Overlap.SKIP, Overlap.QUEUE)),
            (CANCELLED, (Overlap.CANCEL,)),
        ):
            names = [name for name, known in definitions.items() if known.overlap in overlaps]
            found |= self._store.find_scheduled(session, names, limit)
        return found

    def _read_ends(
        self,
        session: Session,
        due: Sequence[StoredSchedule],
        definitions: Mapping[str, Definition],
    ) -> dict[str, list[tuple[str, str]]]:
        asked = {
            schedule.name: (schedule.failures_after, limit)
            for schedule in due
            if schedule.name in definitions
            and (limit := definitions[schedule.name].pause_after_failures) is not None
        }
        return self._store.find_ends(session, asked)

    def _write(self, session: Session, begun: Pass) -> None:
        """Start and advance in one transaction: a death in between undoes both."""
        new: list[NewWorkflow] = []
        for plan in begun.plans:
            name, definition = plan.schedule.name, plan.schedule.definition
            new += [new_workflow(name, definition, start) for start in plan.starts]
            if plan.cancelled:
                cancelled, freed = self._store.cancel_scheduled(session, plan.cancelled)
                begun.cancelled += cancelled
                begun.freed += freed
        inserted = self._store.insert_scheduled(session, new)
        begun.new = [workflow for workflow in new if workflow.workflow_id in inserted]
        self._store.update_schedules(session, [plan.schedule for plan in begun.plans])

    def _announce(self, session: Session, begun: Pass) -> None:
        """Notify after the commit (CORRECTNESS rule 15)."""
        self._store.announce_scheduled(session, begun.new, begun.cancelled, begun.freed)
        for plan in begun.plans:
            telemetry.schedule_started(plan)
