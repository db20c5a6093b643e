"""django-tasks-db: `manage.py db_worker`, which runs one task at a time."""

from __future__ import annotations

import os
from typing import Any

import django_tasks_db  # noqa: F401 (not measured where it isn't installed)

from benchmarks.systems.system import System, module

SETTINGS = "benchmarks.settings_tasks"


class DjangoTasksDb(System):
    """Django's tasks in Django's database."""

    settings = (
        "db_worker --no-startup-delay, interval 1 s (default); CONN_MAX_AGE None; no batch enqueue"
    )
    package = "django_tasks_db"
    command = module(f"django db_worker --no-startup-delay --settings {SETTINGS}")
    poll_interval = 1.0
    tables = ("django_tasks_database_dbtaskresult",)
    finished_query = (
        "SELECT count(*) FROM django_tasks_database_dbtaskresult WHERE status = 'SUCCESSFUL'"
    )

    @classmethod
    def install(cls) -> None:
        set_up()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)

    def open(self) -> None:
        set_up()
        from benchmarks import tasks

        self.tasks = tasks

    def start(self) -> Any:
        return self.tasks.does_nothing.enqueue()

    def start_sending_timestamp(self) -> Any:
        return self.tasks.sends_timestamp.enqueue()


def set_up() -> None:
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = SETTINGS
    django.setup()
