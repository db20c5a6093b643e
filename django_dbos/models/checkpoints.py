"""Checkpoints: the recorded outcomes of steps, and of atomic steps on other databases."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_dbos import serializers
from django_dbos.core.ids import MAX_ID_LENGTH
from django_dbos.fields import InstantField, KeyField
from django_dbos.models.base import EngineRow, error_of, value_of


class Checkpoint(EngineRow):
    """The recorded outcome of a step, or the deadline of a wait that isn't over.

    `record_order` is the order in which outcomes were recorded, which a replay keeps.
    """

    class State(models.IntegerChoices):
        RECORDED = 0, _("recorded")
        WAITING = 1, _("waiting")
        TIMED_OUT = 2, _("timed out")
        AWAITED_CANCELLED = 3, _("awaited workflow cancelled")
        AWAITED_EXCEEDED = 4, _("awaited workflow exceeded its recovery attempts")

    pk = models.CompositePrimaryKey("workflow_id", "step_number")
    workflow_id = KeyField(_("workflow id"), max_length=MAX_ID_LENGTH)
    step_number = models.IntegerField(_("step number"))
    step_name = KeyField(_("step name"), max_length=255)
    state = models.SmallIntegerField(_("state"), choices=State.choices, db_default=0)
    fingerprint = KeyField(_("fingerprint of the arguments"), max_length=32, null=True)
    output_text = models.TextField(_("output"), db_column="output", null=True)
    error_text = models.TextField(_("error"), db_column="error", null=True)
    related_workflow_id = KeyField(_("related workflow"), max_length=MAX_ID_LENGTH, null=True)
    record_order = models.IntegerField(_("record order"))
    claim_number = models.IntegerField(_("claim number"))
    attempts = models.SmallIntegerField(_("attempts"), db_default=1)
    attempt_errors_text = models.TextField(
        _("errors of the attempts"), db_column="attempt_errors", null=True
    )
    deadline_at = InstantField(_("deadline of the wait"), null=True)
    started_at = InstantField(_("started at"), null=True)
    recorded_at = InstantField(_("recorded at"))

    class Meta:
        db_table = "dbos_checkpoint"
        verbose_name = _("checkpoint")
        verbose_name_plural = _("checkpoints")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.workflow_id} {self.step_number} {self.step_name}"

    @property
    def output(self) -> Any:
        """The recorded value; also None while there is none."""
        return value_of(self.output_text)

    @property
    def error(self) -> BaseException | None:
        """The recorded exception; else None."""
        return error_of(self.error_text)

    @property
    def attempt_errors(self) -> list[dict[str, Any]]:
        """The errors of the last hundred failed attempts at a step that was tried again.

        Each as `{"attempt": 1, "error": "ConnectionError: down"}`, with the end of the attempt by
        its worker's clock as `"at"`, its duration as `"seconds"`, and the pause after it as
        `"delay"`, both in seconds; the last one has no delay. One that raised RetryAfter has the
        pause as `"retry_after"`, and the attempt after it has the same number. Those of earlier
        versions have only their numbers and errors.
        """
        return serializers.load_attempts(self.attempt_errors_text)


class AtomicCheckpoint(EngineRow):
    """The checkpoint of an atomic step on another database, in that database.

    It is written in the step's own transaction, or in one of its own when the step has failed. Its
    key is the fence (rule 27 of the correctness page).
    """

    pk = models.CompositePrimaryKey("token", "step_number")
    token = models.UUIDField(_("workflow's token"))
    step_number = models.IntegerField(_("step number"))
    step_name = KeyField(_("step name"), max_length=255)
    output_text = models.TextField(_("output"), db_column="output", null=True)
    error_text = models.TextField(_("error"), db_column="error", null=True)
    recorded_at = InstantField(_("recorded at"))

    class Meta:
        db_table = "dbos_atomic_checkpoint"
        verbose_name = _("atomic checkpoint")
        verbose_name_plural = _("atomic checkpoints")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.token} {self.step_number} {self.step_name}"

    @property
    def output(self) -> Any:
        """The recorded value; also None while there is none."""
        return value_of(self.output_text)

    @property
    def error(self) -> BaseException | None:
        """The exception that the step raised; else None."""
        return error_of(self.error_text)
