"""settings.DBOS, parsed on first use into a frozen dataclass.

Invalid settings are reported in two ways: ``get_settings()`` raises ImproperlyConfigured, and
``setting_problems()`` lists the problems for the system checks.
"""

from __future__ import annotations

import binascii
import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from django_dbos.core import durations, names, queue_options
from django_dbos.core.numbers import check_bool, check_count
from django_dbos.core.queue_options import PlainOptions
from django_dbos.core.retention import Rules, parse_rules

# The characters that a token must have, at least.
SHORTEST_TOKEN = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """The limits of what is healthy: DBOS["HEALTH"]. Durations are in seconds."""

    # The time for which a workflow may be enqueued before it runs for the first time.
    oldest_enqueued: float = 300.0
    # The share of the workflows created in the window that may fail, once this number has.
    failure_rate: float = 0.1
    min_failures: int = 10
    # The time over which failures are counted.
    window: float = 300.0
    # The number of workflows that may be quarantined.
    quarantined: int = 0


# The paths of DBOS["REDACT"], in their parts, by the names of workflows.
Paths = tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]
# The fields with which a path may begin.
REDACTABLE = (
    "input", "output", "error", "attempt_errors", "message", "value", "initial", "answer",
    "attributes", "*",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Encryption:
    """The keys that encrypt stored values."""

    keys: tuple[tuple[str, bytes], ...] = field(repr=False)
    """Ids and keys of 32 bytes."""
    primary: str | None
    """The id of the key for new values; None leaves these plain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offload:
    """The storage of large values."""

    storage: str
    """Its alias in STORAGES."""
    above: int
    """The size in bytes above which a value goes there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings in use. Keys in settings.DBOS are in capitals; durations here are in seconds."""

    # The aliases of the workflow database, and of the other databases with atomic steps, which
    # hold the checkpoints of these steps.
    database: str = "default"
    step_databases: tuple[str, ...] = ()

    # "json", "pickle", or the dotted path to a serializers.Serializer.
    serializer: str = "json"
    # The largest size of a serialized value, in bytes of UTF-8.
    max_payload_bytes: int = 4 * 1024 * 1024
    # Modules (submodules included) from which the class of a recorded value may be imported.
    import_modules: tuple[str, ...] = ("smtplib",)

    # Use PostgreSQL's LISTEN and NOTIFY between processes; without them, processes poll.
    listen: bool = True
    # A transaction pooler is in front of PostgreSQL, so sessions can't keep state.
    transaction_pooler: bool = False

    # An executor sends a heartbeat every `heartbeat_interval`; after `lease` without one, it counts
    # as dead.
    lease: float = 20.0
    heartbeat_interval: float = 2.5
    # A waiting workflow keeps its slot for this long before it is suspended.
    hold_time: float = 0.5
    # The interval at which a wait polls while no notification arrives.
    poll_interval: float = 1.0
    # The number of executors in a row that may die with a workflow before it is given up.
    max_recovery_attempts: int = 100
    # The numbers of records of one workflow that log a warning, and that quarantine it. None sets
    # no limit.
    step_limits: tuple[int, int] | None = (10_000, 50_000)
    message_limits: tuple[int, int] | None = (10_000, 50_000)
    event_limits: tuple[int, int] | None = (10_000, 50_000)
    # The time that running steps have to finish after SIGTERM.
    grace_period: float = 30.0

    # The queue of workflows that name no other.
    default_queue: str = "default"
    # The options of each declared queue, in their plain form, by its name.
    queues: Mapping[str, PlainOptions] = field(default_factory=dict)
    # Schedules beside those of the decorators: a dict of options with "workflow", by name.
    schedules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # The number of workflows that a worker process runs at once.
    concurrency: int = 32
    # The rules by which finished workflows are deleted; None keeps them forever.
    retention: Rules | None = None
    # What health checks and alerts call healthy.
    health: Thresholds = field(default_factory=Thresholds)
    # Is called with each alert that is raised or resolved: (alert) -> None.
    alerts: Callable[..., Any] | str | None = None
    # The interval at which workers look for alerts.
    alert_interval: float = 30.0
    # The secret by which a monitoring system may read health and metrics over HTTP.
    monitoring_token: str = ""
    # Decides whether a browser may read a stream or an event: (user, workflow, kind, key) -> bool.
    can_read: Callable[..., Any] | str | None = None
    # The keys that encrypt stored values; None leaves them plain.
    encryption: Encryption | None = field(default=None, repr=False)
    # The storage of large values, and the size above which they go there; None keeps them in rows.
    offload: Offload | None = None
    # Changes what the admin and exports show of a value: (user, row, field, value) -> value. Or
    # paths, by the names of workflows.
    redact: Callable[..., Any] | str | Paths | None = None
    # The interval at which an open socket checks this again; None checks only when it opens.
    recheck: float | None = 60.0
    # The number of sockets that a user may have open in one process; None sets no limit.
    sockets_per_user: int | None = 100
    # The address of the site, for callbacks and for links to forms: "https://shop.example".
    base_url: str = ""
    # Decides whether a page may send a message: (user, workflow, topic) -> bool.
    can_send: Callable[..., Any] | str | None = None
    # The time for which an HTTP request waits for news.
    long_poll: float = 20.0
    # The number of requests that may wait in one process of a WSGI server, each in a thread.
    waiting_threads: int = 4
    # The project's version, which executors tell the admin.
    app_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingProblem:
    """An invalid setting, with a hint. The key is empty if settings.DBOS as a whole is invalid."""

    key: str
    message: str
    hint: str


@functools.cache
def get_settings() -> Settings:
    """Return the settings in use; raise ImproperlyConfigured if any of them is invalid."""
    values, problems = _read()
    if problems:
        lines = [f"{problem.message} {problem.hint}".strip() for problem in problems]
        raise ImproperlyConfigured("\n".join(lines))
    return Settings(**values)


def setting_problems() -> list[SettingProblem]:
    """Return all problems with settings.DBOS, without raising."""
    return _read()[1]


def get_can_read() -> Callable[..., Any] | None:
    """Return the CAN_READ function, or None; raise ImproperlyConfigured if its path is wrong."""
    return _imported("CAN_READ", get_settings().can_read)


def get_alerts() -> Callable[..., Any] | None:
    """Return the ALERTS function, or None; raise ImproperlyConfigured if its path is wrong."""
    return _imported("ALERTS", get_settings().alerts)


def get_redact() -> Callable[..., Any] | None:
    """Return the REDACT function, or None; raise ImproperlyConfigured if its path is wrong."""
    given = get_settings().redact
    return None if isinstance(given, tuple) else _imported("REDACT", given)


def get_can_send() -> Callable[..., Any] | None:
    """Return the CAN_SEND function, or None; raise ImproperlyConfigured if its path is wrong."""
    return _imported("CAN_SEND", get_settings().can_send)


def _imported(key: str, given: Callable[..., Any] | str | None) -> Callable[..., Any] | None:
    if not isinstance(given, str):
        return given
    try:
        function = import_string(given)
    except ImportError as error:
        raise ImproperlyConfigured(f"DBOS[{key!r}] is {given!r}: {error}") from error
    if not callable(function):
        raise ImproperlyConfigured(f"DBOS[{key!r}] is {given!r}, which isn't callable.")
    return function  # type: ignore[no-any-return]


def absolute_url(path: str) -> str:
    """Return an address of the site; raise ImproperlyConfigured without DBOS["BASE_URL"]."""
    base_url = get_settings().base_url
    if not base_url:
        raise ImproperlyConfigured(
            "Links for people and other services begin with the address of the site. Set "
            "DBOS['BASE_URL'], for example to 'https://shop.example'."
        )
    return f"{base_url}{path}"


def _forget_settings(*, setting: str, **kwargs: object) -> None:
    if setting in ("DBOS", "DATABASES"):
        get_settings.cache_clear()


setting_changed.connect(_forget_settings, dispatch_uid="django_dbos.conf")


def _read() -> tuple[dict[str, Any], list[SettingProblem]]:
    given = getattr(django_settings, "DBOS", {})
    if not isinstance(given, Mapping):
        message = f"DBOS must be a dict, not {type(given).__name__} {given!r}."
        return {}, [SettingProblem(key="", message=message, hint="")]

    values: dict[str, Any] = {}
    problems: list[SettingProblem] = []
    for key, value in given.items():
        parse = _PARSERS.get(key)
        if parse is None:
            problems.append(_unknown_key(key))
            continue
        try:
            values[key.lower()] = parse(value, f"DBOS[{key!r}]")
        except (TypeError, ValueError) as error:
            problems.append(SettingProblem(key=key, message=str(error), hint=_hint(key, value)))
        except ExceptionGroup as group:
            problems += [
                SettingProblem(key=key, message=str(error), hint=_hint(key, value))
                for error in group.exceptions
            ]
    return values, problems + _conflicts(Settings(**values))


def _hint(key: str, value: object) -> str:
    if key == "STEP_DATABASES" and not isinstance(value, list | tuple):
        return f"For one database, write [{value!r}]." if isinstance(value, str) else ""
    return _HINTS.get(key, "")


def _unknown_key(key: object) -> SettingProblem:
    hint = names.suggest(str(key), _PARSERS).strip()
    return SettingProblem(
        key=str(key),
        message=f"DBOS[{key!r}] isn't a setting of django_dbos.",
        hint=hint or f"The settings are {', '.join(sorted(_PARSERS))}.",
    )


def _conflicts(settings: Settings) -> list[SettingProblem]:
    if settings.lease > 2 * settings.heartbeat_interval:
        return []
    message = (
        f"DBOS['LEASE'] is {settings.lease:g} s, which isn't more than twice the heartbeat "
        f"interval of {settings.heartbeat_interval:g} s."
    )
    hint = (
        "Raise LEASE or lower HEARTBEAT_INTERVAL, so that an executor doesn't lose its workflows "
        "to a single late heartbeat."
    )
    return [SettingProblem(key="LEASE", message=message, hint=hint)]


# Parsers: each returns the value of one setting, or raises TypeError or ValueError with a message
# that begins with the label, or a group of them.


def _positive_duration(value: Any, label: str) -> float:
    seconds = _duration(value, label)
    if seconds == 0:
        raise ValueError(f"{label} must be more than 0.")
    return seconds


def _duration(value: Any, label: str) -> float:
    if value is None:
        raise TypeError(f"{label} must be seconds or a timedelta, not None.")
    # Threads can't wait longer than that, and the difference is of no consequence.
    seconds: float = durations.to_seconds(value, label=label)
    return min(seconds, durations.LONGEST_WAIT)


def _optional_duration(value: Any, label: str) -> float | None:
    return None if value is None else _positive_duration(value, label)


def _retention(value: Any, label: str) -> Rules | None:
    return None if value is None else parse_rules(value, label)


def _thresholds(value: Any, label: str) -> Thresholds:
    if not isinstance(value, Mapping):
        raise TypeError(f"{label} must be a dict of thresholds, not {value!r}.")
    values: dict[str, Any] = {}
    for key, given in value.items():
        where = f"{label}[{key!r}]"
        if key not in _THRESHOLDS:
            raise ValueError(
                f"{label} has no key {key!r}; the keys are {', '.join(_THRESHOLDS)}."
                f"{names.suggest(str(key), _THRESHOLDS)}"
            )
        values[key] = _THRESHOLDS[key](given, where)
    return Thresholds(**values)


def _share(value: Any, label: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{label} must be a number from 0 to 1, but is {value!r}.")
    return float(value)


def _token(value: Any, label: str) -> str:
    text = names.check_text(value, label=label, allow_empty=True)
    if text and len(text) < SHORTEST_TOKEN:
        raise ValueError(f"{label} must have at least {SHORTEST_TOKEN} characters.")
    return text


def _optional_int(value: Any, label: str) -> int | None:
    return None if value is None else check_count(value, label)


def _count_or_zero(value: Any, label: str) -> int:
    return check_count(value, label, minimum=0)


def _limits(value: Any, label: str) -> tuple[int, int] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise TypeError(f"{label} must be a pair of ints, or None, not {value!r}.")
    warn, stop = (check_count(limit, f"{label}[{i}]") for i, limit in enumerate(value))
    if warn > stop:
        raise ValueError(f"{label} must have the lower number first, but is {value!r}.")
    return warn, stop


def _name(value: Any, label: str) -> str:
    return names.check_text(value, label=label)


def _optional_name(value: Any, label: str) -> str:
    # Of an environment variable that isn't set.
    return "" if value is None else names.check_text(value, label=label, allow_empty=True)


def _queues(value: Any, label: str) -> dict[str, PlainOptions]:
    if not isinstance(value, Mapping):
        raise TypeError(
            f"{label} must be a dict of queues and their options, not {type(value).__name__} "
            f"{value!r}."
        )
    queues: dict[str, PlainOptions] = {}
    errors: list[Exception] = []
    for name, options in value.items():
        where = f"{label}[{name!r}]"
        try:
            queues[names.check_text(name, label=f"The name of {where}")] = {}
            if not isinstance(options, Mapping):
                raise TypeError(
                    f"{where} must be a dict of options, not {type(options).__name__} {options!r}."
                )
        except (TypeError, ValueError) as error:
            errors.append(error)
        else:
            queues[name], found = queue_options.find_errors(options, where)
            errors += found
    if errors:
        raise ExceptionGroup(label, errors)
    return queues


def _alias(value: Any, label: str) -> str:
    known = list(django_settings.DATABASES)
    if value not in known:
        suggestion = names.suggest(value, known) if isinstance(value, str) else ""
        raise ValueError(
            f"{label} must be one of the aliases in DATABASES, but is {value!r}.{suggestion}"
        )
    return str(value)


def _aliases(value: Any, label: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{label} must be a list of aliases, not {type(value).__name__} {value!r}.")
    return tuple(_alias(alias, f"{label}[{index}]") for index, alias in enumerate(value))


def _modules(value: Any, label: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(
            f"{label} must be a list of module names, not {type(value).__name__} {value!r}."
        )
    for name in value:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"{label} must contain dotted module names, but has {name!r}.")
    return tuple(value)


def _serializer(value: Any, label: str) -> str:
    if not isinstance(value, str) or not (value in ("json", "pickle") or "." in value):
        raise ValueError(
            f"{label} must be 'json', 'pickle' or the dotted path to a serializer, but is "
            f"{value!r}."
        )
    return value


def _schedules(value: Any, label: str) -> Mapping[str, Mapping[str, Any]]:
    """Check the form only: the options are checked once the workflows are known."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{label} must be a dict of schedules, not {type(value).__name__}.")
    for name, options in value.items():
        names.check_schedule_name(name)
        if not isinstance(options, Mapping) or not isinstance(options.get("workflow"), str):
            raise TypeError(
                f"{label}[{name!r}] must be a dict with the name of a 'workflow' and the options "
                f"of its schedule, not {options!r}."
            )
    return value


def _encryption(value: Any, label: str) -> Encryption | None:
    """Check the keys. Their bytes aren't in any message."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise TypeError(f"{label} must be a dict with 'KEYS', not a {type(value).__name__}.")
    for name in value:
        if name not in ("KEYS", "PRIMARY"):
            suggestion = names.suggest(str(name), ("KEYS", "PRIMARY"))
            raise ValueError(f"{label} has no option {name!r}.{suggestion}")
    given = value.get("KEYS")
    if not isinstance(given, Mapping) or not given:
        raise TypeError(f"{label}['KEYS'] must be a dict of at least one key, by id.")
    keys = {_key_id(key_id, label): _key(key, key_id, label) for key_id, key in given.items()}
    primary = value.get("PRIMARY", next(iter(keys)))
    if primary is not None and primary not in keys:
        raise ValueError(
            f"{label}['PRIMARY'] must be the id of one of the keys, or None, but is {primary!r}."
        )
    return Encryption(keys=tuple(keys.items()), primary=primary)


def _key_id(key_id: Any, label: str) -> str:
    if not isinstance(key_id, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", key_id):
        raise ValueError(
            f"{label}['KEYS'] has the id {key_id!r}. Ids have up to 64 letters, digits, dots, "
            "dashes and underscores: they are stored with each value."
        )
    return key_id


def _key(key: Any, key_id: str, label: str) -> bytes:
    """Return the 32 bytes of a key, which may be given in base64, also of URLs."""
    data = key
    if isinstance(key, str):
        try:
            data = binascii.a2b_base64(key.replace("-", "+").replace("_", "/"), strict_mode=True)
        except ValueError:
            data = None
    if not isinstance(data, bytes) or len(data) != 32:
        raise ValueError(
            f"{label}['KEYS'][{key_id!r}] must be 32 bytes, or their base64. Make one: python -c "
            "'import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())'."
        )
    return data


def _offload(value: Any, label: str) -> Offload | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise TypeError(f"{label} must be a dict with 'STORAGE', not {type(value).__name__}.")
    for name in value:
        if name not in ("STORAGE", "ABOVE"):
            suggestion = names.suggest(str(name), ("STORAGE", "ABOVE"))
            raise ValueError(f"{label} has no option {name!r}.{suggestion}")
    storage, known = value.get("STORAGE"), list(getattr(django_settings, "STORAGES", {}))
    if not isinstance(storage, str) or storage not in known:
        suggestion = names.suggest(storage, known) if isinstance(storage, str) else ""
        raise ValueError(
            f"{label}['STORAGE'] must be one of the aliases in STORAGES, but is {storage!r}."
            f"{suggestion}"
        )
    above = check_count(value.get("ABOVE", 65_536), f"{label}['ABOVE']", minimum=1_024)
    return Offload(storage=storage, above=above)


def _redact(value: Any, label: str) -> Callable[..., Any] | str | Paths | None:
    if not isinstance(value, Mapping):
        return _function(value, label)
    return tuple(
        (_name(name, f"The name of a workflow in {label}"), _paths(paths, f"{label}[{name!r}]"))
        for name, paths in value.items()
    )


def _paths(value: Any, label: str) -> tuple[tuple[str, ...], ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{label} must be a list of paths, not {type(value).__name__} {value!r}.")
    paths = []
    for path in value:
        parts = path.split(".") if isinstance(path, str) else []
        if not parts or not all(parts):
            raise ValueError(f"{label} must have paths like 'input.kwargs.card', not {path!r}.")
        if parts[0] not in REDACTABLE:
            suggestion = names.suggest(parts[0], REDACTABLE)
            raise ValueError(
                f"{label} has the path {path!r}, which must begin with a field: one of "
                f"{', '.join(REDACTABLE)}.{suggestion}"
            )
        paths.append(tuple(parts))
    return tuple(paths)


def _base_url(value: Any, label: str) -> str:
    text = names.check_text(value, label=label, allow_empty=True)
    parts = urlsplit(text)
    is_address = parts.scheme in ("http", "https") and parts.netloc
    if text and (not is_address or parts.path.strip("/") or parts.query or parts.fragment):
        raise ValueError(
            f"{label} must be a scheme and a host, such as 'https://shop.example', but is {text!r}."
        )
    return text.rstrip("/")


def _function(value: Any, label: str) -> Callable[..., Any] | str | None:
    if value is None or callable(value):
        return value  # type: ignore[no-any-return]
    if isinstance(value, str) and "." in value:
        return value
    raise ValueError(f"{label} must be a function or the dotted path to one, but is {value!r}.")


_THRESHOLDS: dict[str, Callable[[Any, str], Any]] = {
    "oldest_enqueued": _positive_duration,
    "failure_rate": _share,
    "min_failures": check_count,
    "window": _positive_duration,
    "quarantined": _count_or_zero,
}

_PARSERS: dict[str, Callable[[Any, str], Any]] = {
    "DATABASE": _alias,
    "STEP_DATABASES": _aliases,
    "SERIALIZER": _serializer,
    "MAX_PAYLOAD_BYTES": check_count,
    "IMPORT_MODULES": _modules,
    "LISTEN": check_bool,
    "TRANSACTION_POOLER": check_bool,
    "LEASE": _positive_duration,
    "HEARTBEAT_INTERVAL": _positive_duration,
    "HOLD_TIME": _duration,
    "POLL_INTERVAL": _positive_duration,
    "MAX_RECOVERY_ATTEMPTS": check_count,
    "STEP_LIMITS": _limits,
    "MESSAGE_LIMITS": _limits,
    "EVENT_LIMITS": _limits,
    "GRACE_PERIOD": _duration,
    "DEFAULT_QUEUE": _name,
    "QUEUES": _queues,
    "SCHEDULES": _schedules,
    "CONCURRENCY": check_count,
    "RETENTION": _retention,
    "HEALTH": _thresholds,
    "ALERTS": _function,
    "ALERT_INTERVAL": _positive_duration,
    "MONITORING_TOKEN": _token,
    "CAN_READ": _function,
    "ENCRYPTION": _encryption,
    "OFFLOAD": _offload,
    "REDACT": _redact,
    "RECHECK": _optional_duration,
    "SOCKETS_PER_USER": _optional_int,
    "BASE_URL": _base_url,
    "CAN_SEND": _function,
    "LONG_POLL": _positive_duration,
    "WAITING_THREADS": _count_or_zero,
    "APP_VERSION": _optional_name,
}

_HINTS = {
    "DATABASE": "Add the database to DATABASES, or use an alias that is there.",
    "STEP_DATABASES": "Add the database to DATABASES, or use an alias that is there.",
    "IMPORT_MODULES": "List modules like 'smtplib' or 'shop.errors'; submodules are included.",
    **dict.fromkeys(
        ("STEP_LIMITS", "MESSAGE_LIMITS", "EVENT_LIMITS"),
        "The first number logs a warning, the second quarantines the workflow. None sets no limit.",
    ),
    "SCHEDULES": "For example {'nightly': {'workflow': 'shop.workflows.report', "
    "'cron': '0 3 * * *'}}.",
    "ENCRYPTION": "For example {'KEYS': {'2026-01': os.environ['DBOS_KEY']}}; see "
    "docs/guides/payloads.md.",
    "OFFLOAD": "For example {'STORAGE': 'values', 'ABOVE': 65_536}.",
    "RETENTION": "None keeps finished workflows forever. Rules are like {'status': 'ERROR', 'age': "
    "timedelta(days=90)} or {'name': 'shop.*', 'count': 1000}; the first that fits decides.",
    "HEALTH": "For example {'oldest_enqueued': 600, 'failure_rate': 0.05}.",
    "ALERTS": "The function is called with an Alert of django_dbos.alerts.",
    "MONITORING_TOKEN": "Make one by `python -c 'import secrets; print(secrets.token_urlsafe())'`.",
    "RECHECK": "None checks permissions only when a socket opens.",
    "SOCKETS_PER_USER": "None sets no limit.",
    "BASE_URL": "A prefix of paths comes from FORCE_SCRIPT_NAME, as it does for all of Django.",
    "CAN_READ": "The function is called with (user, workflow, kind, key) and returns whether the "
    "user may read.",
    "REDACT": "The function is called with (user, row, field, value) and returns what is shown of "
    "the value. Paths are like {'shop.workflows.checkout': ['input.kwargs.card']}.",
    "CAN_SEND": "The function is called with (user, workflow, topic) and returns whether the user "
    "may send.",
    "WAITING_THREADS": "With 0, requests to a WSGI server never wait.",
}
