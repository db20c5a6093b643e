"""Executors list the workflow functions that they know."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("django_dbos", "0002_value_texts")]

    operations = [
        migrations.AddField(
            "executor",
            "workflow_names",
            models.JSONField(
                "workflow functions",
                help_text="The names that it knows; empty if they are too many to list.",
                null=True,
            ),
        ),
        migrations.AlterField(
            "workflow",
            "is_set_aside",
            models.BooleanField(
                "quarantined",
                db_default=False,
                help_text="The engine stopped it (see the error); resume it after a fix.",
            ),
        ),
    ]
