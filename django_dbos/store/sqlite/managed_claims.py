"""Claims under limits on SQLite, whose write lock is that of all queues."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from django_dbos.core import queues
from django_dbos.core.queues import Limits, Part, Usage, Visit, Waiting
from django_dbos.core.records import Claim
from django_dbos.store.columns import CLAIM
from django_dbos.store.managed_claims import ManagedClaims
from django_dbos.store.sessions import Params, Session
from django_dbos.store.sqlite.parameters import now_text
from django_dbos.store.sqlite.queue_walk import Choice, QueueWalk


class SqliteManagedClaims(ManagedClaims):
    """A claim walks through the keys with a statement for each."""

    def claim_in_turn(
        self, session: Session, executor_id: str, visit: Visit
    ) -> tuple[list[Claim], Part]:
        with session.transaction():
            limits = self._read_limits(session, visit.queue_name)
            walk = self._walk(session, executor_id, visit, limits)
            chosen, part = walk.choose(visit.after, visit.limit)
            claims = self._claim_chosen(session, executor_id, chosen, limits)
            if claims and limits is not None:
                starts = [one.partition_key for one in chosen if one.is_start]
                self._record_starts(session, visit.queue_name, starts, limits)
        return claims, part

    def list_in_turn(self, session: Session, executor_id: str, visit: Visit) -> list[str]:
        with session.transaction():
            limits = self._read_limits(session, visit.queue_name)
            walk = self._walk(session, executor_id, visit, limits)
            chosen, _ = walk.choose(visit.after, visit.limit)
        return [one.workflow_id for one in chosen]

    def _walk(
        self, session: Session, executor_id: str, visit: Visit, limits: Limits | None
    ) -> QueueWalk:
        def read_usage(partition_key: str) -> Usage:
            return self._read_partition(session, visit.queue_name, partition_key, limits)

        params = {"queue_name": visit.queue_name, "names": session.pack(visit.names)}
        usage = self._read_whole(session, executor_id, visit.queue_name, limits)
        return QueueWalk(session, params, limits, usage, read_usage)

    def _read_whole(
        self, session: Session, executor_id: str, queue_name: str, limits: Limits | None
    ) -> Usage:
        """Return what counts against the limits of a whole queue."""
        if limits is None:
            return Usage()
        key = {"queue_name": queue_name, "partition_key": ""}
        ((places, own, _),) = session.run("count_places", {**key, "executor_id": executor_id})
        left, next_start = self._starts_left(session, key, limits.rate_count, limits.rate_period)
        return Usage(places=places, own_places=own, starts_left=left, next_start=next_start)

    def _read_partition(
        self, session: Session, queue_name: str, partition_key: str, limits: Limits | None
    ) -> Usage:
        """Return what counts against the limits of a partition."""
        if limits is None or not partition_key:
            return Usage()
        key = {"queue_name": queue_name, "partition_key": partition_key}
        places = 0
        if limits.partition_concurrency is not None:
            ((places,),) = session.run("count_places_of_key", key)
        left, next_start = self._starts_left(
            session, key, limits.partition_rate_count, limits.partition_rate_period
        )
        return Usage(
            partition_places=places, partition_starts_left=left, partition_next_start=next_start
        )

    def _starts_left(
        self, session: Session, key: Params, count: int | None, period: float | None
    ) -> tuple[int | None, float | None]:
        """Return how many starts a rate allows now, and the seconds until the next one if none."""
        if count is None or period is None:
            return None, None
        starts = self._read_starts(session, key, period)
        left = queues.room(count, sum(number for _, number in starts))
        return left, queues.next_start(starts, count, period)

    def _claim_chosen(
        self, session: Session, executor_id: str, chosen: list[Choice], limits: Limits | None
    ) -> list[Claim]:
        if not chosen:
            return []
        ids = [one.workflow_id for one in chosen]
        params = {
            "executor_id": executor_id,
            "workflow_ids": session.pack(ids),
            "place": 0 if limits is None else limits.place,
        }
        claims = [CLAIM.read(row) for row in self._claim(session, "claim_chosen", params)]
        return sorted(claims, key=lambda claim: ids.index(claim.workflow_id))

    def _lock_queue(self, session: Session, queue_name: str) -> bool:
        # The transaction holds the only write lock.
        return True

    def _read_starts(self, session: Session, key: Params, period: float) -> list[tuple[float, int]]:
        now = datetime.now(UTC).replace(tzinfo=None)
        found = session.run("read_starts", key | {"since": now_text(-period)})
        return [
            ((now - datetime.fromisoformat(last_at)).total_seconds(), count)
            for last_at, count in found
        ]

    def _record_start(self, session: Session, waiting: Waiting, limits: Limits) -> None:
        self._record_starts(session, waiting.queue_name, [waiting.partition_key], limits)

    def _record_starts(
        self, session: Session, queue_name: str, partition_keys: Sequence[str], limits: Limits
    ) -> None:
        """Record starts of workflows with these keys, for the rates that count them."""
        if not partition_keys:
            return
        if limits.rate_count is not None and limits.rate_period is not None:
            key = {"queue_name": queue_name, "partition_key": "", "count": len(partition_keys)}
            self._record(session, key, limits.rate_count, limits.rate_period)
        if limits.partition_rate_count is not None and limits.partition_rate_period is not None:
            for partition_key, count in Counter(filter(None, partition_keys)).items():
                key = {"queue_name": queue_name, "partition_key": partition_key, "count": count}
                self._record(
                    session, key, limits.partition_rate_count, limits.partition_rate_period
                )
        periods = [limits.rate_period or 0.0, limits.partition_rate_period or 0.0]
        if any(periods):
            # More than were added.
            most = 2 * len(partition_keys) + 10
            old = {"queue_name": queue_name, "since": now_text(-max(periods)), "limit": most}
            session.run("delete_starts", old)

    def _record(self, session: Session, key: Params, count: int, period: float) -> None:
        width = queues.bucket(count, period)
        if width:
            since = now_text(-(time.time() % width))
            if session.run("merge_starts", key | {"since": since}):
                return
        session.run("insert_starts", key)
