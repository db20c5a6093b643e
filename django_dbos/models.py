"""What is stored: seven tables of the workflow database, and one of each step database.

The ORM is the query API: `Workflow.objects.filter(status=...)`. Rows are changed by the
engine alone: `save`, `delete`, `update` and `bulk_*` raise and say what to call instead.

A column of serialized text is a field that ends in `_text`, such as `output_text`; the property
without that ending, `output`, reads its value. It does so each time it is asked for, and raises
SerializationError for what can't be read here.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, ClassVar, NoReturn, TypeVar

from django.conf import settings
from django.db import models
from django.db.models import Case, F, Q, When
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_dbos import serializers
from django_dbos.core import status as statuses
from django_dbos.core.engine import get_engine
from django_dbos.core.ids import MAX_ID_LENGTH
from django_dbos.fields import DatabaseNow, InstantField, KeyField

M = TypeVar("M", bound=models.Model)

ACTIVE = sorted(statuses.ACTIVE)
# How many dead claims without progress make a workflow a suspect, run one at a time.
SUSPECT_ATTEMPTS = 3


def _value(text: str | None) -> Any:
    return None if text is None else serializers.loads(text)


def _error(text: str | None) -> BaseException | None:
    return None if text is None else serializers.load_error_or_stand_in(text)


def _refusal(model: type[models.Model], operation: str) -> TypeError:
    return TypeError(
        f"{model.__name__}: {operation}() isn't allowed. Rows of the engine change through its "
        "functions: start, send, handle.cancel(), handle.resume() and so on."
    )


class EngineQuerySet(models.QuerySet[M]):
    """Reads everything, changes nothing."""

    def _refuse(self, operation: str) -> NoReturn:
        raise _refusal(self.model, operation)

    def create(self, **kwargs: Any) -> M:
        self._refuse("create")

    def get_or_create(self, *args: Any, **kwargs: Any) -> tuple[M, bool]:
        self._refuse("get_or_create")

    def update_or_create(self, *args: Any, **kwargs: Any) -> tuple[M, bool]:
        self._refuse("update_or_create")

    def bulk_create(self, *args: Any, **kwargs: Any) -> list[M]:
        self._refuse("bulk_create")

    def bulk_update(self, *args: Any, **kwargs: Any) -> int:
        self._refuse("bulk_update")

    def update(self, **kwargs: Any) -> int:
        self._refuse("update")

    def delete(self) -> tuple[int, dict[str, int]]:
        self._refuse("delete")


class EngineRow(models.Model):
    """A row that only the engine writes."""

    objects = EngineQuerySet.as_manager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        raise _refusal(type(self), "save")

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise _refusal(type(self), "delete")


class WorkflowQuerySet(EngineQuerySet["Workflow"]):
    """Workflows, and what may be asked of many at once."""

    def active(self) -> WorkflowQuerySet:
        """Those that aren't finished: enqueued, delayed, pending or waiting."""
        return self.filter(status__in=ACTIVE)

    def cancel(self, *, children: bool = False) -> dict[str, bool]:
        """Cancel each; returns by workflow id whether it was still active."""
        return get_engine().cancel(self._ids(), children=children)

    def resume(self) -> dict[str, bool]:
        """Resume each; the answer says by workflow id whether it could be resumed."""
        return get_engine().resume(self._ids())

    def _ids(self) -> list[str]:
        return list(self.values_list("workflow_id", flat=True))


class Workflow(EngineRow):
    """One durable execution of a workflow function.

    `claim_number` is raised by whatever gives or takes the right to run it, and is never
    reset: every write of a run carries it (the fence). `recovery_attempts` counts the dead
    executors in a row that recorded nothing for it.
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
        _("token"), help_text=_("Tells this workflow from a later one with the same id.")
    )
    name = KeyField(_("name"), max_length=255)
    status = KeyField(_("status"), max_length=30, choices=Status.choices)
    is_quarantined = models.BooleanField(
        _("quarantined"),
        db_default=False,
        help_text=_("The engine stopped it (see the error); resume it after a fix."),
    )

    queue_name = KeyField(_("queue"), max_length=255)
    priority = models.SmallIntegerField(_("priority"), db_default=0)
    queue_sequence = models.BigIntegerField(_("place in the queue"))
    deduplication_id = KeyField(_("deduplication id"), max_length=255, null=True)

    input_text = models.TextField(_("input"), db_column="input")
    output_text = models.TextField(_("output"), db_column="output", null=True)
    error_text = models.TextField(_("error"), db_column="error", null=True)
    user_id = KeyField(_("user id"), max_length=255, null=True)
    attributes = models.JSONField(_("attributes"), null=True)

    executor_id = KeyField(_("executor"), max_length=255, null=True)
    claim_number = models.IntegerField(_("claim number"), db_default=0)
    recovery_attempts = models.IntegerField(_("recovery attempts"), db_default=0)
    max_recovery_attempts = models.IntegerField(_("max recovery attempts"), null=True)

    parent_id = KeyField(_("parent"), max_length=MAX_ID_LENGTH, null=True)
    parent_step_number = models.IntegerField(_("parent's step"), null=True)

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
        )
        # All but `created` are partial on live states: a finished workflow has left them.
        indexes = (
            models.Index(
                fields=("queue_name", "priority", "queue_sequence"),
                condition=Q(status="ENQUEUED"),
                name="dbos_workflow_queue",
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
                fields=("status", "created_at"),
                condition=Q(status__in=("CANCELLED", "ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")),
                name="dbos_workflow_failed",
            ),
            models.Index(fields=("created_at",), name="dbos_workflow_created"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=("queue_name", "deduplication_id"),
                condition=Q(status__in=ACTIVE, deduplication_id__isnull=False),
                name="dbos_workflow_deduplication",
            ),
            models.CheckConstraint(condition=~Q(workflow_id=""), name="dbos_workflow_id_not_empty"),
        )

    def __str__(self) -> str:
        return str(self.workflow_id)

    @property
    def handle(self) -> Any:
        """The WorkflowHandle that follows this workflow, and tells it something."""
        return get_engine().handle(self.workflow_id)

    @property
    def is_active(self) -> bool:
        """Whether it isn't finished."""
        return self.status in statuses.ACTIVE

    @property
    def input(self) -> dict[str, Any]:
        """The arguments that it was started with: {"args": […], "kwargs": {…}}."""
        return _value(self.input_text)  # type: ignore[no-any-return]

    @property
    def output(self) -> Any:
        """The value that it returned; None as well while there is none."""
        return _value(self.output_text)

    @property
    def error(self) -> BaseException | None:
        """The exception that it raised, as `get_result()` raises it; None if it raised none."""
        return _error(self.error_text)


class Checkpoint(EngineRow):
    """The recorded outcome of one step, or the deadline of a wait that isn't over.

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
        """The value that was recorded; None as well while there is none."""
        return _value(self.output_text)

    @property
    def error(self) -> BaseException | None:
        """The exception that was recorded, if one was."""
        return _error(self.error_text)

    @property
    def attempt_errors(self) -> list[dict[str, Any]]:
        """What attempts at a step that was tried again failed with, the last hundred of them.

        Each as `{"attempt": 1, "error": "ConnectionError: down"}`.
        """
        errors: list[dict[str, Any]] = json.loads(self.attempt_errors_text or "[]")
        return errors


class AtomicCheckpoint(EngineRow):
    """The checkpoint of an atomic step on another database, in that database.

    Written in the step's own transaction, or in one of its own when the step has failed: its key
    is the fence (CORRECTNESS rule 27).
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
        """The value that was recorded; None as well while there is none."""
        return _value(self.output_text)

    @property
    def error(self) -> BaseException | None:
        """What the step raised, if it failed."""
        return _error(self.error_text)


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
        return _value(self.message_text)


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
        return _value(self.value_text)


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
        return _value(self.value_text)


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
        return _value(self.value_text)


class ExecutorQuerySet(EngineQuerySet["Executor"]):
    """Executors, and whether they live."""

    def judged(self) -> Any:
        """Each with `heard_at`, None once it was declared dead, and the database's time as `now`.

        `heartbeat_at` itself is left out: those declared dead have PostgreSQL's -infinity in it,
        which is no instant of Python's.
        """
        heard_at = Case(When(heartbeat_at__gt=_first_day(), then=F("heartbeat_at")))
        return self.defer("heartbeat_at").annotate(heard_at=heard_at, now=DatabaseNow())


def _first_day() -> datetime:
    day = datetime(1, 1, 2, tzinfo=UTC)
    return day if settings.USE_TZ else timezone.make_naive(day, UTC)


class Executor(EngineRow):
    """A process that runs workflows; its row goes when it stops or is declared dead."""

    executor_id = KeyField(_("executor id"), max_length=255, primary_key=True)
    hostname = KeyField(_("host name"), max_length=255)
    pid = models.IntegerField(_("process id"))
    is_inline = models.BooleanField(
        _("inline"), db_default=False, help_text=_("A web process that runs workflows inline.")
    )
    queue_names = models.JSONField(_("queues"), null=True, help_text=_("Empty for all queues."))
    workflow_names = models.JSONField(
        _("workflow functions"),
        null=True,
        help_text=_("The names that it knows; empty if they are too many to list."),
    )
    concurrency = models.IntegerField(_("concurrency"))
    has_lock = models.BooleanField(
        _("holds a lock"),
        db_default=False,
        help_text=_("It holds a session lock, free as soon as its process dies."),
    )
    lock_key = models.BigIntegerField(_("lock key"))
    lease = models.DurationField(_("lease"))
    started_at = InstantField(_("started at"))
    heartbeat_at = InstantField(_("last heartbeat"))

    objects: ClassVar[ExecutorQuerySet] = ExecutorQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "dbos_executor"
        verbose_name = _("executor")
        verbose_name_plural = _("executors")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return str(self.executor_id)

    @property
    def is_live(self) -> bool:
        """Whether it was heard of within its lease; for rows that `judged()` has read."""
        row: Any = self
        return row.heard_at is not None and bool(row.now - row.heard_at <= row.lease)


class Sequence(EngineRow):
    """Places in the queues, where the database has no sequences (SQLite)."""

    name = KeyField(max_length=30, primary_key=True)
    value = models.BigIntegerField()

    class Meta:
        db_table = "dbos_sequence"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.name} {self.value}"
