"""The list of workflows: its rows with their notes, at a cost that doesn't grow with the table."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest

from django_dbos.admin import ages
from django_dbos.admin.base import EngineList, rows_of
from django_dbos.admin.filters import BeforeFilter, ViewFilter, known_names, live_executors
from django_dbos.admin.look import Look
from django_dbos.admin.notes import explain, read_queue_reasons
from django_dbos.admin.searching import Found, find
from django_dbos.admin.values import outcome, with_values
from django_dbos.core.status import ACTIVE, Status
from django_dbos.fields import FIRST_INSTANT
from django_dbos.models import Workflow
from django_dbos.store import get_store

# The number of the newest workflows that are searched without an index.
MAX_SEARCHED = 50_000

# Seconds from one look of the browser at the list to the next.
PERIOD = 5.0


class WorkflowList(EngineList):
    """The list of workflows, with a note in each row."""

    oldest: datetime | None = None
    """The creation time of the oldest workflow that is searched; None for no limit."""
    is_search_cut = False
    """True if the search has found more than it shows."""

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Return the rows, restricted to the newest if the search has no index."""
        found = super().get_queryset(request, *args, **kwargs)
        self.oldest = self._find_oldest(request)
        self.is_search_cut = bool(self.query) and searched(request, self.query).is_cut
        oldest = self.oldest or self._earliest(request)
        return found.filter(created_at__gte=oldest) if oldest else found

    def get_results(self, request: HttpRequest) -> None:
        """Load a page of rows, and set the note of each."""
        first = list(self.queryset[: self.list_per_page + 1]) if self.page_num == 1 else []
        if self.page_num == 1 and len(first) <= self.list_per_page:
            # Then they are all. Counting few among millions takes as long as finding them.
            self.queryset.dbos_count = len(first)
        super().get_results(request)
        is_read = self.page_num == 1 and not (self.show_all and self.can_show_all)
        rows = first[: self.list_per_page] if is_read else list(self.result_list)
        executors = live_executors(request)
        errors = _read_errors(rows, Look.of(request))
        reasons = read_queue_reasons(rows, executors)
        self.now = ages.now()
        for row in rows:
            of_queue = reasons.get(row.workflow_id, ())
            row.note = explain(row, executors, errors.get(row.workflow_id), of_queue)
            row.now = self.now
        self.result_list = rows

    @property
    def tabs(self) -> list[dict[str, Any]]:
        """The saved views."""
        return next(
            (list(spec.tabs(self)) for spec in self.filter_specs if isinstance(spec, ViewFilter)),
            [],
        )

    @property
    def period(self) -> float:
        """The seconds between two looks of the browser; 0 for further pages, which stay."""
        is_newest = self.page_num == 1 and BeforeFilter.parameter_name not in self.params
        return PERIOD if is_newest else 0.0

    @property
    def older_url(self) -> str:
        """The address of the rows behind the last page, where the count has stopped; else ""."""
        if not self.is_cut:
            return ""
        last = list(self.result_list)[-1]
        before = f"{last.created_at.isoformat()},{last.workflow_id}"
        return str(self.get_query_string({BeforeFilter.parameter_name: before}, remove=["p"]))

    def _earliest(self, request: HttpRequest) -> datetime | None:
        """Return a time before all others where SQLite would otherwise read and sort the table.

        Its planner doesn't know that few rows are wanted. A condition on the time leads it to the
        index that has the order of the list; the active statuses have indexes of their own.
        """
        is_active = request.GET.get("status") in ACTIVE or request.GET.get("view")
        if is_active or self.query or get_store().plans_for_limits:
            return None
        return FIRST_INSTANT

    def _find_oldest(self, request: HttpRequest) -> datetime | None:
        """Return the creation time of the oldest workflow to search, or None for no limit."""
        if hasattr(request, "dbos_oldest"):
            # An action in the background keeps the bound with which it began.
            return request.dbos_oldest  # type: ignore[no-any-return]
        if not self.query or not searched(request, self.query).is_bounded:
            return None
        # Not values_list(), which orders by the value that is read: no index has that.
        rows = rows_of(Workflow).order_by("-created_at").only("created_at")
        return next((row.created_at for row in rows[MAX_SEARCHED - 1 : MAX_SEARCHED]), None)


def searched(request: Any, term: str) -> Found:
    """Return what the search term stands for, which is found out once per request."""
    if not hasattr(request, "dbos_searched"):
        request.dbos_searched = find(term, known_names(request), Look.of(request))
    found: Found = request.dbos_searched
    return found


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
