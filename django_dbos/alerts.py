"""Alerts: each problem that a health check finds is told once, and once more when it is over.

The signals `alert_raised` and `alert_resolved` carry an Alert, and DBOS["ALERTS"] is called with it
for both. Workers look every DBOS["ALERT_INTERVAL"]; an alert is about one kind of problem of one
subject, such as a queue.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, models, transaction

from django_dbos import telemetry
from django_dbos.conf import get_alerts, get_settings
from django_dbos.fields import DatabaseNow
from django_dbos.health import Problem, find_problems
from django_dbos.models import AlertEpisode
from django_dbos.store.base import Store
from django_dbos.store.figures import read_figures
from django_dbos.telemetry import concealing

__all__ = ["Alert"]

logger = logging.getLogger("django_dbos.executor")

MAX_SUBJECT = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A problem that has come, or is over."""

    kind: str
    """The kind of problem, as in `django_dbos.health.Problem`."""
    subject: str
    """The thing that has it, such as a queue; "" for the whole system."""
    text: str
    """A sentence that says what is, or was, wrong."""
    is_resolved: bool = False
    """True once the problem is over."""


def look(store: Store) -> list[Alert]:
    """Read the database, and tell of what is new and what is over; return what this call told."""
    limits = get_settings().health
    return tell(store, find_problems(read_figures(store, window=limits.window), limits))


def tell(store: Store, problems: Iterable[Problem]) -> list[Alert]:
    """Raise the alerts of problems without an open episode, and resolve the other episodes.

    The row of an episode is inserted, or deleted, by one of all workers, which then tells of it. A
    worker that dies in between leaves an alert untold, rather than telling it twice.
    """
    found = {(problem.kind, problem.subject[:MAX_SUBJECT]): problem for problem in problems}
    # Not the manager of the model, which refuses to write.
    rows: Any = models.QuerySet(AlertEpisode, using=store.alias)
    open_episodes = {(row.kind, row.subject): row.text for row in rows.all()}
    told = []
    for key, problem in found.items():
        if key not in open_episodes and _begins(store, key, problem.text):
            told.append(Alert(kind=key[0], subject=key[1], text=problem.text))
    for (kind, subject), text in open_episodes.items():
        if (kind, subject) not in found:
            deleted, _ = rows.filter(kind=kind, subject=subject).delete()
            if deleted:
                told.append(Alert(kind=kind, subject=subject, text=text, is_resolved=True))
    for alert in told:
        _tell_of(alert)
    return told


def _begins(store: Store, key: tuple[str, str], text: str) -> bool:
    """Insert the row of an episode; return False if another worker has."""
    row = AlertEpisode(kind=key[0], subject=key[1], text=text, raised_at=DatabaseNow())
    try:
        with transaction.atomic(using=store.alias):
            models.Model.save(row, using=store.alias, force_insert=True)
    except IntegrityError:
        return False
    return True


def _tell_of(alert: Alert) -> None:
    telemetry.alert_told(Alert, alert, is_resolved=alert.is_resolved)
    try:
        call: Callable[..., Any] | None = get_alerts()
        if call is not None:
            call(alert)
    except Exception as error:
        logger.error("DBOS['ALERTS'] failed for %r", alert, exc_info=concealing.shown("", error))
