"""Forms that workflows wait for, and callbacks."""

from django.db import migrations, models

import django_dbos.fields


class Migration(migrations.Migration):
    dependencies = [
        ("django_dbos", "0013_draining"),
    ]

    operations = [
        migrations.CreateModel(
            name="Inquiry",
            fields=[
                (
                    "inquiry_id",
                    models.BigAutoField(primary_key=True, serialize=False, verbose_name="number"),
                ),
                (
                    "kind",
                    django_dbos.fields.KeyField(
                        choices=[("form", "form"), ("callback", "callback")],
                        max_length=10,
                        verbose_name="kind",
                    ),
                ),
                (
                    "workflow_id",
                    django_dbos.fields.KeyField(max_length=255, verbose_name="workflow id"),
                ),
                ("token", models.UUIDField(verbose_name="workflow's token")),
                ("step_number", models.IntegerField(verbose_name="step number")),
                (
                    "position",
                    models.SmallIntegerField(
                        db_default=0,
                        help_text="Among the alternatives of one wait.",
                        verbose_name="position",
                    ),
                ),
                ("secret", models.UUIDField(verbose_name="secret")),
                (
                    "topic",
                    django_dbos.fields.KeyField(max_length=255, verbose_name="topic of the answer"),
                ),
                (
                    "form_name",
                    django_dbos.fields.KeyField(db_default="", max_length=255, verbose_name="form"),
                ),
                ("title", models.CharField(db_default="", max_length=255, verbose_name="title")),
                ("description", models.TextField(db_default="", verbose_name="description")),
                (
                    "initial_text",
                    models.TextField(db_column="initial", null=True, verbose_name="initial values"),
                ),
                (
                    "audience",
                    models.JSONField(
                        help_text="Who may answer, besides holders of the permission.",
                        null=True,
                        verbose_name="audience",
                    ),
                ),
                ("created_at", django_dbos.fields.InstantField(verbose_name="asked at")),
                (
                    "expires_at",
                    django_dbos.fields.InstantField(null=True, verbose_name="expires at"),
                ),
                (
                    "answered_at",
                    django_dbos.fields.InstantField(null=True, verbose_name="answered at"),
                ),
                (
                    "answered_by",
                    django_dbos.fields.KeyField(
                        max_length=255, null=True, verbose_name="answered by user"
                    ),
                ),
                (
                    "answer_text",
                    models.TextField(db_column="answer", null=True, verbose_name="answer"),
                ),
                ("closed_at", django_dbos.fields.InstantField(null=True, verbose_name="closed at")),
            ],
            options={
                "verbose_name": "form or callback",
                "verbose_name_plural": "forms and callbacks",
                "db_table": "dbos_inquiry",
                "permissions": (("answer_form", "Can answer form"),),
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(
                        condition=models.Q(
                            ("answered_at__isnull", True), ("closed_at__isnull", True)
                        ),
                        fields=["kind", "inquiry_id"],
                        name="dbos_inquiry_unanswered",
                    ),
                    models.Index(
                        fields=["workflow_id", "inquiry_id"], name="dbos_inquiry_workflow"
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("token", "step_number", "position"), name="dbos_inquiry_step"
                    )
                ],
            },
        ),
    ]
