"""Rows with a name and a page on which operators edit and act: queues and schedules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django import forms
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from django_dbos.admin.base import EngineAdmin, rows_of
from django_dbos.admin.section import Label


class NamedAdmin(EngineAdmin):
    """Rows by name, each with a form of what is declared and edited, and with buttons."""

    search_fields = ("name",)
    search_help_text = _("A part of the name.")
    ordering = ("name",)
    page_template: ClassVar[str]
    form_class: ClassVar[Any]
    """The form, made of the data and the row; its `changes` are the options that differ."""
    not_found: ClassVar[Label]
    """The message for a name that isn't there, with %s for the name."""

    class Media:
        css = {"all": ("django_dbos/admin.css",)}

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        """Search for a part of the name."""
        term = search_term.replace("\0", "")
        return (queryset.filter(name__icontains=term) if term else queryset), False

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of the buttons."""
        view = self.admin_site.admin_view(require_POST(self.action_view))
        name = f"django_dbos_{self.opts.model_name}_action"
        return [path("<path:object_id>/do/<slug:action>/", view, name=name), *super().get_urls()]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Return the page of a row, or save its form."""
        row = self.find(request, object_id)
        may_change = self.has_change_permission(request)
        if request.method == "POST" and not may_change:
            raise PermissionDenied
        form = self.form_class(request.POST if request.method == "POST" else None, row=row)
        if request.method == "POST" and form.is_valid() and self.save_form_of(request, row, form):
            return HttpResponseRedirect(request.path)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": row,
            "change": True,
            "has_view_permission": True,
            "title": str(row.name),
            "facts": [
                (label, value)
                for label, value in self.facts(request, row)
                if value not in (None, "")
            ],
            "buttons": self.buttons(request, row),
            "form": form,
            "rows": [_form_row(row, field) for field in form],
            "may_change": may_change,
            "history_url": self.address("history", row),
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, self.page_template, context)

    def action_view(self, request: HttpRequest, object_id: str, action: str) -> HttpResponse:
        """Act on a row, for the buttons of its page."""
        raise NotImplementedError

    def save_form_of(self, request: HttpRequest, row: Any, form: Any) -> bool:
        """Save a valid form; return False if that failed, with the reason among its errors."""
        raise NotImplementedError

    def facts(self, request: HttpRequest, row: Any) -> list[tuple[Label, Any]]:
        """Return what the page tells of a row; empty values are left out."""
        raise NotImplementedError

    def buttons(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        """Return the buttons that the user may use now."""
        raise NotImplementedError

    def may_see(self, request: HttpRequest) -> bool:
        """Return whether the user may see the pages."""
        return self.has_view_permission(request)

    def find(self, request: HttpRequest, object_id: str) -> Any:
        """Return the row of a page; raise PermissionDenied or Http404."""
        if not self.may_see(request):
            raise PermissionDenied
        name = unquote(object_id)
        found = rows_of(self.model).filter(name=name).first() if "\0" not in name else None
        if found is None:
            raise Http404(self.not_found % name)
        return found

    def address(self, view: str, row: Any, *args: str) -> str:
        """Return the address of a view of a row."""
        return reverse(
            f"admin:django_dbos_{self.opts.model_name}_{view}",
            args=[quote(str(row.name)), *args],
            current_app=self.admin_site.name,
        )


def log(
    request: HttpRequest, rows: Sequence[models.Model], text: Label, flag: int = CHANGE
) -> None:
    """Note a change of rows in their history."""
    user_pk: Any = request.user.pk
    LogEntry.objects.log_actions(user_pk, rows, flag, str(text))


def paused_badge(note: str) -> SafeString:
    """Return the badge of a paused row, with since when, by whom and why."""
    return format_html(
        '<span class="dbos-status" data-status="CANCELLED">{}</span><p class="dbos-why">{}</p>',
        gettext("paused"),
        note,
    )


def plain(value: Any) -> str:
    """Return the value of an option as people read it."""
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    return gettext("none") if value is None else str(value)


def _form_row(row: Any, field: forms.BoundField) -> dict[str, Any]:
    declared, edited = row.declared or {}, row.edited or {}
    return {
        "field": field,
        "declared": plain(declared[field.name]) if field.name in declared else "",
        "edited": plain(edited[field.name]) if field.name in edited else "",
    }
