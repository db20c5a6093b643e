"""Alerts: conditions that workers have told of, until they are over."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_dbos.fields import InstantField, KeyField
from django_dbos.models.base import EngineQuerySet, EngineRow


class AlertEpisode(EngineRow):
    """A condition that lasts; its row is inserted when it is raised, and deleted when it is over.

    The primary key makes one of many workers tell of it.
    """

    pk = models.CompositePrimaryKey("kind", "subject")
    kind = KeyField(_("kind"), max_length=30)
    subject = KeyField(_("subject"), max_length=255)
    text = models.TextField(_("what is wrong"))
    raised_at = InstantField(_("raised at"))

    objects: ClassVar[EngineQuerySet[AlertEpisode]] = EngineQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "dbos_alert"
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}".strip()
