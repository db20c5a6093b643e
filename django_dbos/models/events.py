"""Events of workflows, and their earlier values."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_dbos.core.ids import MAX_ID_LENGTH
from django_dbos.fields import InstantField, KeyField
from django_dbos.models.base import EngineRow, value_of


class Event(EngineRow):
    """The latest value under a key; `version` counts its values from 1."""

    event_id = models.BigAutoField(_("event id"), primary_key=True)
    workflow_id = KeyField(_("workflow id"), max_length=MAX_ID_LENGTH)
    key = KeyField(_("key"), max_length=255)
    value_text = models.TextField(_("value"), db_column="value")
    version = models.IntegerField(_("version"))
    updated_at = InstantField(_("updated at"))

    class Meta:
        db_table = "dbos_event"
        verbose_name = _("event")
        verbose_name_plural = _("events")
        default_permissions = ("view",)
        constraints = (
            models.UniqueConstraint(fields=("workflow_id", "key"), name="dbos_event_key"),
        )

    def __str__(self) -> str:
        return f"{self.workflow_id} {self.key}"

    @property
    def value(self) -> Any:
        """The value that was set."""
        return value_of(self.value_text)


class EventVersion(EngineRow):
    """Every value that an event ever had, with the step that set it."""

    pk = models.CompositePrimaryKey("workflow_id", "key", "version")
    workflow_id = KeyField(_("workflow id"), max_length=MAX_ID_LENGTH)
    key = KeyField(_("key"), max_length=255)
    version = models.IntegerField(_("version"))
    value_text = models.TextField(_("value"), db_column="value")
    step_number = models.IntegerField(_("step number"))
    write_id = models.UUIDField(_("write id"))
    created_at = InstantField(_("set at"))

    class Meta:
        db_table = "dbos_event_version"
        verbose_name = _("event version")
        verbose_name_plural = _("event versions")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.workflow_id} {self.key} {self.version}"

    @property
    def value(self) -> Any:
        """The value that was set."""
        return value_of(self.value_text)
