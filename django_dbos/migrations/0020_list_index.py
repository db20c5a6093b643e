"""The index of the admin's list: one that no other query can search for a queue on PostgreSQL.

From PostgreSQL 18 on an index can be searched for a column that isn't its first. While the
statistics are those of an empty table, claims did that, and read all workflows of a queue.
"""

from typing import Any

from django.db import migrations

DROP = "DROP INDEX dbos_workflow_created"
COLLATED = """
    CREATE INDEX dbos_workflow_created
    ON dbos_workflow (created_at, name COLLATE "POSIX", queue_name COLLATE "POSIX")
"""
PLAIN = "CREATE INDEX dbos_workflow_created ON dbos_workflow (created_at, name, queue_name)"


def replace(text: str) -> Any:
    def run(apps: Any, schema_editor: Any) -> None:
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(DROP)
            schema_editor.execute(text)

    return run


class Migration(migrations.Migration):
    dependencies = [("django_dbos", "0019_forks")]

    operations = [migrations.RunPython(replace(COLLATED), replace(PLAIN))]
