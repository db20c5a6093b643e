"""Queues with limits, as their rows."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from django_dbos.models import Queue


def limit(name: str = "mail", **options: Any) -> None:
    """Give a queue one place, or other limits."""
    values = {"concurrency": 1, "is_managed": True, "updated_at": timezone.now(), **options}
    # The model itself refuses to be saved. A worker may have written the row of a known queue.
    QuerySet(Queue).bulk_create(
        [Queue(name=name, **values)],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=list(values),
    )
