"""The labels of two columns are plainer; their tables stay as they are."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("django_dbos", "0007_wake_offset")]

    operations = [
        migrations.AlterField(
            "workflow",
            "queue_sequence",
            models.BigIntegerField("queue position"),
        ),
        migrations.AlterField(
            "workflow",
            "token",
            models.UUIDField(
                "token",
                help_text="Distinguishes this workflow from a later one with the same id.",
            ),
        ),
    ]
