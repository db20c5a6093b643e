"""A project with nothing but the engine, on the database that the environment names."""

import os

from benchmarks.environment import ENCRYPT, RETAIN, database_url, django_database

SECRET_KEY = "only for benchmarks"
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django_dbos",
    "benchmarks",
]
DATABASES = {"default": django_database(database_url())}
DBOS = {
    "SOCKETS_PER_USER": None,
    "ENCRYPTION": {"KEYS": {"2026": bytes(range(32))}} if os.environ.get(ENCRYPT) else None,
    "RETENTION": 3_600 if os.environ.get(RETAIN) else None,
    "QUEUES": {
        "limited": {"concurrency": 50},
        "rated": {"rate_limit": "1000000/s"},
        "partitioned": {"partition_concurrency": 1},
        "single": {"concurrency": 1},
    },
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "loggers": {"django_dbos": {"level": "WARNING"}},
}
