"""Past runs: the chain of a workflow that has continued as new."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_dbos.core.ids import MAX_ID_LENGTH
from django_dbos.fields import InstantField, KeyField
from django_dbos.models.base import EngineRow, value_of


class PastRun(EngineRow):
    """A run that ended with `continue_as_new`; its history is deleted.

    Its steps have the numbers from `steps_before` + 1 on.
    """

    pk = models.CompositePrimaryKey("workflow_id", "run_number")
    workflow_id = KeyField(_("workflow id"), max_length=MAX_ID_LENGTH)
    run_number = models.IntegerField(_("run"))
    input_text = models.TextField(_("input"), db_column="input")
    steps_before = models.IntegerField(_("steps before it"))
    steps = models.IntegerField(_("steps"))
    started_at = InstantField(_("started at"), null=True)
    ended_at = InstantField(_("ended at"))

    class Meta:
        db_table = "dbos_past_run"
        verbose_name = _("past run")
        verbose_name_plural = _("past runs")
        default_permissions = ("view",)
        indexes = (models.Index(fields=("ended_at",), name="dbos_past_run_ended"),)

    def __str__(self) -> str:
        return f"{self.workflow_id} {self.run_number}"

    @property
    def input(self) -> dict[str, Any]:
        """The arguments of the run: {"args": […], "kwargs": {…}}."""
        return value_of(self.input_text)  # type: ignore[no-any-return]
