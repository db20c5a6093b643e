"""The settings of the tests; the environment chooses the database and the clock.

| variable | meaning |
| --- | --- |
| `DBOS_TEST_DATABASE` | `sqlite` (default) or `postgresql` |
| `DATABASE_URL` | where PostgreSQL is; only databases named `test_…` are touched there |
| `REDIS_URL` | the channel layer's server; without it there is no layer |
| `DBOS_TEST_USE_TZ`, `DBOS_TEST_TIME_ZONE` | `USE_TZ` (`1` or `0`) and `TIME_ZONE` |
| `DBOS_TEST_SETTINGS` | what a child process has in `DBOS` besides, as JSON |
| `DBOS_TEST_VALUES`, `DBOS_TEST_VALUES_GATE` | where a child process stores large values |
| `DBOS_TEST_RUN` | tells concurrent runs apart; the process's id unless given |
| `DBOS_TEST_CHROMIUM` | the browser, if not the one on the path; `none` leaves its tests out |
| `DBOS_TEST_DATABASE_NAME`, `DBOS_TEST_OTHER_NAME` | what a child process joins |
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

SECRET_KEY = "only for tests"
ROOT_URLCONF = "tests.urls"
USE_TZ = os.environ.get("DBOS_TEST_USE_TZ", "1") == "1"
TIME_ZONE = os.environ.get("DBOS_TEST_TIME_ZONE", "UTC")
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "channels",
    "django_dbos",
    "example_project.shop",
    "tests",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
# Hashing a password takes a third of a second otherwise, on purpose.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "values": {"BACKEND": "tests.payloads.storages.GatedStorage"},
}

# --- Databases ---------------------------------------------------------------------------

VENDOR = os.environ.get("DBOS_TEST_DATABASE", "sqlite")
RUN = os.environ.get("DBOS_TEST_RUN") or str(os.getpid())


def test_name(variable: str, base: str) -> str:
    """Return the name of the test database: the parent process's, or one of this run."""
    name = os.environ.get(variable) or base
    if not Path(name).name.startswith("test_"):
        raise ImproperlyConfigured(f"{variable}={name!r}: tests only touch databases 'test_…'.")
    return name


def postgresql(variable: str, suffix: str) -> dict[str, object]:
    """Return the server in `DATABASE_URL`, with a test database."""
    # Imported here, as SQLite must work without psycopg.
    from psycopg.conninfo import conninfo_to_dict

    if not (url := os.environ.get("DATABASE_URL")):
        raise ImproperlyConfigured(
            "DBOS_TEST_DATABASE=postgresql needs DATABASE_URL. For an embedded server, run "
            "`python scripts/servers.py run -- pytest …`."
        )
    options = conninfo_to_dict(url)
    options.pop("dbname", None)
    name = test_name(variable, f"test_dbos_{RUN}{suffix}")
    return {
        "ENGINE": "django.db.backends.postgresql",
        # Never the database in the URL, which even a query outside of tests mustn't reach.
        "NAME": name,
        "TEST": {"NAME": name},
        "USER": options.pop("user", ""),
        "PASSWORD": options.pop("password", ""),
        "HOST": options.pop("host", ""),
        "PORT": options.pop("port", ""),
        "OPTIONS": options,
    }


def find_folder() -> Path:
    """Return the folder of SQLite's files: in memory where there is room, as each commit syncs."""
    memory = Path("/dev/shm")
    is_roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1024**3
    return memory if is_roomy else Path(tempfile.gettempdir())


FOLDER = find_folder()


def sqlite(variable: str, suffix: str) -> dict[str, object]:
    """Return a database in a file, which threads and processes can share."""
    name = test_name(variable, f"{FOLDER}/test_dbos_{RUN}{suffix}.sqlite3")
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": name,
        "TEST": {"NAME": name},
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        },
    }


ENGINES = {"postgresql": postgresql, "sqlite": sqlite}
if VENDOR not in ENGINES:
    raise ImproperlyConfigured(f"DBOS_TEST_DATABASE={VENDOR!r}: use one of {sorted(ENGINES)}.")
DATABASES = {
    "default": ENGINES[VENDOR]("DBOS_TEST_DATABASE_NAME", ""),
    "other": ENGINES[VENDOR]("DBOS_TEST_OTHER_NAME", "_other"),
}
DATABASE_ROUTERS = ["django_dbos.routers.DbosRouter"]
MIGRATION_MODULES = {"tests": None}

# --- The engine and its channel layer ----------------------------------------------------

DBOS = {"STEP_DATABASES": ["other"], **json.loads(os.environ.get("DBOS_TEST_SETTINGS", "{}"))}

REDIS_URL = os.environ.get("REDIS_URL")
if REDIS_URL:
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [REDIS_URL], "prefix": f"test_dbos_{RUN}"},
        }
    }
