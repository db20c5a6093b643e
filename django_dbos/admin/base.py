"""The base of all pages: read-only, with lists that cost no more than they show."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db import models
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from django_dbos.conf import get_settings

PAGE_SIZE = 50
# The number of rows up to which a list is counted.
MAX_COUNTED = 10_000
# The columns of a workflow that may hold megabytes.
VALUES = ("input_text", "output_text", "error_text", "attributes")


def rows_of(model: type[models.Model]) -> models.QuerySet[Any]:
    """Return all rows, from the database that is written: a replica may lag behind."""
    return model._default_manager.using(get_settings().database)


def link(url: str, text: object) -> SafeString:
    """Return an escaped HTML link."""
    return format_html('<a href="{}">{}</a>', url, text)


def status_label(workflow: Any) -> str:
    """Return the status of a workflow as people read it."""
    if workflow.is_quarantined:
        return gettext("quarantined")
    return str(workflow.get_status_display())


def badge(workflow: Any) -> SafeString:
    """Return the status of a workflow as words in its colour."""
    return status_badge(str(workflow.status), status_label(workflow))


def status_badge(status: str, label: str) -> SafeString:
    """Return words in the colour of a status."""
    return format_html('<span class="dbos-status" data-status="{}">{}</span>', status, label)


class Links:
    """The addresses of one workflow's pages, on the admin site of the request."""

    def __init__(self, site_name: str, workflow_id: str) -> None:
        self._site_name = site_name
        self._workflow_id = workflow_id

    def workflow(self, workflow_id: str | None = None) -> str:
        """Return the address of the page of this workflow, or of another one."""
        return self._reverse("change", workflow_id or self._workflow_id)

    def all_workflows(self) -> str:
        """Return the address of the list of workflows."""
        name = "admin:django_dbos_workflow_changelist"
        return reverse(name, current_app=self._site_name)

    def rows(self, section: str, **chosen: Any) -> str:
        """Return the address of a section's rows: all, those with a key, or a single one."""
        query = f"?{urlencode(chosen)}" if chosen else ""
        return self._reverse("rows", self._workflow_id, section) + query

    def action(self, name: str) -> str:
        """Return the address of a button of the page."""
        return self._reverse(name, self._workflow_id)

    def inquiry(self, inquiry_id: int) -> str:
        """Return the address of a form's page; "" on a site without these pages."""
        name = "admin:django_dbos_inquiry_change"
        try:
            return reverse(name, args=[inquiry_id], current_app=self._site_name)
        except NoReverseMatch:
            return ""

    def _reverse(self, name: str, workflow_id: str, *args: str) -> str:
        return reverse(
            f"admin:django_dbos_workflow_{name}",
            args=[quote(workflow_id), *args],
            current_app=self._site_name,
        )


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """A paginator that counts no more than MAX_COUNTED rows."""

    @cached_property
    def count(self) -> int:
        """Return the number of rows, at most MAX_COUNTED."""
        queryset: Any = self.object_list
        if (known := getattr(queryset, "dbos_count", None)) is not None:
            return int(known)
        return int(queryset.order_by().values("pk")[:MAX_COUNTED].count())


class EngineList(ChangeList):
    """A list that can only be sorted by columns with an index."""

    @property
    def is_cut(self) -> bool:
        """True on the last page if there may be rows behind it: the count has stopped."""
        is_last = self.multi_page and self.page_num == self.paginator.num_pages
        return is_last and self.result_count >= MAX_COUNTED and bool(self.result_list)

    def get_ordering_field(self, field_name: Any) -> Any:
        """Return None for other columns: Django hides their links, but still obeys such a URL."""
        if field_name not in (self.model_admin.sortable_by or ()):
            return None
        return super().get_ordering_field(field_name)


class EngineAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows of the engine, which are read-only regardless of permissions."""

    paginator = BoundedPaginator
    list_per_page = PAGE_SIZE
    show_full_result_count = False
    # Facets count all rows for each choice of each filter.
    show_facets = admin.ShowFacets.NEVER
    # Sorting by a column without an index reads the whole table.
    sortable_by: ClassVar[Any] = ()

    def get_queryset(self, request: HttpRequest) -> Any:
        """Return the rows of the workflow database."""
        return super().get_queryset(request).using(get_settings().database)

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        """Return the row of an address, or None: no database has ids with NUL."""
        return None if "\0" in object_id else super().get_object(request, object_id, from_field)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the class of the list."""
        return EngineList

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Allow only the filters: a lookup of another column may read the whole table."""
        return lookup in {filter_.parameter_name for filter_ in self.list_filter}  # type: ignore[union-attr]

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        """Search for a workflow id. It isn't split into words, as it may contain blanks.

        A list without a search field ignores a term in its address, as Django's lists do.
        """
        if not (search_term and self.search_fields):
            return queryset, False
        return queryset.filter(workflow_id=search_term), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        return False

    def workflow_link(self, workflow_id: str) -> SafeString:
        """Return a workflow id that links to its page."""
        return link(Links(self.admin_site.name, workflow_id).workflow(), workflow_id)
