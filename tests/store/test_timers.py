"""Due times and deadlines, by the clock of the database."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from django_dbos.core.records import (
    Claim,
)
from django_dbos.models import Workflow
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session
from tests.capabilities import many_writers
from tests.store.conftest import new_workflow

Claims = Callable[..., Claim]


@pytest.mark.rule(31)
@pytest.mark.rule(42)
def test_instants_are_what_the_clock_says_whatever_the_zone(store: Store) -> None:
    due = timezone.now() + timedelta(hours=1)
    due = due if timezone.is_aware(due) else timezone.make_aware(due)
    store.start_workflows([new_workflow(run_at=due), new_workflow(delay=3600.0)])

    now = timezone.now()
    for row in Workflow.objects.all():
        assert abs(row.created_at - now) < timedelta(minutes=1)
        assert abs(row.due_at - now - timedelta(hours=1)) < timedelta(minutes=1)
        assert row.status == "DELAYED"


@pytest.mark.rule(31)
def test_a_delay_counts_from_its_statement(store: Store) -> None:
    began, age, delay = datetime.now(UTC), timedelta(seconds=0.3), timedelta(hours=1)
    with transaction.atomic():
        Workflow.objects.count()
        time.sleep(age.total_seconds())
        store.start_workflows([new_workflow(delay=delay.total_seconds())])

    due = Workflow.objects.get().due_at
    due = due if timezone.is_aware(due) else timezone.make_aware(due)
    # The clock of the database may tick in milliseconds.
    assert due - delay > began + age - timedelta(milliseconds=10)


def test_due_workflows_are_enqueued_up_to_a_limit(store: Store, session: Session) -> None:
    first, second, later = (
        new_workflow(queue_name="a", delay=delay) for delay in (3600.0, 3700.0, 7200.0)
    )
    store.start_workflows([first, second, later])

    assert store.enqueue_due(session, limit=10) == []
    store.advance(3800.0)

    assert store.enqueue_due(session, limit=1) == [("a", 0)]
    assert Workflow.objects.filter(status="ENQUEUED").count() == 1
    assert store.enqueue_due(session, limit=10) == [("a", 0)]
    assert store.enqueue_due(session, limit=10) == []
    statuses = dict(Workflow.objects.values_list("workflow_id", "status"))
    assert statuses == {
        first.workflow_id: "ENQUEUED",
        second.workflow_id: "ENQUEUED",
        later.workflow_id: "DELAYED",
    }


@pytest.mark.rule(32)
def test_workflows_past_their_deadlines_are_cancelled(
    store: Store, session: Session, claim: Claims
) -> None:
    expired, other = claim(timeout=timedelta(hours=1)), claim(timeout=timedelta(hours=3))

    assert store.expire_deadlines(session, limit=10) == ([], [])
    store.advance(3601.0)

    assert store.expire_deadlines(session, limit=10) == ([expired.workflow_id], [])
    assert Workflow.objects.get(pk=expired.workflow_id).status == "CANCELLED"
    assert Workflow.objects.get(pk=other.workflow_id).status == "PENDING"


@many_writers
@pytest.mark.rule(2)
def test_a_sweep_passes_over_rows_that_a_transaction_has_locked(
    store: Store, session: Session, claim: Claims
) -> None:
    delayed = [new_workflow(queue_name=name, delay=60.0) for name in ("locked", "free")]
    store.start_workflows(delayed)
    expired = [claim(timeout=timedelta(hours=1)).workflow_id for _ in range(2)]
    store.advance(3601.0)

    with transaction.atomic():
        locked = [delayed[0].workflow_id, expired[0]]
        assert len(Workflow.objects.select_for_update().filter(pk__in=locked)) == 2
        assert store.enqueue_due(session, limit=10) == [("free", 0)]
        assert store.expire_deadlines(session, limit=10) == ([expired[1]], [])

    assert store.enqueue_due(session, limit=10) == [("locked", 0)]
    assert store.expire_deadlines(session, limit=10) == ([expired[0]], [])
