"""Deletions on step databases, which are noted in the transactions that order them."""

from django.db import migrations, models

import django_dbos.fields


class Migration(migrations.Migration):
    dependencies = [
        ("django_dbos", "0022_alerts"),
    ]

    operations = [
        migrations.CreateModel(
            name="StepDeletion",
            fields=[
                (
                    "token",
                    models.UUIDField(primary_key=True, serialize=False, verbose_name="token"),
                ),
                ("requested_at", django_dbos.fields.InstantField(verbose_name="requested at")),
            ],
            options={
                "verbose_name": "deletion on step databases",
                "verbose_name_plural": "deletions on step databases",
                "db_table": "dbos_step_deletion",
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(fields=["requested_at"], name="dbos_step_deletion_oldest")
                ],
            },
        ),
    ]
