"""Permissions of operators: changing starts, sending, draining, and seeing values."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("django_dbos", "0014_inquiries"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="executor",
            options={
                "default_permissions": ("view",),
                "permissions": (("drain_executor", "Can drain executors"),),
                "verbose_name": "executor",
                "verbose_name_plural": "executors",
            },
        ),
        migrations.AlterModelOptions(
            name="message",
            options={
                "default_permissions": ("view",),
                "permissions": (("send_message", "Can send messages to workflows"),),
                "verbose_name": "message",
                "verbose_name_plural": "messages",
            },
        ),
        migrations.AlterModelOptions(
            name="workflow",
            options={
                "default_permissions": ("view",),
                "permissions": (
                    ("cancel_workflow", "Can cancel workflow"),
                    ("resume_workflow", "Can resume workflow"),
                    (
                        "reschedule_workflow",
                        "Can change when a delayed workflow starts",
                    ),
                    ("view_payload", "Can view inputs, outcomes and other values"),
                ),
                "verbose_name": "workflow",
                "verbose_name_plural": "workflows",
            },
        ),
    ]
