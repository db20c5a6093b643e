"""What all pages share: nothing can be changed, and no list costs more than it shows."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db import models
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from django_dbos.conf import get_settings

PAGE_SIZE = 50
# A list is counted up to here: more pages than that nobody turns.
MAX_COUNTED = 10_000
# What of a workflow may be megabytes.
VALUES = ("input_text", "output_text", "error_text", "attributes")


def rows_of(model: type[models.Model]) -> models.QuerySet[Any]:
    """All rows of a table, read where they are written: a replica may lag behind."""
    return model._default_manager.using(get_settings().database)


def link(url: str, text: object) -> SafeString:
    """An anchor, escaped."""
    return format_html('<a href="{}">{}</a>', url, text)


class Links:
    """The addresses of one workflow's pages, on the admin site that was asked."""

    def __init__(self, site_name: str, workflow_id: str) -> None:
        self._site_name = site_name
        self._workflow_id = workflow_id

    def workflow(self, workflow_id: str | None = None) -> str:
        """The page of this workflow, or of another."""
        return self._reverse("change", workflow_id or self._workflow_id)

    def rows(self, section: str, **chosen: Any) -> str:
        """The rows of a section: all, those of one key, or a single one."""
        query = f"?{urlencode(chosen)}" if chosen else ""
        return self._reverse("rows", self._workflow_id, section) + query

    def action(self, name: str) -> str:
        """Where a button of the page goes."""
        return self._reverse(name, self._workflow_id)

    def _reverse(self, name: str, workflow_id: str, *args: str) -> str:
        return reverse(
            f"admin:django_dbos_workflow_{name}",
            args=[quote(workflow_id), *args],
            current_app=self._site_name,
        )


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than anybody reads."""

    @cached_property
    def count(self) -> int:
        queryset: Any = self.object_list
        return int(queryset.order_by()[:MAX_COUNTED].count())


class EngineList(ChangeList):
    """A list whose order can't be chosen beyond what an index serves."""

    def get_ordering_field(self, field_name: Any) -> Any:
        # Django hides the links of other columns, and still obeys an address that has them.
        if field_name not in (self.model_admin.sortable_by or ()):
            return None
        return super().get_ordering_field(field_name)


class EngineAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows of the engine: to be looked at, whatever one is permitted."""

    paginator = BoundedPaginator
    list_per_page = PAGE_SIZE
    show_full_result_count = False
    # Facets count every row once per choice of every filter.
    show_facets = admin.ShowFacets.NEVER
    # Sorting by a column without an index reads the table.
    sortable_by: ClassVar[Any] = ()

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).using(get_settings().database)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return EngineList

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Only what a filter offers: any other column may cost a read of the table."""
        return any(lookup == one.parameter_name for one in self.list_filter)  # type: ignore[union-attr]

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        """Find by the id of the workflow. It may hold blanks, so it isn't split into words."""
        return (queryset.filter(workflow_id=search_term) if search_term else queryset), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def workflow_link(self, workflow_id: str) -> SafeString:
        """A workflow's id that leads to its page."""
        return link(Links(self.admin_site.name, workflow_id).workflow(), workflow_id)
