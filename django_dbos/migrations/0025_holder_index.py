"""The index of an executor's places: one that no count of a queue's places can use."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_dbos", "0024_inquiry_kind"),
    ]

    operations = [
        migrations.RemoveIndex("workflow", "dbos_workflow_holder"),
        migrations.AddIndex(
            model_name="workflow",
            index=models.Index(
                condition=models.Q(("executor_id__isnull", False), ("place__gt", 0)),
                fields=["executor_id"],
                name="dbos_workflow_holder",
            ),
        ),
    ]
