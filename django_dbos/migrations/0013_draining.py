"""Draining of executors, and an index of the places that each of them holds."""

from django.db import migrations, models

import django_dbos.fields


class Migration(migrations.Migration):
    dependencies = [
        ("django_dbos", "0012_wakes"),
    ]

    operations = [
        migrations.AddField(
            model_name="executor",
            name="drain_requested_at",
            field=django_dbos.fields.InstantField(
                help_text="It claims nothing more, and ends when its runs have.",
                null=True,
                verbose_name="drain requested at",
            ),
        ),
        migrations.AddIndex(
            model_name="workflow",
            index=models.Index(
                condition=models.Q(("place__gt", 0)),
                fields=["executor_id"],
                name="dbos_workflow_holder",
            ),
        ),
    ]
