"""Schedules, and the workflows that they have started."""

from django.db import migrations, models

import django_dbos.fields


class Migration(migrations.Migration):
    dependencies = [
        ("django_dbos", "0010_past_runs"),
    ]

    operations = [
        migrations.CreateModel(
            name="Schedule",
            fields=[
                (
                    "name",
                    django_dbos.fields.KeyField(
                        max_length=200, primary_key=True, serialize=False, verbose_name="name"
                    ),
                ),
                (
                    "workflow_name",
                    django_dbos.fields.KeyField(max_length=255, verbose_name="workflow"),
                ),
                (
                    "declared",
                    models.JSONField(
                        help_text="Options in code or settings.", null=True, verbose_name="declared"
                    ),
                ),
                (
                    "edited",
                    models.JSONField(
                        help_text="Options changed since.", null=True, verbose_name="edited"
                    ),
                ),
                (
                    "settled_at",
                    django_dbos.fields.InstantField(
                        help_text="No instant up to this one is started again.",
                        verbose_name="decided up to",
                    ),
                ),
                ("next_at", django_dbos.fields.InstantField(null=True, verbose_name="next")),
                ("last_at", django_dbos.fields.InstantField(null=True, verbose_name="last")),
                (
                    "last_workflow_id",
                    django_dbos.fields.KeyField(
                        max_length=255, null=True, verbose_name="last workflow"
                    ),
                ),
                (
                    "failures_after",
                    django_dbos.fields.InstantField(
                        help_text="Set when it is resumed.",
                        null=True,
                        verbose_name="failures count after",
                    ),
                ),
                ("paused_at", django_dbos.fields.InstantField(null=True, verbose_name="paused at")),
                (
                    "paused_by",
                    models.CharField(max_length=255, null=True, verbose_name="paused by"),
                ),
                ("paused_reason", models.TextField(null=True, verbose_name="reason of the pause")),
                (
                    "tzdata",
                    django_dbos.fields.KeyField(
                        db_default="",
                        help_text="The version by which the next instant was computed.",
                        max_length=32,
                        verbose_name="time-zone data",
                    ),
                ),
                ("updated_at", django_dbos.fields.InstantField(verbose_name="updated at")),
            ],
            options={
                "verbose_name": "schedule",
                "verbose_name_plural": "schedules",
                "db_table": "dbos_schedule",
                "permissions": (
                    ("pause_schedule", "Can pause and resume schedule"),
                    ("trigger_schedule", "Can trigger and backfill schedule"),
                ),
                "default_permissions": ("view", "change", "delete"),
            },
        ),
        migrations.AddIndex(
            model_name="workflow",
            index=models.Index(
                condition=models.Q(("schedule_name__isnull", False)),
                fields=["schedule_name", "created_at"],
                name="dbos_workflow_schedule",
            ),
        ),
        migrations.AddIndex(
            model_name="workflow",
            index=models.Index(
                condition=models.Q(
                    ("schedule_name__isnull", False),
                    ("status__in", ["DELAYED", "ENQUEUED", "PENDING", "WAITING"]),
                ),
                fields=["schedule_name"],
                name="dbos_workflow_scheduled",
            ),
        ),
        migrations.AddIndex(
            model_name="schedule",
            index=models.Index(
                condition=models.Q(("next_at__isnull", False)),
                fields=["next_at"],
                name="dbos_schedule_next",
            ),
        ),
    ]
