from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("django_dbos", "0003_executor_workflow_names")]

    operations = [
        migrations.AddField(
            "atomiccheckpoint",
            "error_text",
            models.TextField("error", db_column="error", null=True),
        ),
    ]
