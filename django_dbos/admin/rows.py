"""The lists and pages of messages and events."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_dbos.admin.base import EngineAdmin, EngineList, link, rows_of
from django_dbos.admin.look import Look, Unshowable
from django_dbos.admin.values import as_download, shown, to_download, with_values
from django_dbos.exceptions import SerializationError
from django_dbos.models import Event, Message

# In addresses, it precedes the number of the row behind which the list goes on.
BEFORE = "before"


class NumberedList(EngineList):
    """A list by number, newest first, that goes on behind the rows that are counted."""

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        """Return the filters, of which the row to begin behind is none."""
        found: dict[str, Any] = super().get_filters_params(params)
        found.pop(BEFORE, None)
        return found

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Return the rows, or those behind one; raise IncorrectLookupParameters."""
        found = super().get_queryset(request, *args, **kwargs)
        if (text := self.params.get(BEFORE)) is None:
            return found
        if not (text.isascii() and text.isdigit() and int(text) < 2**63):
            raise IncorrectLookupParameters
        return found.filter(pk__lt=int(text))

    @property
    def older_url(self) -> str:
        """The address of the rows behind the last page, where the count has stopped; else ""."""
        if not self.is_cut:
            return ""
        last = list(self.result_list)[-1]
        return str(self.get_query_string({BEFORE: last.pk}, remove=["p"]))


class ValueAdmin(EngineAdmin):
    """Rows with a stored value. A page shows its beginning; a download has all of it."""

    value_column: ClassVar[str]

    def get_queryset(self, request: HttpRequest) -> Any:
        """Return the rows without their values."""
        return super().get_queryset(request).defer(self.value_column)

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        """Return a row, with the look at its value."""
        row = super().get_object(request, object_id, from_field)
        if row is not None:
            row.look = Look.of(request, is_whole=True)
        return row

    def get_urls(self) -> list[URLPattern]:
        """Add the address of the download."""
        name = f"django_dbos_{self.opts.model_name}_download"
        view = self.admin_site.admin_view(self.download_view)
        return [path("<path:object_id>/download/", view, name=name), *super().get_urls()]

    def download_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Return the complete value as a file."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        stored = getattr(row, self.value_column, None)
        if stored is None:
            raise Http404
        try:
            value = to_download(row, self.value_column, stored, row.look)
            return as_download(value, f"{self.opts.model_name}-{row.pk}")
        except Unshowable as error:
            raise PermissionDenied(str(error)) from error
        except (SerializationError, RecursionError) as error:
            raise Http404(str(error)) from error

    @admin.display(description=_("value"))
    def plain_value(self, row: Any) -> SafeString:
        """Return the value, or its beginning, as plain JSON."""
        rows = rows_of(self.model).filter(pk=row.pk)
        loaded = with_values(rows, self.value_column, look=row.look).first()
        if loaded is None:
            return SafeString("")
        value = shown(loaded, self.value_column, row.look)
        text = format_html("<pre>{}</pre>", value.text)
        if not value.is_cut:
            return text
        url = reverse(
            f"admin:django_dbos_{self.opts.model_name}_download",
            args=[quote(str(row.pk))],
            current_app=self.admin_site.name,
        )
        return format_html("{}{}", text, link(url, gettext("Download the complete value")))


class NumberedAdmin(ValueAdmin):
    """Rows by number. The last page that is counted leads to older ones."""

    change_list_template = "admin/django_dbos/older.html"
    older_label: ClassVar[Any]

    class Media:
        css: ClassVar[Any] = {"all": ("django_dbos/admin.css",)}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[NumberedList]:
        """Return the class of the list."""
        return NumberedList


@admin.register(Message)
class MessageAdmin(NumberedAdmin):
    """The messages of all workflows, newest first."""

    list_display = ("message_id", "receiver", "topic", "created_at", "consumed_at")
    search_fields = ("workflow_id",)
    search_help_text = _("The id of the receiver.")
    ordering = ("-message_id",)
    fields = (
        "receiver",
        "topic",
        "plain_value",
        "idempotency_key",
        "sender",
        "created_at",
        "consumed_at",
        "consumed_step_number",
    )
    readonly_fields = ("receiver", "plain_value", "sender")
    value_column = "message_text"
    older_label = _("Older messages")

    @admin.display(description=_("receiver"))
    def receiver(self, message: Message) -> SafeString:
        """Return a link to the receiving workflow."""
        return self.workflow_link(str(message.workflow_id))

    @admin.display(description=_("sending workflow"))
    def sender(self, message: Message) -> str:
        """Return a link to the sending workflow, if there is one."""
        return self.workflow_link(message.sender_id) if message.sender_id else ""


@admin.register(Event)
class EventAdmin(NumberedAdmin):
    """The events of all workflows, with their current values."""

    list_display = ("event_id", "workflow", "key", "version", "updated_at")
    search_fields = ("workflow_id",)
    search_help_text = _("The id of the workflow.")
    ordering = ("-event_id",)
    fields = ("workflow", "key", "plain_value", "version", "updated_at")
    readonly_fields = ("workflow", "plain_value")
    value_column = "value_text"
    older_label = _("Older events")

    @admin.display(description=_("workflow"))
    def workflow(self, event: Event) -> SafeString:
        """Return a link to the workflow of the event."""
        return self.workflow_link(str(event.workflow_id))
