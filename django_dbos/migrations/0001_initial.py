from typing import Any

from django.db import migrations, models, router
from django.db.migrations.operations.base import Operation

import django_dbos.core.status
import django_dbos.fields


class CreateQueueSequence(Operation):
    """Places in the queues come from a sequence; SQLite keeps them in `dbos_sequence`.

    Where tables are made without migrations, `post_migrate` makes it.
    """

    reduces_to_sql = True
    reversible = True

    def state_forwards(self, app_label: str, state: Any) -> None:
        """Leave the state unchanged: no model has this."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        if self._is_here(app_label, schema_editor):
            schema_editor.execute("CREATE SEQUENCE dbos_queue_sequence CACHE 1")

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        if self._is_here(app_label, schema_editor):
            schema_editor.execute("DROP SEQUENCE dbos_queue_sequence")

    def describe(self) -> str:
        return "Create the sequence dbos_queue_sequence"

    def _is_here(self, app_label: str, schema_editor: Any) -> bool:
        connection = schema_editor.connection
        return connection.vendor == "postgresql" and router.allow_migrate(
            connection.alias, app_label
        )


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="AtomicCheckpoint",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "token",
                        "step_number",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("token", models.UUIDField(verbose_name="workflow's token")),
                ("step_number", models.IntegerField(verbose_name="step number")),
                (
                    "step_name",
                    django_dbos.fields.KeyField(max_length=255, verbose_name="step name"),
                ),
                ("output", models.TextField(null=True, verbose_name="output")),
                ("recorded_at", django_dbos.fields.InstantField(verbose_name="recorded at")),
            ],
            options={
                "verbose_name": "atomic checkpoint",
                "verbose_name_plural": "atomic checkpoints",
                "db_table": "dbos_atomic_checkpoint",
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="Checkpoint",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "workflow_id",
                        "step_number",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "workflow_id",
                    django_dbos.fields.KeyField(max_length=255, verbose_name="workflow id"),
                ),
                ("step_number", models.IntegerField(verbose_name="step number")),
                (
                    "step_name",
                    django_dbos.fields.KeyField(max_length=255, verbose_name="step name"),
                ),
                (
                    "state",
                    models.SmallIntegerField(
                        choices=[
                            (0, "recorded"),
                            (1, "waiting"),
                            (2, "timed out"),
                            (3, "awaited workflow cancelled"),
                            (4, "awaited workflow exceeded its recovery attempts"),
                        ],
                        db_default=0,
                        verbose_name="state",
                    ),
                ),
                (
                    "fingerprint",
                    django_dbos.fields.KeyField(
                        max_length=32, null=True, verbose_name="fingerprint of the arguments"
                    ),
                ),
                ("output", models.TextField(null=True, verbose_name="output")),
                ("error", models.TextField(null=True, verbose_name="error")),
                (
                    "child_workflow_id",
                    django_dbos.fields.KeyField(
                        max_length=255, null=True, verbose_name="other workflow"
                    ),
                ),
                ("record_order", models.IntegerField(verbose_name="record order")),
                ("claim_number", models.IntegerField(verbose_name="claim number")),
                ("attempts", models.SmallIntegerField(db_default=1, verbose_name="attempts")),
                (
                    "deadline_at",
                    django_dbos.fields.InstantField(null=True, verbose_name="deadline of the wait"),
                ),
                (
                    "started_at",
                    django_dbos.fields.InstantField(null=True, verbose_name="started at"),
                ),
                ("recorded_at", django_dbos.fields.InstantField(verbose_name="recorded at")),
            ],
            options={
                "verbose_name": "checkpoint",
                "verbose_name_plural": "checkpoints",
                "db_table": "dbos_checkpoint",
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="EventVersion",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "workflow_id",
                        "key",
                        "version",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "workflow_id",
                    django_dbos.fields.KeyField(max_length=255, verbose_name="workflow id"),
                ),
                ("key", django_dbos.fields.KeyField(max_length=255, verbose_name="key")),
                ("version", models.IntegerField(verbose_name="version")),
                ("value", models.TextField(verbose_name="value")),
                ("step_number", models.IntegerField(verbose_name="step number")),
                ("write_id", models.UUIDField(verbose_name="write id")),
                ("created_at", django_dbos.fields.InstantField(verbose_name="set at")),
            ],
            options={
                "verbose_name": "event version",
                "verbose_name_plural": "event versions",
                "db_table": "dbos_event_version",
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="Executor",
            fields=[
                (
                    "executor_id",
                    django_dbos.fields.KeyField(
                        max_length=255,
                        primary_key=True,
                        serialize=False,
                        verbose_name="executor id",
                    ),
                ),
                ("hostname", django_dbos.fields.KeyField(max_length=255, verbose_name="host name")),
                ("pid", models.IntegerField(verbose_name="process id")),
                (
                    "is_inline",
                    models.BooleanField(
                        db_default=False,
                        help_text="A web process that runs workflows inline.",
                        verbose_name="inline",
                    ),
                ),
                (
                    "queue_names",
                    models.JSONField(
                        help_text="Empty for all queues.", null=True, verbose_name="queues"
                    ),
                ),
                ("concurrency", models.IntegerField(verbose_name="concurrency")),
                (
                    "has_lock",
                    models.BooleanField(
                        db_default=False,
                        help_text="It holds a session lock, free as soon as its process dies.",
                        verbose_name="holds a lock",
                    ),
                ),
                ("lock_key", models.BigIntegerField(verbose_name="lock key")),
                ("lease", models.DurationField(verbose_name="lease")),
                ("started_at", django_dbos.fields.InstantField(verbose_name="started at")),
                ("heartbeat_at", django_dbos.fields.InstantField(verbose_name="last heartbeat")),
            ],
            options={
                "verbose_name": "executor",
                "verbose_name_plural": "executors",
                "db_table": "dbos_executor",
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="Sequence",
            fields=[
                (
                    "name",
                    django_dbos.fields.KeyField(max_length=30, primary_key=True, serialize=False),
                ),
                ("value", models.BigIntegerField()),
            ],
            options={
                "db_table": "dbos_sequence",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="StreamEntry",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "workflow_id",
                        "key",
                        "offset",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "workflow_id",
                    django_dbos.fields.KeyField(max_length=255, verbose_name="workflow id"),
                ),
                ("key", django_dbos.fields.KeyField(max_length=255, verbose_name="key")),
                ("offset", models.IntegerField(verbose_name="offset")),
                ("value", models.TextField(null=True, verbose_name="value")),
                ("is_end", models.BooleanField(db_default=False, verbose_name="end of the stream")),
                ("step_number", models.IntegerField(verbose_name="step number")),
                ("write_id", models.UUIDField(verbose_name="write id")),
                ("created_at", django_dbos.fields.InstantField(verbose_name="written at")),
            ],
            options={
                "verbose_name": "stream entry",
                "verbose_name_plural": "stream entries",
                "db_table": "dbos_stream_entry",
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="Event",
            fields=[
                (
                    "event_id",
                    models.BigAutoField(primary_key=True, serialize=False, verbose_name="event id"),
                ),
                (
                    "workflow_id",
                    django_dbos.fields.KeyField(max_length=255, verbose_name="workflow id"),
                ),
                ("key", django_dbos.fields.KeyField(max_length=255, verbose_name="key")),
                ("value", models.TextField(verbose_name="value")),
                ("version", models.IntegerField(verbose_name="version")),
                ("updated_at", django_dbos.fields.InstantField(verbose_name="updated at")),
            ],
            options={
                "verbose_name": "event",
                "verbose_name_plural": "events",
                "db_table": "dbos_event",
                "default_permissions": ("view",),
                "constraints": [
                    models.UniqueConstraint(fields=("workflow_id", "key"), name="dbos_event_key")
                ],
            },
        ),
        migrations.CreateModel(
            name="Message",
            fields=[
                (
                    "message_id",
                    models.BigAutoField(
                        primary_key=True, serialize=False, verbose_name="message id"
                    ),
                ),
                (
                    "workflow_id",
                    django_dbos.fields.KeyField(max_length=255, verbose_name="receiver"),
                ),
                (
                    "topic",
                    django_dbos.fields.KeyField(
                        help_text="Empty for a message without a topic.",
                        max_length=255,
                        verbose_name="topic",
                    ),
                ),
                ("message", models.TextField(verbose_name="message")),
                (
                    "idempotency_key",
                    django_dbos.fields.KeyField(
                        max_length=255, null=True, verbose_name="idempotency key"
                    ),
                ),
                (
                    "sender_id",
                    django_dbos.fields.KeyField(
                        max_length=255, null=True, verbose_name="sending workflow"
                    ),
                ),
                ("created_at", django_dbos.fields.InstantField(verbose_name="sent at")),
                (
                    "consumed_at",
                    django_dbos.fields.InstantField(null=True, verbose_name="consumed at"),
                ),
                (
                    "consumed_step_number",
                    models.IntegerField(null=True, verbose_name="consumed by step"),
                ),
            ],
            options={
                "verbose_name": "message",
                "verbose_name_plural": "messages",
                "db_table": "dbos_message",
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("consumed_at__isnull", True)),
                        fields=["workflow_id", "topic", "message_id"],
                        name="dbos_message_unconsumed",
                    ),
                    models.Index(
                        fields=["workflow_id", "message_id"], name="dbos_message_workflow"
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("idempotency_key__isnull", False)),
                        fields=("workflow_id", "idempotency_key"),
                        name="dbos_message_idempotency",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Workflow",
            fields=[
                (
                    "workflow_id",
                    django_dbos.fields.KeyField(
                        max_length=255,
                        primary_key=True,
                        serialize=False,
                        verbose_name="workflow id",
                    ),
                ),
                (
                    "token",
                    models.UUIDField(
                        help_text="Tells this workflow from a later one with the same id.",
                        verbose_name="token",
                    ),
                ),
                ("name", django_dbos.fields.KeyField(max_length=255, verbose_name="name")),
                (
                    "status",
                    django_dbos.fields.KeyField(
                        choices=[
                            ("ENQUEUED", "enqueued"),
                            ("DELAYED", "delayed"),
                            ("PENDING", "pending"),
                            ("WAITING", "waiting"),
                            ("SUCCESS", "success"),
                            ("ERROR", "error"),
                            ("CANCELLED", "cancelled"),
                            ("MAX_RECOVERY_ATTEMPTS_EXCEEDED", "max recovery attempts exceeded"),
                        ],
                        max_length=30,
                        verbose_name="status",
                    ),
                ),
                (
                    "is_set_aside",
                    models.BooleanField(
                        db_default=False,
                        help_text="The engine stopped it (see the error); resume it after a fix.",
                        verbose_name="set aside",
                    ),
                ),
                ("queue_name", django_dbos.fields.KeyField(max_length=255, verbose_name="queue")),
                ("priority", models.SmallIntegerField(db_default=0, verbose_name="priority")),
                ("queue_sequence", models.BigIntegerField(verbose_name="place in the queue")),
                (
                    "deduplication_id",
                    django_dbos.fields.KeyField(
                        max_length=255, null=True, verbose_name="deduplication id"
                    ),
                ),
                ("input", models.TextField(verbose_name="input")),
                ("output", models.TextField(null=True, verbose_name="output")),
                ("error", models.TextField(null=True, verbose_name="error")),
                (
                    "user_id",
                    django_dbos.fields.KeyField(max_length=255, null=True, verbose_name="user id"),
                ),
                ("attributes", models.JSONField(null=True, verbose_name="attributes")),
                (
                    "executor_id",
                    django_dbos.fields.KeyField(max_length=255, null=True, verbose_name="executor"),
                ),
                ("claim_number", models.IntegerField(db_default=0, verbose_name="claim number")),
                (
                    "recovery_attempts",
                    models.IntegerField(db_default=0, verbose_name="recovery attempts"),
                ),
                (
                    "max_recovery_attempts",
                    models.IntegerField(null=True, verbose_name="max recovery attempts"),
                ),
                (
                    "parent_id",
                    django_dbos.fields.KeyField(max_length=255, null=True, verbose_name="parent"),
                ),
                (
                    "parent_step_number",
                    models.IntegerField(null=True, verbose_name="parent's step"),
                ),
                (
                    "wake_kind",
                    django_dbos.fields.KeyField(max_length=10, null=True, verbose_name="waits for"),
                ),
                (
                    "wake_workflow_id",
                    django_dbos.fields.KeyField(
                        max_length=255, null=True, verbose_name="waits for workflow"
                    ),
                ),
                (
                    "wake_name",
                    django_dbos.fields.KeyField(
                        max_length=255, null=True, verbose_name="waits for name"
                    ),
                ),
                ("due_at", django_dbos.fields.InstantField(null=True, verbose_name="due at")),
                ("timeout", models.DurationField(null=True, verbose_name="timeout")),
                (
                    "deadline_at",
                    django_dbos.fields.InstantField(null=True, verbose_name="deadline"),
                ),
                ("created_at", django_dbos.fields.InstantField(verbose_name="created at")),
                (
                    "started_at",
                    django_dbos.fields.InstantField(null=True, verbose_name="started at"),
                ),
                (
                    "finished_at",
                    django_dbos.fields.InstantField(null=True, verbose_name="finished at"),
                ),
            ],
            options={
                "verbose_name": "workflow",
                "verbose_name_plural": "workflows",
                "db_table": "dbos_workflow",
                "permissions": (
                    ("cancel_workflow", "Can cancel workflow"),
                    ("resume_workflow", "Can resume workflow"),
                ),
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("status", "ENQUEUED")),
                        fields=["queue_name", "priority", "queue_sequence"],
                        name="dbos_workflow_queue",
                    ),
                    models.Index(
                        condition=models.Q(("recovery_attempts__gte", 3), ("status", "ENQUEUED")),
                        fields=["queue_name", "queue_sequence"],
                        name="dbos_workflow_suspect",
                    ),
                    models.Index(
                        condition=models.Q(("status", "PENDING")),
                        fields=["executor_id"],
                        name="dbos_workflow_executor",
                    ),
                    models.Index(
                        condition=models.Q(
                            ("due_at__isnull", False), ("status__in", ("DELAYED", "WAITING"))
                        ),
                        fields=["due_at"],
                        name="dbos_workflow_due",
                    ),
                    models.Index(
                        condition=models.Q(
                            ("deadline_at__isnull", False),
                            (
                                "status__in",
                                [
                                    django_dbos.core.status.Status["DELAYED"],
                                    django_dbos.core.status.Status["ENQUEUED"],
                                    django_dbos.core.status.Status["PENDING"],
                                    django_dbos.core.status.Status["WAITING"],
                                ],
                            ),
                        ),
                        fields=["deadline_at"],
                        name="dbos_workflow_deadline",
                    ),
                    models.Index(
                        condition=models.Q(
                            ("status", "WAITING"), ("wake_workflow_id__isnull", False)
                        ),
                        fields=["wake_workflow_id", "wake_kind", "wake_name"],
                        name="dbos_workflow_wake",
                    ),
                    models.Index(
                        condition=models.Q(("parent_id__isnull", False)),
                        fields=["parent_id", "parent_step_number"],
                        name="dbos_workflow_parent",
                    ),
                    models.Index(
                        condition=models.Q(
                            ("status__in", ("CANCELLED", "ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"))
                        ),
                        fields=["status", "created_at"],
                        name="dbos_workflow_failed",
                    ),
                    models.Index(fields=["created_at"], name="dbos_workflow_created"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(
                            ("deduplication_id__isnull", False),
                            (
                                "status__in",
                                [
                                    django_dbos.core.status.Status["DELAYED"],
                                    django_dbos.core.status.Status["ENQUEUED"],
                                    django_dbos.core.status.Status["PENDING"],
                                    django_dbos.core.status.Status["WAITING"],
                                ],
                            ),
                        ),
                        fields=("queue_name", "deduplication_id"),
                        name="dbos_workflow_deduplication",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("workflow_id", ""), _negated=True),
                        name="dbos_workflow_id_not_empty",
                    ),
                ],
            },
        ),
        CreateQueueSequence(),
    ]
