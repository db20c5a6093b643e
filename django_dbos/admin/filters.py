"""The list of workflows and its filters.

The choices of the filters come from this process and the executors' rows: collecting all names and
queues in the workflow table would read all of it. Names and queues of finished workflows have no
index either, so these filters only search the newest workflows; a search among millions would not
return.
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
from django_dbos.admin.look import Look
from django_dbos.admin.notes import LiveExecutors, explain, read_queue_reasons
from django_dbos.admin.values import outcome, with_values
from django_dbos.conf import get_settings
from django_dbos.core import registry
from django_dbos.core.status import Status
from django_dbos.models import Schedule, Workflow

QUARANTINED = "QUARANTINED"
# The number of schedules that a filter lists; the page of each one links to its workflows.
MAX_SCHEDULES = 50
# The number of the newest workflows that are searched without an index.
MAX_SEARCHED = 100_000
# Successful workflows are the bulk of the table; each of the other statuses has a partial index.
WITHOUT_INDEX = (None, "", Status.SUCCESS.value)


class _Choice(admin.SimpleListFilter):
    """A filter that accepts other values in the URL besides its choices."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows that match the value in the URL."""
        value = self.value()
        if value is None:
            return queryset
        if "\0" in value:
            raise IncorrectLookupParameters
        return queryset.filter(self.condition(value))

    def condition(self, value: str) -> Q:
        """Return the condition for a value."""
        return Q(**{str(self.parameter_name): value})


class StatusFilter(_Choice):
    """Filters by status, with an extra choice for quarantined workflows."""

    title = _("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return all statuses, and "quarantined"."""
        return [*Workflow.Status.choices, (QUARANTINED, _("quarantined"))]

    def condition(self, value: str) -> Q:
        """Return the condition, with redundant terms that make partial indexes usable."""
        match value:
            case "QUARANTINED":
                return Q(status=Status.ERROR, is_quarantined=True)
            case Status.DELAYED:
                return Q(status=value, due_at__isnull=False)
            case Status.WAITING:
                is_awaited = Q(due_at__isnull=False) | Q(wake_workflow_id__isnull=False)
                return Q(status=value) & is_awaited
        return Q(status=value)


class NameFilter(_Choice):
    """Filters by workflow function."""

    title = _("name")
    parameter_name = "name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the functions that this process or a live executor has registered."""
        known = _live_executors(request).known_names() | {*registry.workflows}
        return [(name, name) for name in sorted(known)]


class QueueFilter(_Choice):
    """Filters by queue."""

    title = _("queue")
    parameter_name = "queue_name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the default queue, the queues of functions, and the queues that workers serve."""
        definitions = registry.workflows.values()
        named = {definition.queue_name for definition in definitions if definition.queue_name}
        served = _live_executors(request).named_queues()
        return [(name, name) for name in sorted({get_settings().default_queue} | named | served)]


class ScheduleFilter(_Choice):
    """Filters by the schedule that has started a workflow."""

    title = _("schedule")
    parameter_name = "schedule_name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the schedules, by name."""
        found = rows_of(Schedule).order_by("name").values_list("name", flat=True)
        return [(name, name) for name in found[:MAX_SCHEDULES]]


class WorkflowList(EngineList):
    """The list of workflows, with a note in each row; see the module for its limits."""

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Return the rows, restricted to the newest if the filters have no index."""
        found = super().get_queryset(request, *args, **kwargs)
        self.oldest = self._find_oldest(request)
        return found.filter(created_at__gte=self.oldest) if self.oldest else found

    def get_results(self, request: HttpRequest) -> None:
        """Load a page of rows, and set the note of each."""
        super().get_results(request)
        executors = _live_executors(request)
        rows = list(self.result_list)
        errors = _read_errors(rows, Look.of(request))
        reasons = read_queue_reasons(rows, executors)
        for row in rows:
            of_queue = reasons.get(row.workflow_id, ())
            row.note = explain(row, executors, errors.get(row.workflow_id), of_queue)
        self.result_list = rows

    def _find_oldest(self, request: HttpRequest) -> datetime | None:
        """Return the creation time of the oldest workflow to search, or None for no limit."""
        query = request.GET
        is_filtered = query.get("name") or query.get("queue_name")
        if not is_filtered or self.query or query.get("status") not in WITHOUT_INDEX:
            return None
        times = rows_of(Workflow).order_by("-created_at").values_list("created_at", flat=True)
        return next(iter(times[MAX_SEARCHED - 1 : MAX_SEARCHED]), None)


def _live_executors(request: Any) -> LiveExecutors:
    """Return the live executors, which are read once per request for the filters and the rows."""
    if not hasattr(request, "dbos_executors"):
        request.dbos_executors = LiveExecutors.read()
    executors: LiveExecutors = request.dbos_executors
    return executors


def _read_errors(workflows: list[Any], look: Look) -> dict[str, str]:
    """Return the errors of failed workflows by id, as this user may see them, but for huge ones.

    The list reads no other values.
    """
    ids = [workflow.workflow_id for workflow in workflows if workflow.status == Status.ERROR]
    if not ids:
        return {}
    found = with_values(rows_of(Workflow).filter(pk__in=ids).only("name"), "error_text", look=look)
    return {
        workflow.workflow_id: outcome(workflow, look).text
        for workflow in found
        if workflow.error_text_loaded is not None
    }
