"""Queue positions on SQLite, which has no sequences."""

from __future__ import annotations

import pytest
from django.db import connection

from django_dbos.models import Workflow
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session
from tests.store.conftest import new_workflow

pytestmark = pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite's own")


@pytest.mark.parametrize("is_dealt", [True, False])
def test_workflows_that_one_statement_enqueues_share_a_position(
    store: Store, session: Session, is_dealt: bool
) -> None:
    store.start_workflows([new_workflow(), *(new_workflow(delay=3600.0) for _ in range(3))])
    if not is_dealt:
        # As it is before the first deal: then the position comes from the workflows themselves.
        connection.cursor().execute("DELETE FROM dbos_sequence")
    last = max(Workflow.objects.values_list("queue_sequence", flat=True))
    delayed = Workflow.objects.filter(status="DELAYED").values_list("workflow_id", flat=True)
    ids = list(delayed)
    store.advance(3601.0)

    store.enqueue_due(session, limit=10)

    enqueued = Workflow.objects.filter(workflow_id__in=ids)
    assert set(enqueued.values_list("queue_sequence", flat=True)) == {last + 1}
    store.start_workflows([new_workflow()])
    assert max(Workflow.objects.values_list("queue_sequence", flat=True)) > last + 1
