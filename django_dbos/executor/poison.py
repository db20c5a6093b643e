"""Poison rows: a row that can't be claimed or loaded is quarantined, and the others continue.

Workflows are claimed and loaded many at once. When that fails it is repeated one by one, and a
row that fails by itself is quarantined with its own error, as a workflow with an unusable history
is. Errors that no row causes, of an outage or of a schema that lags behind, quarantine nothing
(CORRECTNESS rules 10 and 46).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from django_dbos.core import registry
from django_dbos.core.queues import Part, Visit
from django_dbos.core.records import Claim, Lane
from django_dbos.operations.loading import load_runs
from django_dbos.operations.quarantine import quarantine
from django_dbos.operations.run import Run
from django_dbos.operations.runtime import Host
from django_dbos.store import errors
from django_dbos.store.sessions import Session

# How many suspects are tried for one that can be claimed.
SUSPECTS = 10


class PoisonGuard:
    """The claims and loads of one host, on the session that `connect` returns."""

    def __init__(self, host: Host[Run], connect: Callable[[], Session]) -> None:
        self._host = host
        self._store = host.store
        self._connect = connect

    # Claims

    def claim(self, lane: Lane, *, above: int, limit: int) -> tuple[list[Claim], int, bool]:
        """Claim from a lane; return also the last position, and whether there may be more."""
        names = registry.claimable()
        try:
            claims, last = self._store.claim_workflows(
                self._connect(),
                self._host.executor_id,
                lane,
                names=names,
                above=above,
                limit=limit,
            )
        except Exception as error:
            _raise_unless_of_value(error)
            found = self._store.list_claimable(lane, names=names, above=above, limit=limit)
            claims = list(self._claim_each([workflow_id for workflow_id, _ in found], error))
            return claims, found[-1][1], True
        return claims, last, len(claims) == limit

    def claim_in_turn(
        self, queue_name: str, *, after: str | None, limit: int
    ) -> tuple[list[Claim], Part]:
        """Claim from a queue in turn of its partition keys, after one of them."""
        session, executor_id = self._connect(), self._host.executor_id
        visit = Visit(queue_name=queue_name, names=registry.claimable(), after=after, limit=limit)
        try:
            return self._store.claim_in_turn(session, executor_id, visit)
        except Exception as error:
            _raise_unless_of_value(error)
            found = self._store.list_in_turn(self._connect(), executor_id, visit)
            return list(self._claim_each(found, error)), Part(after=after, is_cut=True)

    def claim_managed_suspect(self, queue_names: list[str]) -> list[Claim]:
        """Claim one workflow of managed queues whose executors died again and again."""
        names, session = registry.claimable(), self._connect()
        found = self._store.find_suspects(session, queue_names, names=names, limit=SUSPECTS)
        claims = (claim for claim in self._claim_those(found) if claim is not None)
        return list(islice(claims, 1))

    def claim_suspect(self, queue_names: list[str]) -> list[Claim]:
        """Claim one workflow whose executors died again and again."""
        names = registry.claimable()
        try:
            return self._store.claim_suspect(
                self._connect(), self._host.executor_id, queue_names=queue_names, names=names
            )
        except Exception as error:
            _raise_unless_of_value(error)
            found = self._store.list_suspects(queue_names, names=names, limit=SUSPECTS)
            return list(islice(self._claim_each(found, error), 1))

    def _claim_each(self, workflow_ids: Sequence[str], error: Exception) -> Iterator[Claim]:
        """Claim one by one; raise the error if that finds neither a claim nor a poison row."""
        # The list came by Django's connection, which this thread needs for nothing else.
        self._store.session().close()
        is_found = False
        for claim in self._claim_those(workflow_ids):
            is_found = True
            if claim is not None:
                yield claim
        if not is_found:
            raise error

    def _claim_those(self, workflow_ids: Sequence[str]) -> Iterator[Claim | None]:
        """Claim one by one; yield None for a poison row, which is quarantined."""
        for workflow_id in workflow_ids:
            try:
                claim = self._store.claim_workflow(
                    self._connect(), self._host.executor_id, workflow_id
                )
            except Exception as error:
                _raise_unless_of_value(error)
                self._quarantine(workflow_id, "can't be claimed", error)
                yield None
            else:
                if claim is not None:
                    yield claim

    # Histories

    def load(self, claims: Sequence[Claim]) -> list[Run]:
        """Make runs of claims; leave out those whose history can't be read."""
        try:
            return load_runs(self._host, claims, self._connect)
        except Exception as error:
            _raise_unless_of_value(error)
        runs = []
        for claim in claims:
            try:
                runs += load_runs(self._host, [claim], self._connect)
            except Exception as error:
                _raise_unless_of_value(error)
                self._quarantine(claim.workflow_id, "has a history that can't be read", error)
        return runs

    def _quarantine(self, workflow_id: str, fault: str, error: Exception) -> None:
        executor_id = self._host.executor_id
        quarantine(self._store, self._connect(), executor_id, workflow_id, fault, error)


def _raise_unless_of_value(error: Exception) -> None:
    if not errors.is_of_value(error):
        raise error
