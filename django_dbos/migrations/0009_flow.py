"""Queues with limits, partition keys, places, debounced and scheduled starts."""

from django.db import migrations, models

import django_dbos.fields


class Migration(migrations.Migration):
    dependencies = [
        ("django_dbos", "0008_labels"),
    ]

    operations = [
        migrations.CreateModel(
            name="Queue",
            fields=[
                (
                    "name",
                    django_dbos.fields.KeyField(
                        max_length=255, primary_key=True, serialize=False, verbose_name="name"
                    ),
                ),
                (
                    "declared",
                    models.JSONField(
                        help_text='As in DBOS["QUEUES"].', null=True, verbose_name="declared"
                    ),
                ),
                (
                    "edited",
                    models.JSONField(
                        help_text="Options changed since.", null=True, verbose_name="edited"
                    ),
                ),
                ("concurrency", models.IntegerField(null=True, verbose_name="concurrency")),
                (
                    "worker_concurrency",
                    models.IntegerField(null=True, verbose_name="concurrency of a worker"),
                ),
                ("rate_count", models.IntegerField(null=True, verbose_name="starts per period")),
                (
                    "rate_period",
                    models.FloatField(help_text="In seconds.", null=True, verbose_name="period"),
                ),
                (
                    "partition_concurrency",
                    models.IntegerField(null=True, verbose_name="concurrency of a partition"),
                ),
                (
                    "partition_rate_count",
                    models.IntegerField(null=True, verbose_name="starts of a partition per period"),
                ),
                (
                    "partition_rate_period",
                    models.FloatField(
                        help_text="In seconds.", null=True, verbose_name="period of partitions"
                    ),
                ),
                (
                    "hold_while_waiting",
                    models.BooleanField(
                        db_default=False,
                        help_text="A waiting workflow keeps its place until it ends.",
                        verbose_name="hold while waiting",
                    ),
                ),
                (
                    "is_managed",
                    models.BooleanField(
                        db_default=False,
                        help_text="It has a limit, or is paused.",
                        verbose_name="managed",
                    ),
                ),
                ("paused_at", django_dbos.fields.InstantField(null=True, verbose_name="paused at")),
                (
                    "paused_by",
                    models.CharField(max_length=255, null=True, verbose_name="paused by"),
                ),
                ("updated_at", django_dbos.fields.InstantField(verbose_name="updated at")),
            ],
            options={
                "verbose_name": "queue",
                "verbose_name_plural": "queues",
                "db_table": "dbos_queue",
                "permissions": (("pause_queue", "Can pause and resume queue"),),
                "default_permissions": ("view", "change"),
            },
        ),
        migrations.CreateModel(
            name="QueueStart",
            fields=[
                ("queue_start_id", models.BigAutoField(primary_key=True, serialize=False)),
                ("queue_name", django_dbos.fields.KeyField(max_length=255, verbose_name="queue")),
                (
                    "partition_key",
                    django_dbos.fields.KeyField(
                        db_default="", max_length=255, verbose_name="partition key"
                    ),
                ),
                ("last_at", django_dbos.fields.InstantField(verbose_name="last start")),
                ("count", models.IntegerField(verbose_name="starts")),
            ],
            options={
                "verbose_name": "start of a queue",
                "verbose_name_plural": "starts of queues",
                "db_table": "dbos_queue_start",
                "default_permissions": (),
            },
        ),
        migrations.RemoveIndex(
            model_name="workflow",
            name="dbos_workflow_queue",
        ),
        migrations.AddField(
            model_name="workflow",
            name="debounce_key",
            field=django_dbos.fields.KeyField(
                max_length=255, null=True, verbose_name="debounce key"
            ),
        ),
        migrations.AddField(
            model_name="workflow",
            name="debounce_until",
            field=django_dbos.fields.InstantField(null=True, verbose_name="debounced until"),
        ),
        migrations.AddField(
            model_name="workflow",
            name="partition_key",
            field=django_dbos.fields.KeyField(
                db_default="", max_length=255, verbose_name="partition key"
            ),
        ),
        migrations.AddField(
            model_name="workflow",
            name="place",
            field=models.SmallIntegerField(
                db_default=0,
                help_text="In its queue's limits: 1 while it runs, 2 until it ends, 0 for none.",
                verbose_name="place",
            ),
        ),
        migrations.AddField(
            model_name="workflow",
            name="schedule_name",
            field=django_dbos.fields.KeyField(max_length=255, null=True, verbose_name="schedule"),
        ),
        migrations.AddField(
            model_name="workflow",
            name="scheduled_at",
            field=django_dbos.fields.InstantField(null=True, verbose_name="scheduled at"),
        ),
        migrations.AddField(
            model_name="workflow",
            name="unique_until",
            field=django_dbos.fields.InstantField(null=True, verbose_name="unique until"),
        ),
        migrations.AddIndex(
            model_name="workflow",
            index=models.Index(
                condition=models.Q(("status", "ENQUEUED")),
                fields=["queue_name", "partition_key", "-priority", "queue_sequence"],
                name="dbos_workflow_lane",
            ),
        ),
        migrations.AddIndex(
            model_name="workflow",
            index=models.Index(
                condition=models.Q(("queue_sequence__lt", 0), ("status", "ENQUEUED")),
                fields=["queue_name", "partition_key"],
                name="dbos_workflow_again",
            ),
        ),
        migrations.AddIndex(
            model_name="workflow",
            index=models.Index(
                condition=models.Q(("place__gt", 0)),
                fields=["queue_name", "partition_key"],
                name="dbos_workflow_place",
            ),
        ),
        migrations.RemoveConstraint(
            model_name="workflow",
            name="dbos_workflow_deduplication",
        ),
        migrations.AddConstraint(
            model_name="workflow",
            constraint=models.UniqueConstraint(
                condition=models.Q(
                    ("deduplication_id__isnull", False),
                    models.Q(
                        ("status__in", ["DELAYED", "ENQUEUED", "PENDING", "WAITING"]),
                        ("unique_until__isnull", False),
                        _connector="OR",
                    ),
                ),
                fields=("queue_name", "deduplication_id"),
                name="dbos_workflow_deduplication",
            ),
        ),
        migrations.AddConstraint(
            model_name="workflow",
            constraint=models.UniqueConstraint(
                condition=models.Q(("debounce_key__isnull", False), ("status", "DELAYED")),
                fields=("name", "debounce_key"),
                name="dbos_workflow_debounce",
            ),
        ),
        migrations.AddIndex(
            model_name="queuestart",
            index=models.Index(
                fields=["queue_name", "partition_key", "last_at"], name="dbos_queue_start_window"
            ),
        ),
        migrations.AddIndex(
            model_name="queuestart",
            index=models.Index(fields=["queue_name", "last_at"], name="dbos_queue_start_age"),
        ),
    ]
