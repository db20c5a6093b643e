"""Schedules: when which workflow starts, and how far that is decided."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from django_dbos.core import schedules
from django_dbos.core.ids import MAX_ID_LENGTH
from django_dbos.core.texts import gettext_noop
from django_dbos.fields import InstantField, KeyField
from django_dbos.models.base import EngineQuerySet, EngineRow


class Schedule(EngineRow):
    """A schedule, declared in code or in the settings, or made at run time.

    `declared` has the options of the declaration, `edited` those that an operator has changed,
    which win. `definition` is what is in force.
    """

    name = KeyField(_("name"), max_length=schedules.MAX_NAME_LENGTH, primary_key=True)
    workflow_name = KeyField(_("workflow"), max_length=255)
    declared = models.JSONField(
        _("declared"), null=True, help_text=_("Options in code or settings.")
    )
    edited = models.JSONField(_("edited"), null=True, help_text=_("Options changed since."))

    settled_at = InstantField(
        _("decided up to"), help_text=_("No instant up to this one is started again.")
    )
    next_at = InstantField(_("next"), null=True)
    last_at = InstantField(_("last"), null=True)
    last_workflow_id = KeyField(_("last workflow"), max_length=MAX_ID_LENGTH, null=True)
    failures_after = InstantField(
        _("failures count after"), null=True, help_text=_("Set when it is resumed.")
    )
    paused_at = InstantField(_("paused at"), null=True)
    paused_by = models.CharField(_("paused by"), max_length=255, null=True)
    paused_reason = models.TextField(_("reason of the pause"), null=True)
    tzdata = KeyField(
        _("time-zone data"),
        max_length=32,
        db_default="",
        help_text=_("The version by which the next instant was computed."),
    )
    updated_at = InstantField(_("updated at"))

    objects: ClassVar[EngineQuerySet[Schedule]] = EngineQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "dbos_schedule"
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")
        default_permissions = ("view", "change", "delete")
        permissions = (
            ("pause_schedule", "Can pause and resume schedule"),
            ("trigger_schedule", "Can trigger and backfill schedule"),
        )
        indexes = (
            models.Index(
                fields=("next_at",), condition=Q(next_at__isnull=False), name="dbos_schedule_next"
            ),
        )

    def __str__(self) -> str:
        return str(self.name)

    @property
    def definition(self) -> schedules.Definition:
        """The options in force: cron or every, timezone, overlap and so on."""
        return schedules.of_stored(self.declared, self.edited)

    @property
    def description(self) -> str:
        """The times in English, for example "every day at 03:00 (Europe/Berlin)"."""
        return self.describe()

    def describe(self, translate: Callable[[str], str] = str) -> str:
        """Return the times in words, which `translate` puts into the language of the reader."""
        try:
            return schedules.describe(self.definition, translate)
        except (TypeError, ValueError) as error:
            # A row that was changed by hand must not fail a list.
            return translate(gettext_noop("unreadable options: %s")) % error

    @property
    def is_paused(self) -> bool:
        """True if it is paused."""
        return self.paused_at is not None

    @property
    def is_edited(self) -> bool:
        """True if an operator has changed options of a declared schedule."""
        return self.declared is not None and bool(self.edited)

    @property
    def options(self) -> dict[str, Any]:
        """All options in force, as JSON values."""
        return schedules.options_of(self.definition)
