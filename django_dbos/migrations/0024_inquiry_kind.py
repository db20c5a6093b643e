"""An index for the lists of forms and of callbacks."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_dbos", "0023_step_deletions"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="inquiry",
            index=models.Index(fields=["kind", "inquiry_id"], name="dbos_inquiry_kind"),
        ),
    ]
