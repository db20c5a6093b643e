"""Helpers for tests of managed queues, on rows that no one has declared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet

from django_dbos.core.queues import Part, Visit
from django_dbos.core.records import Claim
from django_dbos.fields import DatabaseNow
from django_dbos.models import Queue, Workflow
from django_dbos.store.base import Store
from tests.store.conftest import new_workflow

NAME = "tests.work"


def make_queue(name: str = "mail", **columns: Any) -> None:
    """Write the row of a managed queue, whole: a worker may have written that of a known queue."""
    values = {"name": name, "is_managed": True, "updated_at": DatabaseNow(), **columns}
    # The model itself refuses to be saved.
    QuerySet(Queue).bulk_create(
        [Queue(**values)],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=[field.name for field in Queue._meta.fields if not field.primary_key],
    )


def rows_of(workflow_ids: Sequence[str]) -> QuerySet[Workflow]:
    """Return rows that may be changed past the engine."""
    return QuerySet(Workflow).filter(workflow_id__in=workflow_ids)


def start(store: Store, count: int = 1, queue_name: str = "mail", **options: Any) -> list[str]:
    """Enqueue workflows; return their ids in their order."""
    key = options.pop("partition_key", "")
    new = [new_workflow(queue_name=queue_name, **options) for _ in range(count)]
    store.start_workflows(new)
    ids = [one.workflow_id for one in new]
    rows_of(ids).update(partition_key=key)
    return ids


def free(workflow_ids: Sequence[str]) -> None:
    """End workflows, and free their places."""
    rows_of(workflow_ids).update(status="SUCCESS", place=0, executor_id=None)


def claim(
    store: Store,
    executor_id: str,
    queue_name: str = "mail",
    *,
    after: str | None = None,
    limit: int = 100,
    names: Sequence[str] = (NAME,),
) -> tuple[list[str], Part]:
    """Claim from a queue; return the ids, and what the claim found out."""
    claims, part = claim_rows(store, executor_id, queue_name, after=after, limit=limit, names=names)
    return [one.workflow_id for one in claims], part


def claim_rows(
    store: Store, executor_id: str, queue_name: str = "mail", **options: Any
) -> tuple[list[Claim], Part]:
    """Claim from a queue, on an executor's own connection."""
    visit = Visit(queue_name=queue_name, **{"limit": 100, "names": [NAME], **options})
    session = store.connect(executor_id, "test")
    try:
        return store.claim_in_turn(session, executor_id, visit)
    finally:
        session.close()
