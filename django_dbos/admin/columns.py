"""The columns of the list of workflows."""

from __future__ import annotations

import re
from typing import Any

from django.contrib import admin
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_dbos.admin import ages
from django_dbos.admin.actions import ActingAdmin
from django_dbos.admin.base import badge
from django_dbos.conf import get_settings
from django_dbos.models import Workflow


class WorkflowColumns(ActingAdmin):
    """The columns of the list, each as a method. WorkflowList has set `note` and `now` of a row."""

    @admin.display(description=_("workflow"))
    def workflow_shown(self, workflow: Workflow) -> SafeString:
        """Return the function's name and the id."""
        return format_html(
            '<span class="dbos-name">{}</span><span class="dbos-id" data-dbos-row="{}">{}</span>',
            split_name(workflow.name),
            workflow.workflow_id,
            workflow.workflow_id,
        )

    @admin.display(description=_("status"))
    def status_shown(self, workflow: Any) -> SafeString:
        """Return the status with its reason."""
        if not workflow.note:
            return badge(workflow)
        return format_html(
            '{0}<p class="dbos-why" title="{1}">{1}</p>', badge(workflow), workflow.note
        )

    @admin.display(description=_("queue"))
    def queue_shown(self, workflow: Workflow) -> SafeString | str:
        """Return the queue, which is quiet if it is the default one, with the user if there is one.

        They share a column: both are mostly the same, or missing.
        """
        is_default = workflow.queue_name == get_settings().default_queue
        queue = format_html(
            '<span class="{}">{}</span>', "dbos-quiet" if is_default else "", workflow.queue_name
        )
        if workflow.user_id is None:
            return queue
        return format_html(
            '{}<p class="dbos-why">{}</p>', queue, gettext("user %s") % workflow.user_id
        )

    @admin.display(description=_("age"), ordering="created_at")
    def age_shown(self, workflow: Any) -> SafeString | str:
        """Return the time since the creation."""
        if workflow.created_at is None:
            return ""
        text = ages.age(workflow.created_at, workflow.now)
        return ages.timed(workflow.created_at, text)

    @admin.display(description=_("duration"))
    def duration_shown(self, workflow: Any) -> SafeString | str:
        """Return the time from the first run to the end, or so far."""
        if workflow.started_at is None:
            return ""
        if not workflow.is_active:
            return ages.lasted(workflow.started_at, workflow.finished_at)
        so_far = ages.age(workflow.started_at, workflow.now)
        return format_html('<span class="dbos-quiet">{}…</span>', so_far)

    @admin.display(description=_("attempts"))
    def attempts_shown(self, workflow: Workflow) -> SafeString | str:
        """Return the number of workers that have run it, as far as others died while doing so."""
        if not workflow.claim_number:
            return ""
        dead = workflow.recovery_attempts
        if not dead:
            return "1"
        text = ngettext(
            "%d worker died while running it.", "%d workers died while running it.", dead
        )
        return format_html('<span class="dbos-warning" title="{}">{}</span>', text % dead, 1 + dead)


def split_name(name: str) -> SafeString:
    """Return a function's name: its last part stands out, and the others may be broken at dots."""
    module, dot, last = name.rpartition(".")
    return format_html(
        '<span class="dbos-module">{}</span><b>{}</b>', breakable(module + dot), breakable(last)
    )


def breakable(name: str) -> SafeString:
    """Return a name that may be broken after dots and underscores."""
    parts = re.findall(r"[^._]*[._]?", name)
    return format_html_join(mark_safe("<wbr>"), "{}", ((part,) for part in parts))
