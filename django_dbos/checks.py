"""System checks: the mistakes that people make with settings, each with what to do.

| id | what |
| --- | --- |
| django_dbos.E001 | a value in settings.DBOS that can't be used |
| django_dbos.E002 | the workflow database is neither PostgreSQL nor SQLite |
| django_dbos.E003 | PostgreSQL through psycopg 2 |
| django_dbos.E004 | SQLite without immediate transactions |
| django_dbos.E005 | an atomic step on a database that isn't in STEP_DATABASES |
| django_dbos.W001 | no DbosRouter, though tables belong to other databases than the default |
| django_dbos.W002 | ATOMIC_REQUESTS on the workflow database |
| django_dbos.W003 | Channels without a channel layer |
| django_dbos.W004 | a channel layer in memory, outside of development |
| django_dbos.W005 | SQLite that may lose the last transactions when the power fails |
| django_dbos.W006 | CAN_READ names nothing that can be called |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings as django_settings
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections

from django_dbos.conf import Settings, get_can_read, get_settings, setting_problems
from django_dbos.core import registry

TAG = "django_dbos"
ROUTER = "django_dbos.routers.DbosRouter"
MEMORY_LAYER = "channels.layers.InMemoryChannelLayer"
SQLITE_OPTIONS = """Paste this into the database's entry in DATABASES:
    "OPTIONS": {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    },"""


def check_dbos(app_configs: Sequence[AppConfig] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Everything about django_dbos that can be seen without asking a database."""
    problems = [
        Error(
            problem.message, hint=problem.hint or None, obj="settings.DBOS", id="django_dbos.E001"
        )
        for problem in setting_problems()
    ]
    if problems:
        return [*problems]
    settings = get_settings()
    return [
        *_check_database(settings),
        *_check_steps(settings),
        *_check_router(settings),
        *_check_atomic_requests(settings),
        *_check_channels(),
        *_check_can_read(),
    ]


def _check_database(settings: Settings) -> Iterator[CheckMessage]:
    connection = connections[settings.database]
    where = f"DATABASES[{settings.database!r}]"
    if connection.vendor == "sqlite":
        yield from _check_sqlite(connection.settings_dict, where)
    elif connection.vendor != "postgresql":
        yield Error(
            f"Workflows can't be kept in {where}: it is {connection.vendor}.",
            hint="Use PostgreSQL, or SQLite for small sites, and name its alias in "
            "DBOS['DATABASE'].",
            obj=where,
            id="django_dbos.E002",
        )
    elif find_spec("psycopg") is None:
        yield Error(
            f"{where} is used through psycopg 2, which the engine doesn't speak.",
            hint="Install psycopg 3: pip install 'django-dbos[postgres]'.",
            obj=where,
            id="django_dbos.E003",
        )


def _check_sqlite(database: dict[str, Any], where: str) -> Iterator[CheckMessage]:
    options = database.get("OPTIONS") or {}
    if str(options.get("transaction_mode", "")).upper() != "IMMEDIATE":
        yield Error(
            f"{where} is SQLite without immediate transactions: workers and web processes would "
            'fail with "database is locked".',
            hint=SQLITE_OPTIONS,
            obj=where,
            id="django_dbos.E004",
        )
    command = str(options.get("init_command", "")).replace(" ", "").lower()
    if "synchronous=normal" in command or "synchronous=off" in command:
        yield checks.Warning(
            f"{where} may lose its last transactions when the power fails: a step that was "
            "recorded would run again.",
            hint='Set "PRAGMA synchronous=FULL" in its init_command.',
            obj=where,
            id="django_dbos.W005",
        )


def _check_steps(settings: Settings) -> Iterator[CheckMessage]:
    for name, alias in sorted(registry.step_aliases.items()):
        if alias != settings.database and alias not in settings.step_databases:
            yield Error(
                f"Step {name!r} is atomic on database {alias!r}, which holds no table for its "
                "checkpoints.",
                hint=f"Add {alias!r} to DBOS['STEP_DATABASES'] and migrate it: "
                f"manage.py migrate --database {alias}.",
                obj=name,
                id="django_dbos.E005",
            )


def _check_router(settings: Settings) -> Iterator[CheckMessage]:
    is_elsewhere = settings.database != DEFAULT_DB_ALIAS or settings.step_databases
    routers = [_path_of(router) for router in django_settings.DATABASE_ROUTERS]
    if is_elsewhere and ROUTER not in routers:
        yield checks.Warning(
            "The tables of django_dbos would be migrated in every database, and read from the "
            "default one.",
            hint=f"Add {ROUTER!r} to DATABASE_ROUTERS.",
            obj="settings.DATABASE_ROUTERS",
            id="django_dbos.W001",
        )


def _path_of(router: Any) -> str:
    if isinstance(router, str):
        return router
    return f"{type(router).__module__}.{type(router).__qualname__}"


def _check_atomic_requests(settings: Settings) -> Iterator[CheckMessage]:
    if connections[settings.database].settings_dict.get("ATOMIC_REQUESTS"):
        yield checks.Warning(
            f"DATABASES[{settings.database!r}] has ATOMIC_REQUESTS: what a view starts or sends "
            "takes effect when the request is over, and a view can't wait for a result in it.",
            hint="Decorate views that wait with @transaction.non_atomic_requests, and silence "
            "this check.",
            obj=f"DATABASES[{settings.database!r}]",
            id="django_dbos.W002",
        )


def _check_channels() -> Iterator[CheckMessage]:
    if not apps.is_installed("channels"):
        return
    layers = getattr(django_settings, "CHANNEL_LAYERS", None) or {}
    if "default" not in layers:
        yield checks.Warning(
            "Channels is installed without a channel layer: where LISTEN doesn't reach, sockets "
            "hear of news only by looking.",
            hint="Configure CHANNEL_LAYERS with channels_redis, or silence this check: everything "
            "works without one.",
            obj="settings.CHANNEL_LAYERS",
            id="django_dbos.W003",
        )
    elif layers["default"].get("BACKEND") == MEMORY_LAYER and not django_settings.DEBUG:
        yield checks.Warning(
            "The channel layer is in memory, so that it reaches no other process.",
            hint="Configure CHANNEL_LAYERS with channels_redis, or remove it.",
            obj="settings.CHANNEL_LAYERS",
            id="django_dbos.W004",
        )


def _check_can_read() -> Iterator[CheckMessage]:
    try:
        get_can_read()
    except ImproperlyConfigured as error:
        yield checks.Warning(
            str(error),
            hint="Name a function that takes (user, workflow, kind, key). Until then it allows "
            "nobody.",
            obj="settings.DBOS",
            id="django_dbos.W006",
        )
