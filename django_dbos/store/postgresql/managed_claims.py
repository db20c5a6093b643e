"""Claims under limits on PostgreSQL: the lock and the claim are one message to the server."""

from __future__ import annotations

from django.db import connections

from django_dbos.core import registry
from django_dbos.core.queues import Limits, Part, Visit, Waiting
from django_dbos.core.records import Claim
from django_dbos.store.columns import CLAIM
from django_dbos.store.managed_claims import MAX_VISITS, ManagedClaims
from django_dbos.store.sessions import Params, Row, Session, Statement, is_of_testcase

# The columns of the part of the turn, before those of the claims.
PART_COLUMNS = 7


class PostgresManagedClaims(ManagedClaims):
    """One statement claims over any number of partition keys."""

    def claim_in_turn(
        self, session: Session, executor_id: str, visit: Visit
    ) -> tuple[list[Claim], Part]:
        return self._claimed(session.run_as_one(self._locked_claim(session, executor_id, visit)))

    def _locked_claim(self, session: Session, executor_id: str, visit: Visit) -> list[Statement]:
        """Return the statements of a claim, which must be in one transaction."""
        return _locked("claim_in_turn", _params(session, executor_id, visit))

    def _claimed(self, found: list[Row]) -> tuple[list[Claim], Part]:
        claims = [CLAIM.read(row[PART_COLUMNS:]) for row in found if row[PART_COLUMNS] is not None]
        return claims, _part(found[0])

    def list_in_turn(self, session: Session, executor_id: str, visit: Visit) -> list[str]:
        listing = _locked("list_in_turn", _params(session, executor_id, visit))
        return [row[0] for row in session.run_as_one(listing)]

    def _lock_queue(self, session: Session, queue_name: str) -> bool:
        ((locked, _, isolation),) = session.run("lock_queue", {"queue_name": queue_name})
        # Else the snapshot may be older than the lock: a worker claims instead. No one claims
        # beside a test in its own transaction.
        blocks = connections[self.alias].atomic_blocks
        may_count = isolation == "read committed" or any(map(is_of_testcase, blocks))
        return bool(locked == queue_name and may_count)

    def _read_starts(self, session: Session, key: Params, period: float) -> list[tuple[float, int]]:
        return [(age, count) for age, count in session.run("read_starts", key | {"period": period})]

    def _record_start(self, session: Session, waiting: Waiting, limits: Limits) -> None:
        if limits.rate_count is None and limits.partition_rate_count is None:
            return
        key = {"queue_name": waiting.queue_name, "partition_key": waiting.partition_key}
        session.run("record_start", key)


def _locked(name: str, params: Params) -> list[Statement]:
    """Return a statement after one that tries to lock the queue."""
    return [("lock_queue", {"queue_name": params["queue_name"]}), (name, params)]


def _params(session: Session, executor_id: str, visit: Visit) -> Params:
    return {
        "executor_id": executor_id,
        "queue_name": visit.queue_name,
        "names": session.pack(visit.names),
        "adopted": registry.adopted(),
        "after": visit.after,
        "limit": visit.limit,
        "max_visits": MAX_VISITS,
    }


def _part(row: Row) -> Part:
    after, is_cut, is_full, is_locked, is_managed, is_open, next_start = row[:PART_COLUMNS]
    return Part(
        after=after,
        is_cut=bool(is_cut),
        is_full=is_full,
        is_locked=is_locked,
        is_managed=is_managed,
        is_open=is_open,
        next_start=next_start,
    )
