"""Claims: executors take enqueued workflows, and load the data to run them."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from operator import itemgetter

from django.db.models import Q, Value
from django.db.models.functions import Coalesce, Concat
from django.db.models.lookups import Exact, In

from django_dbos.core.batch.lookups import FoundCheckpoint
from django_dbos.core.records import Claim, Lane
from django_dbos.core.recovery import SUSPECT_ATTEMPTS
from django_dbos.core.status import Status
from django_dbos.fields import KeyField
from django_dbos.store import errors, rows
from django_dbos.store.columns import CLAIM
from django_dbos.store.managed_claims import ManagedClaims
from django_dbos.store.sessions import Params, Row, Session

# The queue position follows the columns of the claim.
POSITION = itemgetter(len(CLAIM.returned))


class Claims(ManagedClaims):
    """Claims by lane, by id and of suspects."""

    def list_lanes(self, session: Session) -> list[Lane]:
        """Return the lanes that have workflows enqueued."""
        return rows.lanes(session.run("list_lanes"))

    def claim_workflows(
        self,
        session: Session,
        executor_id: str,
        lane: Lane,
        *,
        names: Sequence[str],
        above: int,
        limit: int,
    ) -> tuple[list[Claim], int]:
        """Claim a lane's next workflows from a queue position on; return them and the last one's.

        Only workflows with one of `names` are claimed, if they have a version only with their
        `registry.qualified` one; and no suspects.

        Raises:
            ManagedQueue: The queue has limits or is paused: `claim_in_turn` claims from it.
        """
        params = {
            "executor_id": executor_id,
            "queue_name": lane.queue_name,
            "priority": lane.priority,
            "names": session.pack(names),
            "above": above,
            "limit": limit,
        }
        found = self._claim_of_lane(session, params)
        if found is None:
            raise errors.ManagedQueue(lane.queue_name)
        claimed = sorted(found, key=POSITION)
        last = POSITION(claimed[-1]) if claimed else above
        return [CLAIM.read(row) for row in claimed], last

    @abc.abstractmethod
    def _claim_of_lane(self, session: Session, params: Params) -> list[Row] | None:
        """Claim from a lane; return None if its queue is managed."""

    def claim_workflow(self, session: Session, executor_id: str, workflow_id: str) -> Claim | None:
        """Claim one workflow by its id; return None if it isn't enqueued, or has to wait."""
        params = {"executor_id": executor_id, "workflow_id": workflow_id}
        claim = next(map(CLAIM.read, self._claim(session, "claim_workflow", params)), None)
        return claim or self._claim_in_place(session, executor_id, workflow_id)

    def claim_suspect(
        self,
        session: Session,
        executor_id: str,
        *,
        queue_names: Sequence[str],
        names: Sequence[str],
    ) -> list[Claim]:
        """Claim one suspect of an unmanaged queue: its executors died again and again."""
        params = {
            "executor_id": executor_id,
            "queue_names": session.pack(queue_names),
            "names": session.pack(names),
        }
        return [CLAIM.read(row) for row in self._claim(session, "claim_suspect", params)]

    def list_claimable(
        self, lane: Lane, *, names: Sequence[str], above: int, limit: int
    ) -> list[tuple[str, int]]:
        """Return (id, queue position) of workflows that `claim_workflows` would try to claim."""
        waiting = (
            self._workflows()
            .filter(
                status=Status.ENQUEUED,
                queue_name=lane.queue_name,
                partition_key="",
                priority=lane.priority or 0,
                queue_sequence__gte=above,
                recovery_attempts__lt=SUSPECT_ATTEMPTS,
            )
            .filter(_is_known(names))
        )
        found = waiting.order_by("queue_sequence").values_list("workflow_id", "queue_sequence")
        return list(found[:limit])

    def list_suspects(
        self, queue_names: Sequence[str], *, names: Sequence[str], limit: int
    ) -> list[str]:
        """Return the ids of suspects, of which `claim_suspect` would claim the first."""
        waiting = (
            self._workflows()
            .filter(
                status=Status.ENQUEUED,
                queue_name__in=queue_names,
                recovery_attempts__gte=SUSPECT_ATTEMPTS,
            )
            .filter(_is_known(names))
        )
        return list(
            waiting.order_by("queue_sequence").values_list("workflow_id", flat=True)[:limit]
        )

    def find_unknown(
        self, queue_name: str, names: Sequence[str]
    ) -> tuple[str, str, str | None] | None:
        """Return (id, name, version) of an enqueued workflow that claims of these names leave."""
        waiting = self._workflows().filter(queue_name=queue_name, status=Status.ENQUEUED)
        # In the order of the index of lanes.
        unknown = waiting.filter(~_is_known(names)).order_by(
            "partition_key", "-priority", "queue_sequence"
        )
        return unknown.values_list("workflow_id", "name", "version").first()

    def load_histories(
        self, session: Session, workflow_ids: Sequence[str]
    ) -> dict[str, list[FoundCheckpoint]]:
        """Return the checkpoints of claimed workflows, all in one query."""
        params = {"workflow_ids": session.pack(workflow_ids)}
        return rows.by_workflow(session.run("load_checkpoints", params))

    def load_ended_streams(
        self, session: Session, workflow_ids: Sequence[str]
    ) -> dict[str, set[str]]:
        """Return the keys of the streams that these workflows have closed."""
        params = {"workflow_ids": session.pack(workflow_ids)}
        return rows.keys_by_workflow(session.run("load_ended_streams", params))


def _is_known(names: Sequence[str]) -> Q:
    """Return the condition of `is_known.sql`."""
    stored = Coalesce("version", _text(""))
    qualified = In(Concat("name", _text("@"), stored), list(names))
    return Q(name__in=names) & (Q(Exact(stored, "")) | Q(qualified))


def _text(value: str) -> Value:
    return Value(value, KeyField(max_length=1))
