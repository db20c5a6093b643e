"""Forks know their originals; permissions to retry, fork, rewind and delete workflows."""

from django.db import migrations, models

import django_dbos.fields


class Migration(migrations.Migration):
    dependencies = [
        ("django_dbos", "0018_executor_versions"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="workflow",
            options={
                "default_permissions": ("view",),
                "permissions": (
                    ("cancel_workflow", "Can cancel workflow"),
                    ("resume_workflow", "Can resume workflow"),
                    ("retry_workflow", "Can retry workflow"),
                    ("fork_workflow", "Can fork workflow"),
                    ("rewind_workflow", "Can rewind workflow"),
                    ("delete_workflow", "Can delete workflow"),
                    (
                        "reschedule_workflow",
                        "Can change when a delayed workflow starts",
                    ),
                    ("view_payload", "Can view inputs, outcomes and other values"),
                ),
                "verbose_name": "workflow",
                "verbose_name_plural": "workflows",
            },
        ),
        migrations.AddField(
            model_name="workflow",
            name="forked_from",
            field=django_dbos.fields.KeyField(
                max_length=255, null=True, verbose_name="forked from"
            ),
        ),
        migrations.AddField(
            model_name="workflow",
            name="forked_at_step",
            field=models.IntegerField(null=True, verbose_name="forked at step"),
        ),
        migrations.AddIndex(
            model_name="workflow",
            index=models.Index(
                condition=models.Q(("forked_from__isnull", False)),
                fields=["forked_from"],
                name="dbos_workflow_forks",
            ),
        ),
    ]
