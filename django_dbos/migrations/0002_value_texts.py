"""The fields of serialized text get names of their own; the columns keep theirs."""

from typing import Any

from django.db import migrations, models
from django.db.migrations.operations.base import Operation

TEXTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("workflow", "input", {}),
    ("workflow", "output", {"null": True}),
    ("workflow", "error", {"null": True}),
    ("checkpoint", "output", {"null": True}),
    ("checkpoint", "error", {"null": True}),
    ("atomiccheckpoint", "output", {"null": True}),
    ("message", "message", {}),
    ("event", "value", {}),
    ("eventversion", "value", {}),
    ("streamentry", "value", {"null": True}),
)


def _renamed(model: str, column: str, options: dict[str, Any]) -> tuple[Operation, ...]:
    field: models.TextField[Any, Any] = models.TextField(column, db_column=column, **options)
    return (
        migrations.RenameField(model, column, f"{column}_text"),
        migrations.AlterField(model, f"{column}_text", field),
    )


class Migration(migrations.Migration):
    dependencies = [("django_dbos", "0001_initial")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[one for text in TEXTS for one in _renamed(*text)]
        )
    ]
