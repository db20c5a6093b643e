"""Successions: the places that runs free go to the next workflows in the transaction of their ends.

In a queue that is full, workflows are claimed one after the other: a place is free once an end is
committed, and a notification, a claim and a second commit later its successor begins. Here the
writer claims the successors itself, with the statement that the dispatcher uses, so that the
arguments of CORRECTNESS rule 54 hold for it too. What it can't claim is left to the dispatcher.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from django_dbos.core import registry
from django_dbos.core.batch.plan import Plan
from django_dbos.core.queues import Visit
from django_dbos.core.records import Claim, Finish, Write
from django_dbos.executor.clock import Clock
from django_dbos.executor.slots import Slots
from django_dbos.executor.turns import PacedTurn
from django_dbos.store import errors


class Succession:
    """One claim by the writer; it has taken slots, and holds the lock of the queue's turn."""

    def __init__(self, visit: Visit, turn: PacedTurn, began: float) -> None:
        self.visit = visit
        self.turn = turn
        self.began = began
        self.claims: Sequence[Claim] = ()

    def note(self, plan: Plan) -> None:
        """Note what was claimed, if anything was tried."""
        for claims, part in plan.successions:
            self.claims = claims
            self.turn.note_succession(part, len(claims), limit=self.visit.limit, began=self.began)


class Successions:
    """Makes the writer claim for the queues of which the dispatcher knows that they are full."""

    def __init__(
        self,
        slots: Slots,
        clock: Clock,
        *,
        find_turn: Callable[[str], PacedTurn | None],
        adopt: Callable[[str, Sequence[Claim], float], None],
        audit: Callable[[], None],
    ) -> None:
        self._slots = slots
        self._clock = clock
        self._find_turn = find_turn
        self._adopt = adopt
        self._audit = audit

    @contextmanager
    def with_ends(self, writes: Sequence[Write]) -> Iterator[Succession | None]:
        """Yield the claim that the block may make in the transaction of these writes, if any."""
        succession = self._begin(writes)
        if succession is None:
            yield None
            return
        try:
            yield succession
        except errors.StoreError:
            # The claim may be committed: the audit finds claims without a run.
            self._audit()
            raise
        finally:
            succession.turn.lock.release()
            self._slots.give_back(succession.visit.limit - len(succession.claims))
        if succession.claims:
            self._adopt(succession.visit.queue_name, succession.claims, succession.began)

    def _begin(self, writes: Sequence[Write]) -> Succession | None:
        freed = [write.queue_name for write in writes if type(write) is Finish]
        queue_name = freed[0] if freed else None
        if queue_name is None or freed.count(queue_name) < len(freed):
            return None
        turn = self._find_turn(queue_name)
        if turn is None or not turn.lock.acquire(blocking=False):
            return None
        wanted = self._slots.take(turn.batch_size) if turn.may_succeed() else 0
        if not wanted:
            turn.lock.release()
            return None
        visit = Visit(
            queue_name=queue_name, names=registry.claimable(), after=turn.after, limit=wanted
        )
        return Succession(visit, turn, self._clock())
