"""Workflows, and the queries and operations that many have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from django.db import connections, models
from django.db.models import F, Q, Value
from django.db.models.fields.json import KeyTransform, KeyTransformExact
from django.utils.translation import gettext_lazy as _

from django_dbos.core import status as statuses
from django_dbos.core.engine import get_engine
from django_dbos.core.ids import MAX_ID_LENGTH
from django_dbos.core.names import MAX_VERSION_LENGTH
from django_dbos.core.recovery import SUSPECT_ATTEMPTS
from django_dbos.fields import InstantField, KeyField
from django_dbos.models.base import EngineQuerySet, EngineRow, error_of, value_of
from django_dbos.models.handle import Handle

ACTIVE = sorted(statuses.ACTIVE)


def _comparisons(place: Any, value: Any) -> Iterator[Any]:
    """Yield the conditions by which JSON has a value in a place: of a dict, key by key."""
    if not isinstance(value, dict):
        yield KeyTransformExact(place, Value(value, models.JSONField()))
        return
    for key, part in value.items():
        yield from _comparisons(KeyTransform(key, place), part)


class WorkflowQuerySet(EngineQuerySet["Workflow"]):
    """Workflows, and operations on many of them."""

    def active(self) -> WorkflowQuerySet:
        """Return the unfinished workflows: enqueued, delayed, pending or waiting."""
        return self.filter(status__in=ACTIVE)

    def with_attributes(self, **attributes: Any) -> WorkflowQuerySet:
        """Return the workflows that have all these attributes, with these values.

        A dict as a value asks for a part of a dict: its keys, with these values. On PostgreSQL an
        index finds them.

        Example:
            Workflow.objects.with_attributes(order=17, address={"city": "Oslo"})
        """
        if not attributes:
            return self
        if connections[self.db].features.supports_json_field_contains:
            # The index has only the rows with attributes.
            return self.filter(attributes__isnull=False, attributes__contains=attributes)
        return self.filter(*_comparisons(F("attributes"), attributes))

    def cancel(self, *, children: bool = False) -> dict[str, bool]:
        """Cancel each workflow; with `children` also the workflows that it started.

        Returns:
            By workflow id, whether the workflow was still active.
        """
        return get_engine().cancel(self._ids(), children=children)

    def resume(self, *, queue_name: str | None = None) -> dict[str, bool]:
        """Resume each workflow; with `queue_name` in that queue.

        Returns:
            By workflow id, whether the workflow could be resumed.
        """
        return get_engine().resume(self._ids(), queue_name=queue_name)

    def retry(self, *, children: bool = False) -> dict[str, bool]:
        """Retry each workflow that has failed, one by one: see WorkflowHandle.retry().

        Returns:
            By workflow id, whether the workflow could be retried.
        """
        return get_engine().retry(self._ids(), children=children)

    def fork(
        self, from_step: int | None = None, *, from_failure: bool = False, **options: Any
    ) -> dict[str, Handle | None]:
        """Fork each workflow, one by one: see WorkflowHandle.fork().

        Args:
            from_step: The number of the first step that runs in the forks.
            from_failure: True forks each from the step that failed.
            options: See ForkOptions; ids can't be given.

        Returns:
            By workflow id, the handle of its fork; None if it could not be forked.
        """
        return get_engine().fork(
            self._ids(), from_step=from_step, from_failure=from_failure, options=options
        )

    def delete_finished(self, *, children: bool = False) -> dict[str, bool]:
        """Delete each workflow that has ended, one by one: see WorkflowHandle.delete().

        The manager hasn't this method, so that all can't go by a filter that was forgotten.

        Returns:
            By workflow id, whether the workflow could be deleted.
        """
        return get_engine().delete(self._ids(), children=children)

    # As Django's delete(): who wants all writes all().
    delete_finished.queryset_only = True  # type: ignore[attr-defined]

    def _ids(self) -> list[str]:
        return list(self.values_list("workflow_id", flat=True))


class Workflow(EngineRow):
    """One durable execution of a workflow function.

    `claim_number` is raised whenever the right to run the workflow is given or taken, and is never
    reset: every write of a run carries it (the fence). `recovery_attempts` counts the executors in
    a row that died without recording anything for it.
    """

    class Status(models.TextChoices):
        ENQUEUED = statuses.Status.ENQUEUED.value, _("queued")
        DELAYED = statuses.Status.DELAYED.value, _("delayed")
        PENDING = statuses.Status.PENDING.value, _("running")
        WAITING = statuses.Status.WAITING.value, _("waiting")
        SUCCESS = statuses.Status.SUCCESS.value, _("succeeded")
        ERROR = statuses.Status.ERROR.value, _("failed")
        CANCELLED = statuses.Status.CANCELLED.value, _("cancelled")
        MAX_RECOVERY_ATTEMPTS_EXCEEDED = (
            statuses.Status.MAX_RECOVERY_ATTEMPTS_EXCEEDED.value,
            _("given up"),
        )

    workflow_id = KeyField(_("workflow id"), max_length=MAX_ID_LENGTH, primary_key=True)
    token = models.UUIDField(
        _("token"), help_text=_("Distinguishes this workflow from a later one with the same id.")
    )
    name = KeyField(_("name"), max_length=255)
    version = KeyField(
        _("version"),
        max_length=MAX_VERSION_LENGTH,
        null=True,
        help_text=_("The version of the function that runs it; empty if it has no versions."),
    )
    status = KeyField(_("status"), max_length=30, choices=Status.choices)
    is_quarantined = models.BooleanField(
        _("quarantined"),
        db_default=False,
        help_text=_("The engine stopped it (see the error); resume it after a fix."),
    )

    queue_name = KeyField(_("queue"), max_length=255)
    priority = models.SmallIntegerField(_("priority"), db_default=0)
    queue_sequence = models.BigIntegerField(_("queue position"))
    partition_key = KeyField(_("partition key"), max_length=255, db_default="")
    place = models.SmallIntegerField(
        _("place"),
        db_default=0,
        help_text=_("In its queue's limits: 1 while it runs, 2 until it ends, 0 for none."),
    )
    deduplication_id = KeyField(_("deduplication id"), max_length=255, null=True)
    unique_until = InstantField(_("unique until"), null=True)
    debounce_key = KeyField(_("debounce key"), max_length=255, null=True)
    debounce_until = InstantField(_("debounced until"), null=True)
    schedule_name = KeyField(_("schedule"), max_length=255, null=True)
    scheduled_at = InstantField(_("scheduled at"), null=True)

    run_number = models.IntegerField(
        _("run"), db_default=1, help_text=_("Counts the calls of continue_as_new().")
    )
    steps_before = models.IntegerField(_("steps of past runs"), db_default=0)

    input_text = models.TextField(_("input"), db_column="input")
    output_text = models.TextField(_("output"), db_column="output", null=True)
    error_text = models.TextField(_("error"), db_column="error", null=True)
    user_id = KeyField(_("user id"), max_length=255, null=True)
    attributes = models.JSONField(_("attributes"), null=True)
    traceparent = KeyField(
        _("trace context"), max_length=55, null=True, help_text=_("As W3C's traceparent.")
    )

    executor_id = KeyField(_("executor"), max_length=255, null=True)
    claim_number = models.IntegerField(_("claim number"), db_default=0)
    recovery_attempts = models.IntegerField(_("recovery attempts"), db_default=0)
    max_recovery_attempts = models.IntegerField(_("max recovery attempts"), null=True)

    parent_id = KeyField(_("parent"), max_length=MAX_ID_LENGTH, null=True)
    parent_step_number = models.IntegerField(_("parent's step"), null=True)
    forked_from = KeyField(_("forked from"), max_length=MAX_ID_LENGTH, null=True)
    forked_at_step = models.IntegerField(_("forked at step"), null=True)

    wake_kind = KeyField(_("waits for"), max_length=10, null=True)
    wake_workflow_id = KeyField(_("waits for workflow"), max_length=MAX_ID_LENGTH, null=True)
    wake_name = KeyField(_("waits for name"), max_length=255, null=True)
    wake_offset = models.IntegerField(_("waits for offset"), null=True)
    due_at = InstantField(_("due at"), null=True)
    timeout = models.DurationField(_("timeout"), null=True)
    deadline_at = InstantField(_("deadline"), null=True)

    created_at = InstantField(_("created at"))
    started_at = InstantField(_("started at"), null=True)
    finished_at = InstantField(_("finished at"), null=True)

    objects: ClassVar[WorkflowQuerySet] = WorkflowQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "dbos_workflow"
        verbose_name = _("workflow")
        verbose_name_plural = _("workflows")
        default_permissions = ("view",)
        permissions = (
            ("cancel_workflow", "Can cancel workflow"),
            ("resume_workflow", "Can resume workflow"),
            ("retry_workflow", "Can retry workflow"),
            ("fork_workflow", "Can fork workflow"),
            ("rewind_workflow", "Can rewind workflow"),
            ("delete_workflow", "Can delete workflow"),
            ("reschedule_workflow", "Can change when a delayed workflow starts"),
            ("change_attributes", "Can change the attributes of workflows"),
            ("view_payload", "Can view inputs, outcomes and other values"),
        )
        # Most are partial, on live states: a finished workflow has left them.
        indexes = (
            models.Index(
                fields=("queue_name", "partition_key", "-priority", "queue_sequence"),
                condition=Q(status="ENQUEUED"),
                name="dbos_workflow_lane",
            ),
            # Those of managed queues that have run before. See queue_again.sql.
            models.Index(
                fields=("queue_name", "partition_key"),
                condition=Q(status="ENQUEUED", queue_sequence__lt=0),
                name="dbos_workflow_again",
            ),
            models.Index(
                fields=("queue_name", "partition_key"),
                condition=Q(place__gt=0),
                name="dbos_workflow_place",
            ),
            # Not of all places: counts of a queue's places must not be able to use it.
            models.Index(
                fields=("executor_id",),
                condition=Q(place__gt=0, executor_id__isnull=False),
                name="dbos_workflow_holder",
            ),
            models.Index(
                fields=("queue_name", "queue_sequence"),
                condition=Q(status="ENQUEUED", recovery_attempts__gte=SUSPECT_ATTEMPTS),
                name="dbos_workflow_suspect",
            ),
            models.Index(
                fields=("executor_id",),
                condition=Q(status="PENDING"),
                name="dbos_workflow_executor",
            ),
            models.Index(
                fields=("due_at",),
                condition=Q(status__in=("DELAYED", "WAITING"), due_at__isnull=False),
                name="dbos_workflow_due",
            ),
            models.Index(
                fields=("deadline_at",),
                condition=Q(status__in=ACTIVE, deadline_at__isnull=False),
                name="dbos_workflow_deadline",
            ),
            models.Index(
                fields=("wake_workflow_id", "wake_kind", "wake_name"),
                condition=Q(status="WAITING", wake_workflow_id__isnull=False),
                name="dbos_workflow_wake",
            ),
            models.Index(
                fields=("parent_id", "parent_step_number"),
                condition=Q(parent_id__isnull=False),
                name="dbos_workflow_parent",
            ),
            models.Index(
                fields=("forked_from",),
                condition=Q(forked_from__isnull=False),
                name="dbos_workflow_forks",
            ),
            models.Index(
                fields=("status", "created_at"),
                condition=Q(status__in=("CANCELLED", "ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")),
                name="dbos_workflow_failed",
            ),
            models.Index(
                fields=("schedule_name", "created_at"),
                condition=Q(schedule_name__isnull=False),
                name="dbos_workflow_schedule",
            ),
            models.Index(
                fields=("schedule_name",),
                condition=Q(status__in=ACTIVE, schedule_name__isnull=False),
                name="dbos_workflow_scheduled",
            ),
            # The list of the admin finds rare names and queues without reading rows: it compares
            # the entries of this index from the newest on, at 50 ms a million. On PostgreSQL, a
            # migration collates both as "POSIX", and admin.searching.is_named compares alike:
            # claims must not be able to use it.
            models.Index(fields=("created_at", "name", "queue_name"), name="dbos_workflow_created"),
            # The next two are the admin's; on PostgreSQL, a migration adds one of attributes.
            models.Index(
                fields=("finished_at",),
                condition=Q(status__in=("ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")),
                name="dbos_workflow_failed_at",
            ),
            models.Index(
                fields=("created_at",),
                condition=Q(is_quarantined=True),
                name="dbos_workflow_quarantined",
            ),
        )
        constraints = (
            # One with `unique_until` keeps its id after its end, until a start finds it expired.
            models.UniqueConstraint(
                fields=("queue_name", "deduplication_id"),
                condition=Q(deduplication_id__isnull=False)
                & (Q(status__in=ACTIVE) | Q(unique_until__isnull=False)),
                name="dbos_workflow_deduplication",
            ),
            models.UniqueConstraint(
                fields=("name", "debounce_key"),
                condition=Q(status="DELAYED", debounce_key__isnull=False),
                name="dbos_workflow_debounce",
            ),
            models.CheckConstraint(condition=~Q(workflow_id=""), name="dbos_workflow_id_not_empty"),
        )

    def __str__(self) -> str:
        return str(self.workflow_id)

    @property
    def handle(self) -> Handle:
        """The WorkflowHandle by which to follow and control this workflow."""
        handle: Handle = get_engine().handle(self.workflow_id)
        return handle

    @property
    def is_active(self) -> bool:
        """True if the workflow hasn't finished."""
        return self.status in statuses.ACTIVE

    @property
    def input(self) -> dict[str, Any]:
        """The arguments of the start: {"args": […], "kwargs": {…}}."""
        return value_of(self.input_text)  # type: ignore[no-any-return]

    @property
    def output(self) -> Any:
        """The value that the function returned; also None while there is none."""
        return value_of(self.output_text)

    @property
    def error(self) -> BaseException | None:
        """The exception that the function raised, as `get_result()` raises it; else None."""
        return error_of(self.error_text)
