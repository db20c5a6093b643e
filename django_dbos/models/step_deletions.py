"""Deletions on step databases that are ordered, and confirmed by a worker later."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_dbos.fields import InstantField
from django_dbos.models.base import EngineQuerySet, EngineRow


class StepDeletion(EngineRow):
    """A token that no workflow has any more: what it left on step databases is to be deleted.

    The row is written in the transaction that deletes or rewinds the workflow, so that a process
    that dies right after the commit leaves nothing behind (rule 101 of the correctness page).
    """

    token = models.UUIDField(_("token"), primary_key=True)
    requested_at = InstantField(_("requested at"))

    objects: ClassVar[EngineQuerySet[StepDeletion]] = EngineQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "dbos_step_deletion"
        verbose_name = _("deletion on step databases")
        verbose_name_plural = _("deletions on step databases")
        default_permissions = ("view",)
        indexes = (models.Index(fields=["requested_at"], name="dbos_step_deletion_oldest"),)

    def __str__(self) -> str:
        return str(self.token)
