"""A project with nothing but django-tasks-db."""

from benchmarks.environment import database_url, django_database

SECRET_KEY = "only for benchmarks"
USE_TZ = True
INSTALLED_APPS = ["django_tasks_db"]
# Without persistent connections the worker connects anew for each task.
DATABASES = {"default": {**django_database(database_url()), "CONN_MAX_AGE": None}}
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": ["default"]}}
