"""A workflow that reads a stream waits for an offset of it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("django_dbos", "0006_plain_names")]

    operations = [
        migrations.AddField(
            "workflow",
            "wake_offset",
            models.IntegerField("waits for offset", null=True),
        ),
    ]
