"""Quarantine a workflow that can't be claimed or run, because of the content of its rows.

A run that finds its own history unusable ends itself: see `completion`.
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
    store: Store, session: Session, executor_id: str, workflow_id: str, fault: str, error: Exception
) -> None:
    """End a workflow with an error that names the fault, unless the claim is lost by now."""
    message = f"Workflow {workflow_id!r} {fault}: {error}. Find out why, then resume() it."
    text = serializers.dump_error(DbosError(message))
    freed = store.quarantine(session, executor_id, workflow_id, text)
    if freed is not None:
        telemetry.quarantined(workflow_id, fault, error)
        # It has no result yet, but its streams have ended.
        wakes, keys = [Wake.of_streams(workflow_id)], [Wake.of_result(workflow_id).key]
        store.announce(session, Notifications(wakes=wakes, keys=keys, lanes=freed))
