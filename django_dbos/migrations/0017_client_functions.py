"""The functions by which other languages start workflows and send messages, on PostgreSQL."""

from typing import Any

from django.db import migrations


def create(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        from django_dbos.store.postgresql import client_functions

        client_functions.create(schema_editor.connection)


def drop(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        from django_dbos.store.postgresql import client_functions

        client_functions.drop(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("django_dbos", "0016_lists")]

    operations = [migrations.RunPython(create, drop)]
