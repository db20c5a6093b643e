"""The things that a workflow waits for, if any of several ends its wait."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_dbos.core.ids import MAX_ID_LENGTH
from django_dbos.fields import KeyField
from django_dbos.models.base import EngineRow


class Wake(EngineRow):
    """One of several things that a suspended workflow waits for; a single one is in its own row.

    It counts while the workflow waits under the same claim number. The columns are named as those
    of the workflow, so that one condition serves both tables.
    """

    pk = models.CompositePrimaryKey("workflow_id", "part")
    workflow_id = KeyField(_("workflow id"), max_length=MAX_ID_LENGTH)
    part = models.IntegerField(_("part"))
    claim_number = models.IntegerField(_("claim number"))
    wake_kind = KeyField(_("waits for"), max_length=10)
    wake_workflow_id = KeyField(_("waits for workflow"), max_length=MAX_ID_LENGTH)
    wake_name = KeyField(_("waits for name"), max_length=255)
    wake_offset = models.IntegerField(_("waits for offset"), null=True)

    class Meta:
        db_table = "dbos_wake"
        verbose_name = _("awaited thing")
        verbose_name_plural = _("awaited things")
        default_permissions = ()
        indexes = (models.Index(fields=("wake_workflow_id",), name="dbos_wake_target"),)

    def __str__(self) -> str:
        return f"{self.workflow_id} {self.part}: {self.wake_kind} {self.wake_name}"
