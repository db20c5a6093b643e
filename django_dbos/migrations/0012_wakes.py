"""A workflow may wait for any of several things."""

from django.db import migrations, models

import django_dbos.fields


class Migration(migrations.Migration):
    dependencies = [("django_dbos", "0011_schedules")]

    operations = [
        migrations.CreateModel(
            name="Wake",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "workflow_id",
                        "part",
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
                ("part", models.IntegerField(verbose_name="part")),
                ("claim_number", models.IntegerField(verbose_name="claim number")),
                (
                    "wake_kind",
                    django_dbos.fields.KeyField(max_length=10, verbose_name="waits for"),
                ),
                (
                    "wake_workflow_id",
                    django_dbos.fields.KeyField(max_length=255, verbose_name="waits for workflow"),
                ),
                (
                    "wake_name",
                    django_dbos.fields.KeyField(max_length=255, verbose_name="waits for name"),
                ),
                ("wake_offset", models.IntegerField(null=True, verbose_name="waits for offset")),
            ],
            options={
                "verbose_name": "awaited thing",
                "verbose_name_plural": "awaited things",
                "db_table": "dbos_wake",
                "default_permissions": (),
                "indexes": [
                    models.Index(fields=["wake_workflow_id"], name="dbos_wake_target"),
                ],
            },
        ),
    ]
