"""A project with nothing but the engine, on the database that DATABASE_URL names."""

import os
from urllib.parse import unquote, urlsplit

SECRET_KEY = "only for benchmarks"
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django_dbos",
]
url = urlsplit(os.environ["DATABASE_URL"])
query = dict(part.split("=", 1) for part in url.query.split("&") if part)
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "dbos_benchmarks",
        "USER": unquote(url.username or ""),
        "PASSWORD": unquote(url.password or ""),
        "HOST": unquote(query.get("host", url.hostname or "")),
        "PORT": str(url.port or ""),
    }
}
LOGGING = {"version": 1, "loggers": {"django_dbos": {"level": "WARNING"}}}
