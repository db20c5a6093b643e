"""Make runs of claims: load the histories that earlier claims have left."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django_dbos.core import registry
from django_dbos.core.records import Claim
from django_dbos.operations.run import Run
from django_dbos.operations.runtime import Host
from django_dbos.store.sessions import Session


def load_runs(
    host: Host[Run], claims: Sequence[Claim], connect: Callable[[], Session]
) -> list[Run]:
    """Return runs of these claims, with all their histories loaded in two queries.

    `connect` returns the session for that; it isn't called if no claim has a history.
    """
    old = [claim.workflow_id for claim in claims if claim.has_history]
    histories = host.store.load_histories(connect(), old) if old else {}
    ended = host.store.load_ended_streams(connect(), old) if old else {}
    return [
        Run(
            claim,
            registry.find_version(claim.name, claim.version),
            host,
            checkpoints=histories.get(claim.workflow_id, ()),
            ended_streams=ended.get(claim.workflow_id, frozenset()),
        )
        for claim in claims
    ]
