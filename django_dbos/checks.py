"""System checks: the mistakes that people make with settings, each with what to do.

| id | what |
| --- | --- |
| django_dbos.E001 | a value in settings.DBOS that can't be used |
| django_dbos.E002 | the workflow database is neither PostgreSQL nor SQLite |
| django_dbos.E003 | PostgreSQL through psycopg 2 |
| django_dbos.E004 | SQLite without immediate transactions |
| django_dbos.E005 | an atomic step on a database that isn't in STEP_DATABASES |
| django_dbos.E006 | SERIALIZER names nothing that can write and read values |
| django_dbos.E007 | another project's package has taken this one's place in part |
| django_dbos.W001 | no DbosRouter, though tables belong to other databases than the default |
| django_dbos.W002 | ATOMIC_REQUESTS on the workflow database |
| django_dbos.W003 | Channels without a channel layer |
| django_dbos.W004 | a channel layer in memory, outside of development |
| django_dbos.W005 | a database that may lose the last transactions when the power fails |
| django_dbos.W006 | CAN_READ names nothing that can be called |
| django_dbos.W007 | another router answers before DbosRouter |
| django_dbos.W008 | a pool with fewer connections than a worker runs workflows |
| django_dbos.W009 | a `workflows.py` beside the settings, where nobody looks for one |
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import distributions
from importlib.util import find_spec
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings as django_settings
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.utils.module_loading import import_string

from django_dbos.conf import Settings, get_can_read, get_settings, setting_problems
from django_dbos.core import registry
from django_dbos.serializers import get_serializer

TAG = "django_dbos"
DISTRIBUTION = "django-durable-workflows"
# Somebody else's project, whose package has the same name.
STRANGER = "django-dbos"
ROUTER = "django_dbos.routers.DbosRouter"
MEMORY_LAYER = "channels.layers.InMemoryChannelLayer"
SQLITE_LEVEL = re.compile(r"synchronous\s*[=(]\s*['\"]?(\w+)", re.IGNORECASE)
POSTGRESQL_COMMIT = re.compile(r"synchronous_commit\s*=\s*['\"]?(\w+)", re.IGNORECASE)
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
        *_check_distribution(),
        *_check_database(settings),
        *_check_steps(settings),
        *_check_serializer(),
        *_check_router(settings),
        *_check_atomic_requests(settings),
        *_check_channels(),
        *_check_can_read(),
        *_check_discovery(),
    ]


def _check_distribution() -> Iterator[CheckMessage]:
    # An editable install of this project under that name, as there once was, lists no modules.
    paths = (path for one in distributions(name=STRANGER) for path in one.files or ())
    if any(path.parts[0] == "django_dbos" for path in paths):
        yield Error(
            f"The distribution {STRANGER!r} is installed. It is another project, whose files "
            "overwrite those of this one or are overwritten by them.",
            hint=f"Run pip uninstall {STRANGER} {DISTRIBUTION}, then pip install {DISTRIBUTION}.",
            obj="django_dbos",
            id="django_dbos.E007",
        )


def _check_database(settings: Settings) -> Iterator[CheckMessage]:
    connection = connections[settings.database]
    where = f"DATABASES[{settings.database!r}]"
    options = connection.settings_dict.get("OPTIONS") or {}
    if connection.vendor == "sqlite":
        yield from _check_sqlite(options, where)
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
            hint="Install psycopg 3: pip install 'django-durable-workflows[postgres]'.",
            obj=where,
            id="django_dbos.E003",
        )
    else:
        yield from _check_postgresql(options, where, settings.concurrency)


def _check_sqlite(options: Mapping[str, Any], where: str) -> Iterator[CheckMessage]:
    if str(options.get("transaction_mode", "")).upper() != "IMMEDIATE":
        yield Error(
            f"{where} is SQLite without immediate transactions: workers and web processes would "
            'fail with "database is locked".',
            hint=SQLITE_OPTIONS,
            obj=where,
            id="django_dbos.E004",
        )
    levels = SQLITE_LEVEL.findall(str(options.get("init_command", "")))
    if levels and levels[-1].lower() in ("off", "normal", "0", "1"):
        yield _forgetful(where, 'Set "PRAGMA synchronous=FULL" in its init_command.')


def _check_postgresql(
    options: Mapping[str, Any], where: str, concurrency: int
) -> Iterator[CheckMessage]:
    commits = POSTGRESQL_COMMIT.findall(str(options.get("options", "")))
    # "local" waits for this server's disk, and only leaves out the replicas'.
    if commits and commits[-1].lower() in ("off", "false", "no", "0"):
        yield _forgetful(where, "Leave synchronous_commit out of its OPTIONS.")

    size = _pool_size(options.get("pool"))
    if size is not None and size < concurrency:
        yield checks.Warning(
            f"{where} has a pool of {size} connections, but a worker runs {concurrency} workflows "
            "at a time: where all of them use the ORM, some wait for a connection until they fail.",
            hint=f"Raise \"max_size\" of the pool to {concurrency}, or lower DBOS['CONCURRENCY'].",
            obj=where,
            id="django_dbos.W008",
        )


def _forgetful(where: str, hint: str) -> CheckMessage:
    return checks.Warning(
        f"{where} may lose its last transactions when the power fails: a step that was recorded "
        "would run again.",
        hint=hint,
        obj=where,
        id="django_dbos.W005",
    )


def _pool_size(pool: Any) -> int | None:
    """The most connections of Django's pool; None without one."""
    if not pool:
        return None
    given = pool if isinstance(pool, Mapping) else {}
    # As psycopg_pool reads it: no maximum is the minimum, which is 4.
    return int(given.get("max_size") or given.get("min_size", 4))


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


def _check_serializer() -> Iterator[CheckMessage]:
    try:
        get_serializer()
    except ImproperlyConfigured as error:
        yield Error(
            str(error),
            hint="Name 'json', 'pickle', or something with a name, dumps() and loads().",
            obj="settings.DBOS",
            id="django_dbos.E006",
        )


def _check_router(settings: Settings) -> Iterator[CheckMessage]:
    if _is_routed_well(settings):
        return
    ours = import_string(ROUTER)
    if any(isinstance(one, ours) for one in router.routers):
        yield checks.Warning(
            "Another router sends tables of django_dbos elsewhere before DbosRouter is asked.",
            hint=f"Put {ROUTER!r} first in DATABASE_ROUTERS.",
            obj="settings.DATABASE_ROUTERS",
            id="django_dbos.W007",
        )
    else:
        yield checks.Warning(
            "Nothing tells Django in which database the tables of django_dbos are: they would be "
            "migrated in each.",
            hint=f"Add {ROUTER!r} to DATABASE_ROUTERS.",
            obj="settings.DATABASE_ROUTERS",
            id="django_dbos.W001",
        )


def _is_routed_well(settings: Settings) -> bool:
    """Whether the tables are migrated where they are used, whoever sees to it.

    Reads aren't asked about: a replica may serve the project's own.
    """
    # Asked for here, since checks are imported before there are models.
    workflow = apps.get_model("django_dbos", "Workflow")
    step = apps.get_model("django_dbos", "AtomicCheckpoint")
    home, steps = settings.database, set(settings.step_databases)
    others = (steps | {DEFAULT_DB_ALIAS}) - {home}
    return (
        router.db_for_write(workflow) == home
        and router.allow_migrate_model(home, workflow)
        and all(router.allow_migrate_model(alias, step) for alias in steps)
        and not any(router.allow_migrate_model(alias, workflow) for alias in others)
    )


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


def _check_discovery() -> Iterator[CheckMessage]:
    """The package that `startproject` makes around the settings isn't an app."""
    modules = (django_settings.SETTINGS_MODULE, getattr(django_settings, "ROOT_URLCONF", None))
    installed = {config.name for config in apps.get_app_configs()}
    for package in sorted({str(one or "").rpartition(".")[0] for one in modules} - {""}):
        if package not in installed and _has_unseen_workflows(package):
            yield checks.Warning(
                f"{package}.workflows isn't discovered: {package!r} isn't in INSTALLED_APPS.",
                hint="Move it into an app, such as manage.py startapp makes, or add "
                f"{package!r} to INSTALLED_APPS.",
                obj=f"{package}.workflows",
                id="django_dbos.W009",
            )


def _has_unseen_workflows(package: str) -> bool:
    name = f"{package}.workflows"
    try:
        return name not in sys.modules and find_spec(name) is not None
    except ImportError:
        return False


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
