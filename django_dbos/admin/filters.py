"""The filters of the list of workflows.

The choices come from this process and the executors' rows: collecting all names and queues in the
workflow table would read all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.translation import gettext_lazy as _

from django_dbos.admin import ages
from django_dbos.admin.base import rows_of
from django_dbos.admin.notes import LiveExecutors
from django_dbos.admin.saved_views import VIEWS
from django_dbos.admin.searching import is_named
from django_dbos.conf import get_settings
from django_dbos.core import registry
from django_dbos.core.status import Status
from django_dbos.models import Schedule, Workflow

QUARANTINED = "QUARANTINED"
# The number of schedules that a filter lists; the page of each one links to its workflows.
MAX_SCHEDULES = 50
AGES = {
    "1h": (_("Past hour"), timedelta(hours=1)),
    "24h": (_("Past 24 hours"), timedelta(days=1)),
    "7d": (_("Past 7 days"), timedelta(days=7)),
    "30d": (_("Past 30 days"), timedelta(days=30)),
}


def live_executors(request: Any) -> LiveExecutors:
    """Return the live executors, which are read once per request for the filters and the rows."""
    if not hasattr(request, "dbos_executors"):
        request.dbos_executors = LiveExecutors.read()
    executors: LiveExecutors = request.dbos_executors
    return executors


def known_names(request: HttpRequest) -> set[str]:
    """Return the functions that this process or a live executor has registered."""
    return live_executors(request).known_names() | {*registry.workflows}


class _Choice(admin.SimpleListFilter):
    """A filter that accepts other values in the URL besides its choices."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows that match the value in the URL."""
        value = self.value()
        if value is None:
            return queryset
        if "\0" in value:
            raise IncorrectLookupParameters
        return queryset.filter(self.condition(value, request))

    def condition(self, value: str, request: HttpRequest) -> Q:
        """Return the condition for a value."""
        return Q(**{str(self.parameter_name): value})


class ViewFilter(_Choice):
    """The saved views. The template of the list shows them as tabs, not among the filters."""

    title = _("view")
    parameter_name = "view"
    template = "admin/django_dbos/workflow/no_filter.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the saved views."""
        return [(view.name, view.label) for view in VIEWS]

    def condition(self, value: str, request: HttpRequest) -> Q:
        """Return the condition of a view."""
        found = next((view for view in VIEWS if view.name == value), None)
        if found is None:
            raise IncorrectLookupParameters
        return found.condition(live_executors(request))

    def tabs(self, changelist: Any) -> Iterator[dict[str, Any]]:
        """Return the tabs: each view shows all that is in it, without the other filters."""
        value = self.value()
        is_plain = not changelist.query and not changelist.has_active_filters
        yield {"url": "?", "label": _("All"), "help_text": "", "is_chosen": is_plain}
        for view in VIEWS:
            yield {
                "url": f"?{self.parameter_name}={view.name}",
                "label": view.label,
                "help_text": view.help_text,
                "is_chosen": view.name == value,
            }


class StatusFilter(_Choice):
    """Filters by status, with an extra choice for quarantined workflows."""

    title = _("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return all statuses, and "quarantined"."""
        return [*Workflow.Status.choices, (QUARANTINED, _("quarantined"))]

    def condition(self, value: str, request: HttpRequest) -> Q:
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


class _NamedChoice(_Choice):
    """A filter by a column of the list's index."""

    def condition(self, value: str, request: HttpRequest) -> Q:
        """Return the condition for a value."""
        return is_named(str(self.parameter_name), value)


class NameFilter(_NamedChoice):
    """Filters by workflow function."""

    title = _("name")
    parameter_name = "name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the functions that this process or a live executor has registered."""
        return [(name, name) for name in sorted(known_names(request))]


class QueueFilter(_NamedChoice):
    """Filters by queue."""

    title = _("queue")
    parameter_name = "queue_name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the default queue, the queues of functions, and the queues that workers serve."""
        definitions = registry.workflows.values()
        named = {definition.queue_name for definition in definitions if definition.queue_name}
        served = live_executors(request).named_queues()
        return [(name, name) for name in sorted({get_settings().default_queue} | named | served)]


class ScheduleFilter(_Choice):
    """Filters by the schedule that has started a workflow."""

    title = _("schedule")
    parameter_name = "schedule_name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the schedules, by name."""
        found = rows_of(Schedule).order_by("name").values_list("name", flat=True)
        return [(name, name) for name in found[:MAX_SCHEDULES]]


class AgeFilter(_Choice):
    """Filters by the time of creation, by one of a few spans up to now."""

    title = _("creation")
    parameter_name = "since"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the spans."""
        return [(name, label) for name, (label, span) in AGES.items()]

    def condition(self, value: str, request: HttpRequest) -> Q:
        """Return the condition for a span."""
        if value not in AGES:
            raise IncorrectLookupParameters
        return Q(created_at__gte=ages.now() - AGES[value][1])


class BeforeFilter(_Choice):
    """Filters by creation before a day, or before a row: "2026-11-28", or "<instant>,<id>".

    It leads to the rows behind the last page: pages are counted up to a limit.
    """

    title = _("creation before")
    parameter_name = "before"
    template = "admin/django_dbos/workflow/before_filter.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return one choice, without which Django leaves the filter out."""
        return [("", "")]

    def condition(self, value: str, request: HttpRequest) -> Q:
        """Return the condition for a day or a row."""
        if not value:
            return Q()
        text, comma, workflow_id = value.partition(",")
        instant = _read_instant(text)
        if not comma:
            return Q(created_at__lt=instant)
        is_earlier = Q(created_at__lt=instant) | Q(workflow_id__lt=workflow_id)
        return Q(created_at__lte=instant) & is_earlier

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Return what the template needs: the day, and the other filters as hidden fields."""
        value = self.value() or ""
        others = changelist.get_filters_params()
        kept = [(name, item) for name, found in others.items() for item in found]
        yield {
            "name": self.parameter_name,
            "day": value.partition(",")[0].partition("T")[0],
            "is_chosen": bool(value),
            "remove_url": changelist.get_query_string(remove=[self.parameter_name]),
            "others": [(name, item) for name, item in kept if name != self.parameter_name],
            "query": changelist.query,
        }


def _read_instant(text: str) -> datetime:
    """Return an instant of an address, or the begin of a day; raise IncorrectLookupParameters."""
    try:
        found = parse_datetime(text) or datetime.combine(parse_date(text) or date.min, time.min)
        if settings.USE_TZ and timezone.is_naive(found):
            found = timezone.make_aware(found)
    except (ValueError, OverflowError) as error:
        raise IncorrectLookupParameters from error
    if found.year in (date.min.year, date.max.year) or timezone.is_aware(found) != settings.USE_TZ:
        raise IncorrectLookupParameters
    return found
