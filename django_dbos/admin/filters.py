"""The filters of the list of workflows, and how far it looks.

Their choices come from what this process and the executors know: finding all names and queues in
the table would read all of it. Nor is there an index for names and queues of finished workflows,
so that, to answer at all beside millions of them, only the newest are looked through.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from django_dbos.admin.base import EngineList, rows_of
from django_dbos.admin.notes import LiveExecutors, explain
from django_dbos.admin.values import with_values
from django_dbos.conf import get_settings
from django_dbos.core import registry
from django_dbos.core.status import Status
from django_dbos.models import Workflow

SET_ASIDE = "SET_ASIDE"
LOOKED_THROUGH = 100_000
# Finished well, these are the mass of the table; all others have an index of their own.
WITHOUT_INDEX = (None, "", Status.SUCCESS.value)


class _Choice(admin.SimpleListFilter):
    """One of the choices, or whatever else stands in the address."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value is None:
            return queryset
        if "\0" in value:
            raise IncorrectLookupParameters
        return queryset.filter(self.condition(value))

    def condition(self, value: str) -> Q:
        """What the chosen rows have in common."""
        return Q(**{str(self.parameter_name): value})


class StatusFilter(_Choice):
    """By status; what is quarantined is a choice of its own."""

    title = _("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [*Workflow.Status.choices, (SET_ASIDE, _("quarantined"))]

    def condition(self, value: str) -> Q:
        # The conditions after the first are true anyway: they make the partial indexes usable.
        match value:
            case "SET_ASIDE":
                return Q(status=Status.ERROR, is_quarantined=True)
            case Status.DELAYED:
                return Q(status=value, due_at__isnull=False)
            case Status.WAITING:
                is_awaited = Q(due_at__isnull=False) | Q(wake_workflow_id__isnull=False)
                return Q(status=value) & is_awaited
        return Q(status=value)


class NameFilter(_Choice):
    """By workflow function."""

    title = _("name")
    parameter_name = "name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        known = _live_executors(request).known_names() | {*registry.workflows}
        return [(name, name) for name in sorted(known)]


class QueueFilter(_Choice):
    """By queue."""

    title = _("queue")
    parameter_name = "queue_name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        named = {one.queue_name for one in registry.workflows.values() if one.queue_name}
        served = _live_executors(request).named_queues()
        return [(name, name) for name in sorted({get_settings().default_queue} | named | served)]


class WorkflowList(EngineList):
    """The list, with a note in each row, that looks no further back than is quick."""

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        found = super().get_queryset(request, *args, **kwargs)
        self.oldest = self._find_oldest(request)
        return found.filter(created_at__gte=self.oldest) if self.oldest else found

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        executors = _live_executors(request)
        rows = list(self.result_list)
        errors = _errors_of(rows)
        for row in rows:
            row.note = explain(row, executors, errors.get(row.workflow_id))
        self.result_list = rows

    def _find_oldest(self, request: HttpRequest) -> datetime | None:
        """The time before which no workflow is looked for; None if all of them are."""
        asked = request.GET
        is_filtered = asked.get("name") or asked.get("queue_name")
        if not is_filtered or self.query or asked.get("status") not in WITHOUT_INDEX:
            return None
        times = rows_of(Workflow).order_by("-created_at").values_list("created_at", flat=True)
        return next(iter(times[LOOKED_THROUGH - 1 : LOOKED_THROUGH]), None)


def _live_executors(request: Any) -> LiveExecutors:
    """Read once in a request: the filters and the rows ask for them."""
    if not hasattr(request, "dbos_executors"):
        request.dbos_executors = LiveExecutors.read()
    executors: LiveExecutors = request.dbos_executors
    return executors


def _errors_of(workflows: list[Any]) -> dict[str, str]:
    """Why some have failed: no other values are read for the list, and no long ones."""
    ids = [one.workflow_id for one in workflows if one.status == Status.ERROR]
    if not ids:
        return {}
    found = with_values(rows_of(Workflow).filter(pk__in=ids), "error_text", is_whole=False)
    return dict(found.values_list("workflow_id", "error_text_loaded"))
