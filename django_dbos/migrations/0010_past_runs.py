"""Workflows that continue as new, and the records of their past runs."""

from django.db import migrations, models

import django_dbos.fields


class Migration(migrations.Migration):
    dependencies = [
        ("django_dbos", "0009_flow"),
    ]

    operations = [
        migrations.AddField(
            model_name="workflow",
            name="run_number",
            field=models.IntegerField(
                db_default=1,
                help_text="Counts the calls of continue_as_new().",
                verbose_name="run",
            ),
        ),
        migrations.AddField(
            model_name="workflow",
            name="steps_before",
            field=models.IntegerField(db_default=0, verbose_name="steps of past runs"),
        ),
        migrations.CreateModel(
            name="PastRun",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "workflow_id",
                        "run_number",
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
                ("run_number", models.IntegerField(verbose_name="run")),
                ("input_text", models.TextField(db_column="input", verbose_name="input")),
                ("steps_before", models.IntegerField(verbose_name="steps before it")),
                ("steps", models.IntegerField(verbose_name="steps")),
                (
                    "started_at",
                    django_dbos.fields.InstantField(null=True, verbose_name="started at"),
                ),
                ("ended_at", django_dbos.fields.InstantField(verbose_name="ended at")),
            ],
            options={
                "verbose_name": "past run",
                "verbose_name_plural": "past runs",
                "db_table": "dbos_past_run",
                "default_permissions": ("view",),
                "indexes": [models.Index(fields=["ended_at"], name="dbos_past_run_ended")],
            },
        ),
    ]
