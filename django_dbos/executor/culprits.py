"""Culprits: what is done with workflows of many owners at once is done one by one when it fails.

One whose row can't be claimed, or whose history can't be read, is quarantined with its own error,
like one whose history is unusable. The others go on. What isn't a row's fault, an outage or a
schema that lags behind, is nobody's (CORRECTNESS rules 10 and 46).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from django_dbos.core import registry
from django_dbos.core.records import Claim, Lane
from django_dbos.operations.quarantine import quarantine
from django_dbos.operations.run import Run
from django_dbos.operations.runtime import Host
from django_dbos.store import errors
from django_dbos.store.sessions import Session

# How many suspects are looked at for one that can be claimed.
SUSPECTS = 10


class Culprits:
    """Claims and loads for one executor, on its dispatcher's connection."""

    def __init__(self, executor: Host[Run], session: Callable[[], Session]) -> None:
        self._executor = executor
        self._store = executor.store
        self._session = session

    # Claims

    def claim(self, lane: Lane, *, above: int, limit: int) -> tuple[list[Claim], int, bool]:
        """Claim from a lane; return also the last place, and whether there may be more."""
        names = list(registry.workflows)
        try:
            claims, last = self._store.claim_workflows(
                self._session(),
                self._executor.executor_id,
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

    def claim_suspect(self, queue_names: list[str]) -> list[Claim]:
        """Claim one workflow whose executors died again and again."""
        names = list(registry.workflows)
        try:
            return self._store.claim_suspect(
                self._session(), self._executor.executor_id, queue_names=queue_names, names=names
            )
        except Exception as error:
            _raise_unless_of_value(error)
            found = self._store.list_suspects(queue_names, names=names, limit=SUSPECTS)
            return list(islice(self._claim_each(found, error), 1))

    def _claim_each(self, workflow_ids: Sequence[str], error: Exception) -> Iterator[Claim]:
        """Claim one by one; raise the error if that finds neither a claim nor a culprit."""
        self._leave_djangos_connection()
        is_found = False
        for workflow_id in workflow_ids:
            try:
                claim = self._store.claim_workflow(
                    self._session(), self._executor.executor_id, workflow_id
                )
            except Exception as culprits:
                _raise_unless_of_value(culprits)
                self._quarantine(workflow_id, "can't be claimed", culprits)
                is_found = True
            else:
                if claim is not None:
                    is_found = True
                    yield claim
        if not is_found:
            raise error

    def _leave_djangos_connection(self) -> None:
        """This thread needs it for nothing else."""
        self._store.session().close()

    # Histories

    def load(self, claims: Sequence[Claim]) -> list[Run]:
        """Make runs of claims, their histories loaded in one query."""
        try:
            return self._runs_of(claims)
        except Exception as error:
            _raise_unless_of_value(error)
        runs = []
        for claim in claims:
            try:
                runs += self._runs_of([claim])
            except Exception as error:
                _raise_unless_of_value(error)
                self._quarantine(claim.workflow_id, "has a history that can't be read", error)
        return runs

    def _runs_of(self, claims: Sequence[Claim]) -> list[Run]:
        old = [claim.workflow_id for claim in claims if claim.has_history]
        histories = self._store.load_histories(self._session(), old) if old else {}
        ended = self._store.load_ended_streams(self._session(), old) if old else {}
        return [
            Run(
                claim,
                registry.find(claim.name),
                self._executor,
                checkpoints=histories.get(claim.workflow_id, ()),
                ended_streams=ended.get(claim.workflow_id, frozenset()),
            )
            for claim in claims
        ]

    def _quarantine(self, workflow_id: str, what: str, error: Exception) -> None:
        executor_id = self._executor.executor_id
        quarantine(self._store, self._session(), executor_id, workflow_id, what, error)


def _raise_unless_of_value(error: Exception) -> None:
    if not errors.is_of_value(error):
        raise error
