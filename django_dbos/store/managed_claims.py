"""Claims under the limits of queues, and in turn of partition keys.

All claims of a managed queue happen under the lock of its row, so that no two of them count at once
(CORRECTNESS rule 54). The rule is in `core.queues`; PostgreSQL applies it to many workflows in one
statement.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence

from django_dbos.core import queues, registry
from django_dbos.core.queues import Limits, Part, Usage, Visit, Waiting
from django_dbos.core.records import Claim
from django_dbos.store.columns import CLAIM, LIMITS
from django_dbos.store.connecting import Connecting
from django_dbos.store.sessions import Params, Row, Session

MAX_VISITS = 500
"""The number of partition keys that one claim visits, if most of them have nothing to claim."""


class ManagedClaims(Connecting):
    """Claims from managed queues, and from queues with partition keys."""

    @abc.abstractmethod
    def claim_in_turn(
        self, session: Session, executor_id: str, visit: Visit
    ) -> tuple[list[Claim], Part]:
        """Claim the next workflows of a queue, in turn of its partition keys; no suspects.

        Workflows without a key are claimed only if the queue is managed.
        """

    @abc.abstractmethod
    def list_in_turn(self, session: Session, executor_id: str, visit: Visit) -> list[str]:
        """Return the ids of the workflows that `claim_in_turn` would try to claim."""

    def find_suspects(
        self, session: Session, queue_names: Sequence[str], *, names: Sequence[str], limit: int
    ) -> list[str]:
        """Return the ids of suspects of these queues."""
        params = {
            "queue_names": session.pack(queue_names),
            "names": session.pack(names),
            "limit": limit,
        }
        return [row[0] for row in session.run("find_suspects", params)]

    def _claim_in_place(self, session: Session, executor_id: str, workflow_id: str) -> Claim | None:
        """Claim a workflow of a managed queue by its id; return None if that isn't possible now."""
        with session.transaction():
            waiting = self._find_waiting(session, workflow_id)
            if waiting is None or not self._lock_queue(session, waiting.queue_name):
                return None
            limits = self._read_limits(session, waiting.queue_name)
            if limits is None:
                return None
            usage = self._read_usage(session, executor_id, waiting, limits)
            if queues.obstacle(limits, usage, waiting) is not None:
                return None
            params = {
                "executor_id": executor_id,
                "workflow_id": workflow_id,
                "place": limits.place,
            }
            claims = [CLAIM.read(row) for row in self._claim(session, "claim_placed", params)]
            if claims and waiting.is_start:
                self._record_start(session, waiting, limits)
        return next(iter(claims), None)

    def _claim(self, session: Session, name: str, params: Params) -> list[Row]:
        """Run a statement that claims workflows."""
        return session.run(name, params | {"adopted": registry.adopted()})

    def _find_waiting(self, session: Session, workflow_id: str) -> Waiting | None:
        found = session.run("find_in_managed_queue", {"workflow_id": workflow_id})
        for queue_name, partition_key, place, is_lingering, is_start in found:
            return Waiting(
                queue_name=queue_name,
                partition_key=partition_key,
                place=place,
                is_lingering=bool(is_lingering),
                is_start=bool(is_start),
            )
        return None

    def _read_limits(self, session: Session, queue_name: str) -> Limits | None:
        """Return the limits of a queue; None if it isn't managed."""
        found = session.run("read_limits", {"queue_name": queue_name})
        return next(map(LIMITS.read, found), None)

    def _read_usage(
        self, session: Session, executor_id: str, waiting: Waiting, limits: Limits
    ) -> Usage:
        """Return what counts against the limits that concern a workflow."""
        key = {"queue_name": waiting.queue_name, "partition_key": waiting.partition_key}
        ((places, own, of_partition),) = session.run(
            "count_places", {**key, "executor_id": executor_id}
        )
        return Usage(
            places=places,
            own_places=own,
            partition_places=of_partition,
            next_start=self._next_start(
                session, {**key, "partition_key": ""}, limits.rate_count, limits.rate_period
            ),
            partition_next_start=self._next_start(
                session, key, limits.partition_rate_count, limits.partition_rate_period
            ),
        )

    def _next_start(
        self, session: Session, key: Params, count: int | None, period: float | None
    ) -> float | None:
        """Return the seconds until a rate allows a start; None: at once."""
        if count is None or period is None:
            return None
        return queues.next_start(self._read_starts(session, key, period), count, period)

    @abc.abstractmethod
    def _lock_queue(self, session: Session, queue_name: str) -> bool:
        """Lock a managed queue for the transaction, without waiting; return whether that worked."""

    @abc.abstractmethod
    def _read_starts(self, session: Session, key: Params, period: float) -> list[tuple[float, int]]:
        """Return the ages in seconds of the starts in a window, and their numbers; newest first."""

    @abc.abstractmethod
    def _record_start(self, session: Session, waiting: Waiting, limits: Limits) -> None:
        """Record a start for the rates that count it."""
