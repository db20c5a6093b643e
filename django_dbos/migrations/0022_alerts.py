"""Episodes of alerts, and the trace context of who started a workflow."""

from django.db import migrations, models

import django_dbos.fields


class Migration(migrations.Migration):
    dependencies = [
        ("django_dbos", "0021_versions"),
    ]

    operations = [
        migrations.CreateModel(
            name="AlertEpisode",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "kind",
                        "subject",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("kind", django_dbos.fields.KeyField(max_length=30, verbose_name="kind")),
                ("subject", django_dbos.fields.KeyField(max_length=255, verbose_name="subject")),
                ("text", models.TextField(verbose_name="what is wrong")),
                ("raised_at", django_dbos.fields.InstantField(verbose_name="raised at")),
            ],
            options={
                "verbose_name": "alert",
                "verbose_name_plural": "alerts",
                "db_table": "dbos_alert",
                "default_permissions": ("view",),
            },
        ),
        migrations.AddField(
            model_name="workflow",
            name="traceparent",
            field=django_dbos.fields.KeyField(
                help_text="As W3C's traceparent.",
                max_length=55,
                null=True,
                verbose_name="trace context",
            ),
        ),
    ]
