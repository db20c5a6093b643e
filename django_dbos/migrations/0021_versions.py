"""Workflows keep the version of the code that they began with; a permission for attributes."""

from django.db import migrations

from django_dbos.fields import KeyField


class Migration(migrations.Migration):
    dependencies = [("django_dbos", "0020_list_index")]

    operations = [
        migrations.AddField(
            "workflow",
            "version",
            KeyField(
                "version",
                max_length=100,
                null=True,
                help_text="The version of the function that runs it; empty if it has no versions.",
            ),
        ),
        migrations.AlterModelOptions(
            "workflow",
            {
                "default_permissions": ("view",),
                "permissions": (
                    ("cancel_workflow", "Can cancel workflow"),
                    ("resume_workflow", "Can resume workflow"),
                    ("retry_workflow", "Can retry workflow"),
                    ("fork_workflow", "Can fork workflow"),
                    ("rewind_workflow", "Can rewind workflow"),
                    ("delete_workflow", "Can delete workflow"),
                    ("reschedule_workflow", "Can change when a delayed workflow starts"),
                    ("change_attributes", "Can change the attributes of workflows"),
                    ("view_payload", "Can view inputs, outcomes and other values"),
                ),
                "verbose_name": "workflow",
                "verbose_name_plural": "workflows",
            },
        ),
    ]
