"""Messages to workflows."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from django_dbos.core.ids import MAX_ID_LENGTH
from django_dbos.fields import InstantField, KeyField
from django_dbos.models.base import EngineRow, value_of


class Message(EngineRow):
    """A message to one workflow; `message_id`, a database sequence, is their order."""

    message_id = models.BigAutoField(_("message id"), primary_key=True)
    workflow_id = KeyField(_("receiver"), max_length=MAX_ID_LENGTH)
    topic = KeyField(
        _("topic"), max_length=255, help_text=_("Empty for a message without a topic.")
    )
    message_text = models.TextField(_("message"), db_column="message")
    idempotency_key = KeyField(_("idempotency key"), max_length=255, null=True)
    sender_id = KeyField(_("sending workflow"), max_length=MAX_ID_LENGTH, null=True)
    created_at = InstantField(_("sent at"))
    consumed_at = InstantField(_("consumed at"), null=True)
    consumed_step_number = models.IntegerField(_("consumed by step"), null=True)

    class Meta:
        db_table = "dbos_message"
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        default_permissions = ("view",)
        permissions = (("send_message", "Can send messages to workflows"),)
        indexes = (
            models.Index(
                fields=("workflow_id", "topic", "message_id"),
                condition=Q(consumed_at__isnull=True),
                name="dbos_message_unconsumed",
            ),
            models.Index(fields=("workflow_id", "message_id"), name="dbos_message_workflow"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=("workflow_id", "idempotency_key"),
                condition=Q(idempotency_key__isnull=False),
                name="dbos_message_idempotency",
            ),
        )

    def __str__(self) -> str:
        return f"{self.message_id} to {self.workflow_id}"

    @property
    def message(self) -> Any:
        """The value that was sent."""
        return value_of(self.message_text)
