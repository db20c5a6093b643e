"""The saved views of the list: what operators look for first, each as one link.

A view that joins several reasons collects ids by an index for each of them: a query with many
conditions joined by OR may read the whole table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_dbos.admin import ages
from django_dbos.admin.base import rows_of
from django_dbos.admin.notes import LiveExecutors
from django_dbos.core.records import WakeKind
from django_dbos.core.recovery import SUSPECT_ATTEMPTS
from django_dbos.core.status import Status
from django_dbos.models import Inquiry, Wake, Workflow
from django_dbos.store import get_store

# The workflows that a view collects for each reason to be in it.
MAX_COLLECTED = 1_000
# Due times that are this old should have been acted on.
OVERDUE = timedelta(minutes=1)
FAILURES = (Status.ERROR.value, Status.MAX_RECOVERY_ATTEMPTS_EXCEEDED.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedView:
    """A named selection of workflows."""

    name: str
    label: Any
    help_text: Any
    condition: Callable[[LiveExecutors], Q]


def _running(executors: LiveExecutors) -> Q:
    return Q(status=Status.PENDING)


def _waiting_for_people(executors: LiveExecutors) -> Q:
    is_awaited = Q(due_at__isnull=False) | Q(wake_workflow_id__isnull=False)
    parts = rows_of(Wake).filter(workflow_id=OuterRef("workflow_id"), wake_kind=WakeKind.MESSAGE)
    is_for_message = Q(wake_kind=WakeKind.MESSAGE) | Q(Exists(parts), wake_kind=WakeKind.ANY)
    is_waiting = Q(status=Status.WAITING) & is_awaited & is_for_message
    # A form is also waited for beside a branch that runs.
    forms: Any = rows_of(Inquiry)
    asking = forms.pending().filter(kind=Inquiry.Kind.FORM).order_by("-inquiry_id")
    ids = asking.values_list("workflow_id", flat=True)[:MAX_COLLECTED]
    return is_waiting | Q(workflow_id__in=sorted(set(ids)))


def _failed_today(executors: LiveExecutors) -> Q:
    return Q(status__in=FAILURES, finished_at__gte=midnight())


def midnight() -> datetime:
    """Return the begin of the day in the current time zone."""
    now = ages.now()
    local = timezone.localtime(now) if timezone.is_aware(now) else now
    return local.replace(hour=0, minute=0, second=0, microsecond=0)


def _stuck(executors: LiveExecutors) -> Q:
    """Return those that go on only if somebody does something."""
    workflows = rows_of(Workflow)
    overdue = {"due_at__lt": ages.now() - OVERDUE}
    is_due = Q(status=Status.DELAYED, **overdue) | Q(status=Status.WAITING, **overdue)
    reasons: list[QuerySet[Any]] = [
        workflows.filter(status=Status.ERROR, is_quarantined=True),
        workflows.filter(status=Status.MAX_RECOVERY_ATTEMPTS_EXCEEDED),
        workflows.filter(status=Status.PENDING).exclude(executor_id__in=executors.ids),
        workflows.filter(status=Status.ENQUEUED, recovery_attempts__gte=SUSPECT_ATTEMPTS),
        workflows.filter(status=Status.ENQUEUED, queue_name__in=_unserved(executors)),
        workflows.filter(is_due, due_at__isnull=False),
    ]
    ids: set[str] = set()
    for reason in reasons:
        ids.update(reason.order_by().values_list("workflow_id", flat=True)[:MAX_COLLECTED])
    return Q(workflow_id__in=sorted(ids))


def _unserved(executors: LiveExecutors) -> list[str]:
    """Return the queues that have workflows enqueued, and no live worker."""
    store = get_store()
    lanes = store.list_lanes(store.session())
    return sorted({lane.queue_name for lane in lanes if not executors.of_queue(lane.queue_name)})


VIEWS = (
    SavedView(
        name="running",
        label=_("Running"),
        help_text=_("A worker runs them now."),
        condition=_running,
    ),
    SavedView(
        name="people",
        label=_("Waiting for people"),
        help_text=_(
            "They wait for a form to be filled in, or for a message: an approval, an answer, a "
            "payment."
        ),
        condition=_waiting_for_people,
    ),
    SavedView(
        name="stuck",
        label=_("Stuck"),
        help_text=_(
            "They don't continue by themselves: quarantined or given up, of a dead worker, in a "
            "queue that no live worker serves, or long overdue. At most the first 1,000 for each "
            "reason."
        ),
        condition=_stuck,
    ),
    SavedView(
        name="failed",
        label=_("Failed today"),
        help_text=_("They have failed, or were given up, since midnight."),
        condition=_failed_today,
    ),
)
