"""The versions of what an executor runs."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_dbos", "0017_client_functions"),
    ]

    operations = [
        migrations.AddField(
            model_name="executor",
            name="versions",
            field=models.JSONField(
                help_text="The versions of the project, django_dbos, Django and Python.",
                null=True,
                verbose_name="versions",
            ),
        ),
    ]
