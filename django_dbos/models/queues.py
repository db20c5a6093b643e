"""Queues with a row of their own, and the log of starts that their rate limits count."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_dbos.fields import InstantField, KeyField
from django_dbos.models.base import EngineQuerySet, EngineRow


class Queue(EngineRow):
    """A queue that was declared, in the settings or at run time; others are unlimited.

    `declared` has the options of DBOS["QUEUES"], `edited` those that an operator has changed, which
    win. The other columns are the limits in force.
    """

    name = KeyField(_("name"), max_length=255, primary_key=True)
    declared = models.JSONField(_("declared"), null=True, help_text=_('As in DBOS["QUEUES"].'))
    edited = models.JSONField(_("edited"), null=True, help_text=_("Options changed since."))

    concurrency = models.IntegerField(_("concurrency"), null=True)
    worker_concurrency = models.IntegerField(_("concurrency of a worker"), null=True)
    rate_count = models.IntegerField(_("starts per period"), null=True)
    rate_period = models.FloatField(_("period"), null=True, help_text=_("In seconds."))
    partition_concurrency = models.IntegerField(_("concurrency of a partition"), null=True)
    partition_rate_count = models.IntegerField(_("starts of a partition per period"), null=True)
    partition_rate_period = models.FloatField(
        _("period of partitions"), null=True, help_text=_("In seconds.")
    )
    hold_while_waiting = models.BooleanField(
        _("hold while waiting"),
        db_default=False,
        help_text=_("A waiting workflow keeps its place until it ends."),
    )
    is_managed = models.BooleanField(
        _("managed"), db_default=False, help_text=_("It has a limit, or is paused.")
    )
    paused_at = InstantField(_("paused at"), null=True)
    paused_by = models.CharField(_("paused by"), max_length=255, null=True)
    updated_at = InstantField(_("updated at"))

    objects: ClassVar[EngineQuerySet[Queue]] = EngineQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "dbos_queue"
        verbose_name = _("queue")
        verbose_name_plural = _("queues")
        default_permissions = ("view", "change")
        permissions = (("pause_queue", "Can pause and resume queue"),)

    def __str__(self) -> str:
        return str(self.name)


class QueueStart(EngineRow):
    """Starts of a queue or of one of its partitions: the window of a rate limit is a sum of these.

    Starts that lie close together share a row, which counts until the last of them has left the
    window.
    """

    queue_start_id = models.BigAutoField(primary_key=True)
    queue_name = KeyField(_("queue"), max_length=255)
    partition_key = KeyField(_("partition key"), max_length=255, db_default="")
    last_at = InstantField(_("last start"))
    count = models.IntegerField(_("starts"))

    class Meta:
        db_table = "dbos_queue_start"
        verbose_name = _("start of a queue")
        verbose_name_plural = _("starts of queues")
        default_permissions = ()
        indexes = (
            models.Index(
                fields=("queue_name", "partition_key", "last_at"), name="dbos_queue_start_window"
            ),
            models.Index(fields=("queue_name", "last_at"), name="dbos_queue_start_age"),
        )

    def __str__(self) -> str:
        return f"{self.queue_name} {self.partition_key} {self.count}".strip()
