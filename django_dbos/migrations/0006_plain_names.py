"""Columns and statuses have common names: quarantined, related workflow, running, queued."""

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
        migrations.AlterField(
            "workflow",
            "status",
            django_dbos.fields.KeyField(
                "status",
                max_length=30,
                choices=[
                    ("ENQUEUED", "queued"),
                    ("DELAYED", "delayed"),
                    ("PENDING", "running"),
                    ("WAITING", "waiting"),
                    ("SUCCESS", "succeeded"),
                    ("ERROR", "failed"),
                    ("CANCELLED", "cancelled"),
                    ("MAX_RECOVERY_ATTEMPTS_EXCEEDED", "given up"),
                ],
            ),
        ),
    ]
