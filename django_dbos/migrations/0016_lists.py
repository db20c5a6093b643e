"""Indexes of the admin's list: by name and queue, failures by time, by attributes."""

from typing import Any

from django.db import migrations, models

# SQLite has no such index; there a search reads the newest workflows.
CREATE = """
    CREATE INDEX dbos_workflow_attributes ON dbos_workflow
    USING gin (attributes jsonb_path_ops) WHERE attributes IS NOT NULL
"""
DROP = "DROP INDEX dbos_workflow_attributes"


def create_index(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(CREATE)


def drop_index(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(DROP)


class Migration(migrations.Migration):
    dependencies = [("django_dbos", "0015_permissions")]

    operations = [
        migrations.RemoveIndex("workflow", "dbos_workflow_created"),
        migrations.AddIndex(
            model_name="workflow",
            index=models.Index(
                fields=["created_at", "name", "queue_name"], name="dbos_workflow_created"
            ),
        ),
        migrations.AddIndex(
            model_name="workflow",
            index=models.Index(
                condition=models.Q(("status__in", ("ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"))),
                fields=["finished_at"],
                name="dbos_workflow_failed_at",
            ),
        ),
        migrations.AddIndex(
            model_name="workflow",
            index=models.Index(
                condition=models.Q(("is_quarantined", True)),
                fields=["created_at"],
                name="dbos_workflow_quarantined",
            ),
        ),
        migrations.RunPython(create_index, drop_index),
    ]
