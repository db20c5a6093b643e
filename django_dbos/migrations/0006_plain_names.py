"""Columns are named by the field's words: quarantined, and a related workflow."""

from django.db import migrations

import django_dbos.fields


class Migration(migrations.Migration):
    dependencies = [("django_dbos", "0005_attempt_errors")]

    operations = [
        migrations.RenameField("workflow", "is_set_aside", "is_quarantined"),
        migrations.RenameField("checkpoint", "child_workflow_id", "related_workflow_id"),
        migrations.AlterField(
            "checkpoint",
            "related_workflow_id",
            django_dbos.fields.KeyField("related workflow", max_length=255, null=True),
        ),
    ]
