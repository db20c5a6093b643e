"""Checkpoints keep the errors of failed attempts."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("django_dbos", "0004_atomic_error")]

    operations = [
        migrations.AddField(
            "checkpoint",
            "attempt_errors_text",
            models.TextField("errors of the attempts", db_column="attempt_errors", null=True),
        ),
    ]
