"""Declared queues: DBOS["QUEUES"] is written to the queues' rows when an executor starts."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from django.db import transaction

from django_dbos.conf import get_settings
from django_dbos.core import queue_options
from django_dbos.models import Queue
from django_dbos.operations.queues import known_names
from django_dbos.store.base import Store

logger = logging.getLogger("django_dbos.executor")


def declare(store: Store, served: Iterable[str] | None) -> None:
    """Write the declared options, and rows for the other queues that this process knows.

    Args:
        store: The store with the rows.
        served: The queues that the executor serves; None for all.
    """
    settings = get_settings()
    changed = store.declare_queues(settings.queues, known_names() | {*(served or ())})
    if store.commits_by_hand():
        transaction.commit(using=store.alias)
    for queue in changed:
        _log(queue)


def _log(queue: Queue) -> None:
    logger.info("Queue %r is declared as %r", queue.name, queue.declared)
    for error in queue_options.contradictions(
        queue_options.merged(queue.declared, queue.edited), f"queue {queue.name!r}"
    ):
        logger.warning("What was edited contradicts what is declared: %r", error)
