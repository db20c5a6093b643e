"""The other tables with a key that the admin can handle: messages, events, executors."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_dbos.admin.base import EngineAdmin
from django_dbos.admin.values import instant, plain
from django_dbos.models import Event, Executor, Message


@admin.register(Message)
class MessageAdmin(EngineAdmin):
    """Messages of all workflows, the latest first."""

    list_display = ("message_id", "receiver", "topic", "created_at", "consumed_at")
    search_fields = ("workflow_id",)
    search_help_text = _("The id of the receiver.")
    ordering = ("-message_id",)
    fields = (
        "receiver",
        "topic",
        "value",
        "idempotency_key",
        "sender",
        "created_at",
        "consumed_at",
        "consumed_step_number",
    )
    readonly_fields = ("receiver", "value", "sender")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("message_text")

    @admin.display(description=_("receiver"))
    def receiver(self, message: Message) -> SafeString:
        """The workflow that it is for."""
        return self.workflow_link(str(message.workflow_id))

    @admin.display(description=_("sending workflow"))
    def sender(self, message: Message) -> str:
        """The workflow that sent it, if one did."""
        return self.workflow_link(message.sender_id) if message.sender_id else ""

    @admin.display(description=_("message"))
    def value(self, message: Message) -> SafeString:
        """The message as plain JSON."""
        return format_html("<pre>{}</pre>", plain(message.message_text).text)


@admin.register(Event)
class EventAdmin(EngineAdmin):
    """Events of all workflows, with their latest values."""

    list_display = ("event_id", "workflow", "key", "version", "updated_at")
    search_fields = ("workflow_id",)
    search_help_text = _("The id of the workflow.")
    ordering = ("-event_id",)
    fields = ("workflow", "key", "plain_value", "version", "updated_at")
    readonly_fields = ("workflow", "plain_value")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("value_text")

    @admin.display(description=_("workflow"))
    def workflow(self, event: Event) -> SafeString:
        """The workflow that set it."""
        return self.workflow_link(str(event.workflow_id))

    @admin.display(description=_("value"))
    def plain_value(self, event: Event) -> SafeString:
        """The value as plain JSON."""
        return format_html("<pre>{}</pre>", plain(event.value_text).text)


@admin.register(Executor)
class ExecutorAdmin(EngineAdmin):
    """The processes that run workflows."""

    list_display = (
        "executor_id",
        "is_alive",
        "hostname",
        "pid",
        "is_inline",
        "queues",
        "concurrency",
        "started_at",
        "last_heartbeat",
    )
    fields = list_display
    readonly_fields = ("is_alive", "queues", "last_heartbeat")
    ordering = ("-started_at",)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).judged()

    @admin.display(description=_("alive"), boolean=True)
    def is_alive(self, executor: Executor) -> bool:
        """Whether it was heard of within its lease."""
        return executor.is_live

    @admin.display(description=_("last heartbeat"))
    def last_heartbeat(self, executor: Any) -> str:
        """When it was heard of, unless it was declared dead since."""
        return instant(executor.heard_at) or gettext("declared dead")

    @admin.display(description=_("queues"))
    def queues(self, executor: Executor) -> Any:
        """What it listens to."""
        names = executor.queue_names
        return _("all") if names is None else ", ".join(names)
