"""SQLite in memory, Django's default for tests, which threads can't share."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import threading

import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django_dbos"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            # As in a test database of Django.
            "NAME": "file:memorydb_default?mode=memory&cache=shared",
            "OPTIONS": {"transaction_mode": "IMMEDIATE"},
        }
    },
    DBOS={"HEARTBEAT_INTERVAL": 0.05, "LEASE": 0.5},
)
django.setup()
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

import django_dbos as dbos
from django_dbos.executor import Executor

call_command("migrate", verbosity=0)


@dbos.workflow
def threads() -> list[str]:
    return [one.name for one in threading.enumerate()]


# Inline, without a heartbeat thread that would write concurrently.
assert threads() == ["MainThread"], threads()

try:
    with Executor():
        raise AssertionError("It ran.")
except ImproperlyConfigured as error:
    print(error)
assert threading.active_count() == 1
"""


def test_an_executor_refuses_a_database_in_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "file, in tests by DATABASES['default']['TEST'] = {'NAME': " in done.stdout
