"""Lending: the places of runs that wait and can't be suspended.

Such a run keeps its claim and gives its place back, so that those which it waits for can run.
Before it goes on it takes a place again, under the lock of its queue's row as any claim does
(CORRECTNESS rules 85 to 87). The writes are fenced by the claim.
"""

from __future__ import annotations

from django_dbos.core import queues
from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.queues import LENT, RESERVED, Limits, Usage, Waiting
from django_dbos.core.records import Lane
from django_dbos.store.announcing import Announcing
from django_dbos.store.claims import Claims
from django_dbos.store.records import PlaceReply
from django_dbos.store.sessions import Params, Session


class Lending(Claims, Announcing):
    """Places that are lent, reserved and taken again.

    `fence` has the workflow's id, the claim number and the executor's id.
    """

    def lend_place(self, session: Session, fence: Params) -> bool:
        """Give the place of a run back, and notify those that wait for one; a repeat does no harm.

        Returns False if it holds none that it may lend now.
        """
        lent = session.run("set_place", fence | {"place": LENT})
        self.announce(session, Notifications(lanes=[Lane(row[0], None) for row in lent]))
        return bool(lent)

    def take_place_again(self, session: Session, fence: Params) -> PlaceReply:
        """Give a run a place if the limits have one; otherwise reserve it the next one."""
        with session.transaction():
            found = session.run("find_lent", fence)
            if not found:
                return PlaceReply(is_held=False)
            ((queue_name, partition_key, place),) = found
            if place not in (LENT, RESERVED):
                return PlaceReply(place)
            has_lock = self._lock_queue(session, queue_name)
            limits = self._read_limits(session, queue_name)
            waiting = _waiting(queue_name, partition_key)
            if limits is not None and not (
                has_lock and self._lets_through(session, fence, waiting, limits)
            ):
                if place == LENT:
                    session.run("set_place", fence | {"place": RESERVED})
                return PlaceReply(is_locked=not has_lock, partition_key=partition_key)
            wanted = 0 if limits is None else limits.place
            is_taken = session.run("set_place", fence | {"place": wanted})
            return PlaceReply(wanted) if is_taken else PlaceReply(is_locked=True)

    def _lets_through(
        self, session: Session, fence: Params, waiting: Waiting, limits: Limits
    ) -> bool:
        """Return whether the limits have a place, apart from what is reserved for others."""
        key = {"queue_name": waiting.queue_name, "partition_key": waiting.partition_key}
        params = {**key, "executor_id": fence["executor_id"]}
        ((places, own, of_partition),) = session.run("count_held_places", params)
        usage = Usage(places=places, own_places=own, partition_places=of_partition)
        return queues.obstacle(limits, usage, waiting) is None


def _waiting(queue_name: str, partition_key: str) -> Waiting:
    return Waiting(
        queue_name=queue_name,
        partition_key=partition_key,
        place=0,
        is_lingering=False,
        is_start=False,
    )
