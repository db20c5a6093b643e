"""The measured systems: one file each, with the verbs that the workloads call.

A system that lacks a verb isn't measured for the workloads that call it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.systems.system import System

# Name: module and class. A name's first word is the product, and the name of its distribution.
SYSTEMS = {
    "django_dbos": "django_dbos:DjangoDbos",
    "django_dbos async": "django_dbos:AsyncDjangoDbos",
    "django_dbos SQLite": "django_dbos:SqliteDjangoDbos",
    "django_dbos async SQLite": "django_dbos:AsyncSqliteDjangoDbos",
    "dbos": "dbos:Dbos",
    "dbos async": "dbos:AsyncDbos",
    "absurd-sdk": "absurd:Absurd",
    "procrastinate": "procrastinate:Procrastinate",
    "pgqueuer": "pgqueuer:Pgqueuer",
    "pgqueuer batches of 100": "pgqueuer:PgqueuerInBatches",
    "django-tasks-db": "django_tasks_db:DjangoTasksDb",
    "celery": "celery:Celery",
    "dramatiq": "dramatiq:Dramatiq",
    "bare": "bare:Bare",
    "bare SQLite": "bare:BareSqlite",
}
OURS, CEILING = "django_dbos", "bare"
PEERS = sorted({name.split()[0] for name in SYSTEMS} - {OURS, CEILING})


def load(name: str) -> type[System]:
    """Return the class of a system; raise ImportError if its product isn't installed."""
    module, _, class_name = SYSTEMS[name].partition(":")
    system: type[System] = getattr(
        importlib.import_module(f"benchmarks.systems.{module}"), class_name
    )
    system.name = name
    return system


def product(name: str) -> str:
    """Return the first word of a name: `dbos` for `dbos async`."""
    return name.split()[0]
