"""Quarantine a workflow that can't be claimed, or was and can't be run: by what is in its rows.

One whose own run finds its history unusable ends that run itself; see `ending`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_dbos import serializers, telemetry
from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.records import Wake
from django_dbos.exceptions import DbosError

if TYPE_CHECKING:
    from django_dbos.store.base import Store
    from django_dbos.store.sessions import Session


def quarantine(
    store: Store, session: Session, executor_id: str, workflow_id: str, what: str, error: Exception
) -> None:
    """End it with an error that says `what` is wrong, unless it is somebody else's by now."""
    told = DbosError(f"Workflow {workflow_id!r} {what}: {error}. Find out why, then resume() it.")
    if store.quarantine(session, executor_id, workflow_id, serializers.dump_error(told)):
        telemetry.quarantined(workflow_id, what, error)
        # It has no result yet, but its streams have ended.
        wakes, keys = [Wake.of_streams(workflow_id)], [Wake.of_result(workflow_id).key]
        store.announce(session, Notifications(wakes=wakes, keys=keys))
