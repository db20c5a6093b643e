"""Streams of workflows."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_dbos.core.ids import MAX_ID_LENGTH
from django_dbos.fields import InstantField, KeyField
from django_dbos.models.base import EngineRow, value_of


class StreamEntry(EngineRow):
    """One value of a stream, or its end (`is_end`), which takes the offset after the last."""

    pk = models.CompositePrimaryKey("workflow_id", "key", "offset")
    workflow_id = KeyField(_("workflow id"), max_length=MAX_ID_LENGTH)
    key = KeyField(_("key"), max_length=255)
    offset = models.IntegerField(_("offset"))
    value_text = models.TextField(_("value"), db_column="value", null=True)
    is_end = models.BooleanField(_("end of the stream"), db_default=False)
    step_number = models.IntegerField(_("step number"))
    write_id = models.UUIDField(_("write id"))
    created_at = InstantField(_("written at"))

    class Meta:
        db_table = "dbos_stream_entry"
        verbose_name = _("stream entry")
        verbose_name_plural = _("stream entries")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.workflow_id} {self.key} {self.offset}"

    @property
    def value(self) -> Any:
        """The value that was written; None for the end of the stream."""
        return value_of(self.value_text)
