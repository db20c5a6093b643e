"""System checks for common mistakes in settings; each hint gives the remedy.

| id | problem |
| --- | --- |
| django_dbos.E001 | settings.DBOS has an invalid value |
| django_dbos.E002 | the workflow database is neither PostgreSQL nor SQLite |
| django_dbos.E003 | PostgreSQL is used through psycopg 2 |
| django_dbos.E004 | SQLite is used without immediate transactions |
| django_dbos.E005 | the database of an atomic step isn't in STEP_DATABASES |
| django_dbos.E006 | SERIALIZER isn't the path of a serializer |
| django_dbos.E007 | another distribution has overwritten files of this package |
| django_dbos.E008 | a schedule has a cron expression, and cronsim isn't installed |
| django_dbos.E009 | a schedule is declared with a mistake |
| django_dbos.E010 | ENCRYPTION is set, and cryptography isn't installed |
| django_dbos.E011 | a workflow needs a permission that isn't of the form "app.codename" |
| django_dbos.W001 | DbosRouter is missing, but tables belong to another database than the default |
| django_dbos.W002 | the workflow database has ATOMIC_REQUESTS |
| django_dbos.W003 | Channels is installed without a channel layer |
| django_dbos.W004 | the channel layer is in memory, outside of development |
| django_dbos.W005 | the database may lose its last transactions in a power failure |
| django_dbos.W006 | ALERTS, CAN_READ, CAN_SEND or REDACT isn't the path of a function |
| django_dbos.W007 | another router takes precedence over DbosRouter |
| django_dbos.W008 | the connection pool is smaller than the concurrency of a worker |
| django_dbos.W009 | a `workflows.py` beside the settings isn't discovered |
| django_dbos.W010 | a queue that isn't declared is spelled like one that is |
| django_dbos.W011 | the time-zone data, by which schedules go, is old |
| django_dbos.W012 | a schedule is declared with an end that has passed |
| django_dbos.W013 | an age of RETENTION is a plain number of less than an hour |
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import distributions
from importlib.util import find_spec
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings as django_settings
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections, router

from django_dbos.conf import (
    Settings,
    get_alerts,
    get_can_read,
    get_can_send,
    get_redact,
    get_settings,
    setting_problems,
)
from django_dbos.core import registry, zones
from django_dbos.core.cron import CronsimMissing
from django_dbos.core.schedules import of_stored
from django_dbos.operations import schedule_options
from django_dbos.routers import DbosRouter
from django_dbos.serializers import get_serializer
from django_dbos.store.checks import check_database

TAG = "django_dbos"
DISTRIBUTION = "django-durable-workflows"
# An unrelated project whose package has the same name.
STRANGER = "django-dbos"
ROUTER = "django_dbos.routers.DbosRouter"
# The similarity at which the name of a queue is taken for a typo of another.
SIMILAR = 0.75
# Days after the end of its year from which on time-zone data counts as old.
OLD_DATA = 180
# An age of retention below which a plain number, of seconds, may have been meant as days.
LIKELY_DAYS = 3_600
# A permission, as `has_perm()` takes it.
PERMISSION = re.compile(r"\w+\.\w+")
MEMORY_LAYER = "channels.layers.InMemoryChannelLayer"


def check_dbos(app_configs: Sequence[AppConfig] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Return all problems that can be detected without querying a database."""
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
        *check_database(settings.database, settings.concurrency),
        *_check_steps(settings),
        *_check_serializer(),
        *_check_encryption(settings),
        *_check_router(settings),
        *_check_atomic_requests(settings),
        *_check_channels(),
        *_check_functions(),
        *_check_discovery(),
        *_check_permissions(),
        *_check_queues(settings),
        *_check_retention(),
        *_check_schedules(),
    ]


def _check_distribution() -> Iterator[CheckMessage]:
    # This project once had that name. An editable install from then lists no modules.
    found = distributions(name=STRANGER)
    paths = (path for distribution in found for path in distribution.files or ())
    if any(path.parts[0] == "django_dbos" for path in paths):
        yield Error(
            f"The distribution {STRANGER!r} is installed. It belongs to another project, and the "
            "two packages overwrite each other's files.",
            hint=f"Run pip uninstall {STRANGER} {DISTRIBUTION}, then pip install {DISTRIBUTION}.",
            obj="django_dbos",
            id="django_dbos.E007",
        )


def _check_steps(settings: Settings) -> Iterator[CheckMessage]:
    for name, alias in sorted(registry.step_aliases.items()):
        if alias != settings.database and alias not in settings.step_databases:
            yield Error(
                f"Step {name!r} is atomic on database {alias!r}, which has no table for its "
                "checkpoint.",
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
            hint="Use 'json', 'pickle', or the path of an object with name, dumps() and loads().",
            obj="settings.DBOS",
            id="django_dbos.E006",
        )


def _check_encryption(settings: Settings) -> Iterator[CheckMessage]:
    if settings.encryption is not None and find_spec("cryptography") is None:
        yield Error(
            "DBOS['ENCRYPTION'] is set, but the cryptography package isn't installed.",
            hint="Run pip install 'django-durable-workflows[encryption]'.",
            obj="settings.DBOS",
            id="django_dbos.E010",
        )


def _check_router(settings: Settings) -> Iterator[CheckMessage]:
    if _is_routed_well(settings):
        return
    if any(isinstance(installed, DbosRouter) for installed in router.routers):
        yield checks.Warning(
            "Another router takes precedence over DbosRouter and sends tables of django_dbos to "
            "another database.",
            hint=f"Put {ROUTER!r} first in DATABASE_ROUTERS.",
            obj="settings.DATABASE_ROUTERS",
            id="django_dbos.W007",
        )
    else:
        yield checks.Warning(
            "No router assigns the tables of django_dbos to their database: every database would "
            "get them.",
            hint=f"Add {ROUTER!r} to DATABASE_ROUTERS.",
            obj="settings.DATABASE_ROUTERS",
            id="django_dbos.W001",
        )


def _is_routed_well(settings: Settings) -> bool:
    """Return whether the routers, of any origin, migrate the tables where the engine uses them.

    Reads don't matter: a project may send its own to a replica.
    """
    # Checks are imported before the models are loaded.
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
            f"DATABASES[{settings.database!r}] has ATOMIC_REQUESTS: starts and messages take "
            "effect only at the end of the request, so a view can't wait for a result.",
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
            "Channels is installed without a channel layer: without LISTEN, sockets notice "
            "changes only by polling.",
            hint="Configure CHANNEL_LAYERS with channels_redis, or silence this check: a channel "
            "layer is optional.",
            obj="settings.CHANNEL_LAYERS",
            id="django_dbos.W003",
        )
    elif layers["default"].get("BACKEND") == MEMORY_LAYER and not django_settings.DEBUG:
        yield checks.Warning(
            "The channel layer is in memory, so it doesn't reach other processes.",
            hint="Configure CHANNEL_LAYERS with channels_redis, or remove it.",
            obj="settings.CHANNEL_LAYERS",
            id="django_dbos.W004",
        )


def _check_schedules() -> Iterator[CheckMessage]:
    found, problems = schedule_options.declared()
    for name, error in sorted(problems.items()):
        label = f"schedule {name!r}"
        if isinstance(error, CronsimMissing):
            yield Error(str(error), obj=label, id="django_dbos.E008")
        else:
            text, owner = str(error), f"Schedule {name!r}"
            yield Error(
                text if text.startswith(owner) else f"{owner}: {text}",
                hint="Correct it in its decorator or in DBOS['SCHEDULES'].",
                obj=label,
                id="django_dbos.E009",
            )
    now = datetime.now(UTC)
    for name, options in sorted(found.items()):
        if schedule_options.has_ended(of_stored(options, None), now):
            yield checks.Warning(
                f"Schedule {name!r} starts nothing any more: its end, {options['end']}, has "
                "passed.",
                hint="Give it a later end, or remove it.",
                obj=f"schedule {name!r}",
                id="django_dbos.W012",
            )
    definitions = [of_stored(options, None) for options in found.values()]
    version = zones.data_version()
    if any(definition.needs_zone_data for definition in definitions) and _is_old(version):
        yield checks.Warning(
            f"The time-zone data in use is {version}: schedules go by the rules of that time.",
            hint="Update the system's tzdata, which goes before the package of that name; or set "
            "PYTHONTZPATH to an empty text, so that the package counts.",
            obj="zoneinfo",
            id="django_dbos.W011",
        )


def _is_old(version: str) -> bool:
    """Return whether time-zone data is of a year that ended half a year ago."""
    year = version[:4]
    if not year.isdigit():
        return False
    return date(int(year), 12, 31) + timedelta(days=OLD_DATA) < datetime.now(UTC).date()


def _check_discovery() -> Iterator[CheckMessage]:
    """Warn of workflows in the settings' package: as `startproject` creates it, it isn't an app."""
    modules = (django_settings.SETTINGS_MODULE, getattr(django_settings, "ROOT_URLCONF", None))
    installed = {config.name for config in apps.get_app_configs()}
    for package in sorted({str(path or "").rpartition(".")[0] for path in modules} - {""}):
        if package not in installed and _has_unseen_workflows(package):
            yield checks.Warning(
                f"{package}.workflows isn't discovered: {package!r} isn't in INSTALLED_APPS.",
                hint="Move it into an app (manage.py startapp creates one), or add "
                f"{package!r} to INSTALLED_APPS.",
                obj=f"{package}.workflows",
                id="django_dbos.W009",
            )


def _check_queues(settings: Settings) -> Iterator[CheckMessage]:
    """Warn of likely typos: other queues that aren't declared are unlimited, as is documented."""
    schedules, _ = schedule_options.declared()
    named = {
        options["queue_name"]: f"Schedule {name!r}"
        for name, options in sorted(schedules.items())
        if options["queue_name"] != settings.default_queue
    }
    named |= {
        definition.queue_name: f"Workflow {name!r}"
        for name, definition in sorted(registry.workflows.items())
        if definition.queue_name
    }
    if settings.default_queue != "default":
        named[settings.default_queue] = "DBOS['DEFAULT_QUEUE']"
    for queue_name, source in sorted(named.items()):
        match = difflib.get_close_matches(queue_name, settings.queues, n=1, cutoff=SIMILAR)
        if match and queue_name not in settings.queues:
            yield checks.Warning(
                f"{source} names queue {queue_name!r}, which isn't in DBOS['QUEUES'] and so has no "
                "limits.",
                hint=f"Did you mean {match[0]!r}? If not, declare it without limits: "
                f"DBOS['QUEUES'][{queue_name!r}] = {{}}.",
                obj="settings.DBOS",
                id="django_dbos.W010",
            )


def _check_retention() -> Iterator[CheckMessage]:
    """Warn of a plain number that may mean days: it deletes what ended seconds ago."""
    given = getattr(django_settings, "DBOS", {}).get("RETENTION")
    if isinstance(given, list | tuple):
        ages = {f"[{index}]['age']": rule.get("age") for index, rule in enumerate(given)}
    else:
        ages = {"": given}
    for place, age in ages.items():
        if isinstance(age, int | float) and age < LIKELY_DAYS:
            yield checks.Warning(
                f"DBOS['RETENTION']{place} is {age!r}, which means seconds: finished workflows are "
                f"deleted {age:g} s after their end.",
                hint=f"Write timedelta(days={age!r}), or timedelta(seconds={age!r}) if you mean "
                "seconds.",
                obj="settings.DBOS",
                id="django_dbos.W013",
            )


def _check_permissions() -> Iterator[CheckMessage]:
    """Refuse permissions that Django's backends grant to nobody but superusers."""
    for name, definition in sorted(registry.workflows.items()):
        permission = definition.permission
        if permission is not None and not PERMISSION.fullmatch(permission):
            yield Error(
                f"Workflow {name!r} needs permission {permission!r}, which isn't of the form "
                '"app.codename".',
                hint='Write the app\'s label before it: @workflow(permission="shop.refund").',
                obj=name,
                id="django_dbos.E011",
            )


def _has_unseen_workflows(package: str) -> bool:
    name = f"{package}.workflows"
    try:
        return name not in sys.modules and find_spec(name) is not None
    except ImportError:
        return False


def _check_functions() -> Iterator[CheckMessage]:
    for read, signature, until in (
        (
            get_can_read,
            "user, workflow, kind, key",
            "access is denied to everyone who needs its permission",
        ),
        (
            get_can_send,
            "user, workflow, topic",
            "messages from pages are refused to everyone who needs its permission",
        ),
        (get_redact, "user, row, field, value", "the admin shows no values"),
        (get_alerts, "alert", "alerts are only sent as signals"),
    ):
        try:
            read()
        except ImproperlyConfigured as error:
            yield checks.Warning(
                str(error),
                hint=f"Use the path of a function that takes ({signature}). Until then {until}.",
                obj="settings.DBOS",
                id="django_dbos.W006",
            )
