"""settings.DBOS, read when it is first needed, as one frozen dataclass.

What is wrong with it is found in one place and told in two ways: ``get_settings()`` raises
ImproperlyConfigured, ``setting_problems()`` lists the problems for the system checks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from django_dbos.core import durations, names

LARGEST_INT = 2**31 - 1
"""The largest number that a column of integers holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings in force. Keys in settings.DBOS are in capitals; durations here are seconds."""

    # Where workflows live, and where the checkpoints of atomic steps on other databases do.
    database: str = "default"
    step_databases: tuple[str, ...] = ()

    # "json", "pickle", or the dotted path to a serializer.
    serializer: str = "json"
    max_payload_bytes: int = 4 * 1024 * 1024
    # Modules, with those below them, that a recorded class may be imported from.
    import_modules: tuple[str, ...] = ("smtplib",)

    listen: bool = True
    transaction_pooler: bool = False

    # An executor that wasn't heard of for `lease` is dead; it makes itself heard every
    # `heartbeat_interval`.
    lease: float = 20.0
    heartbeat_interval: float = 2.5
    # A workflow that waits keeps its slot this long before it is suspended.
    hold_time: float = 0.5
    # How often a waiter looks when nothing tells it to.
    poll_interval: float = 1.0
    max_recovery_attempts: int = 100
    # What one workflow may record before a warning, and before it is quarantined; None: no limit.
    step_limits: tuple[int, int] | None = (10_000, 50_000)
    message_limits: tuple[int, int] | None = (10_000, 50_000)
    event_limits: tuple[int, int] | None = (10_000, 50_000)
    # After SIGTERM, steps in progress have this long to finish.
    grace_period: float = 30.0

    default_queue: str = "default"
    concurrency: int = 32
    # Finished workflows older than this are deleted; None keeps them for ever.
    retention: float | None = None
    # Who may read a stream or an event from a browser: (user, workflow, kind, key) -> bool.
    can_read: Callable[..., Any] | str | None = None
    # How often that is asked again while a socket is open; None: only when it opens.
    recheck: float | None = 60.0
    # How many sockets one user may have open in a process; None: any number.
    sockets_per_user: int | None = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingProblem:
    """Something wrong with settings.DBOS: what is wrong, and what to do. No key: with all of it."""

    key: str
    message: str
    hint: str


@functools.cache
def get_settings() -> Settings:
    """Return the settings in force; raises ImproperlyConfigured if any of them can't be used."""
    values, problems = _read()
    if problems:
        lines = [f"{problem.message} {problem.hint}".strip() for problem in problems]
        raise ImproperlyConfigured("\n".join(lines))
    return Settings(**values)


def setting_problems() -> list[SettingProblem]:
    """Return everything that is wrong with settings.DBOS; nothing is raised."""
    return _read()[1]


def get_can_read() -> Callable[..., Any] | None:
    """Return the function that CAN_READ names, or None if nobody may read."""
    can_read = get_settings().can_read
    if not isinstance(can_read, str):
        return can_read
    try:
        function = import_string(can_read)
    except ImportError as error:
        raise ImproperlyConfigured(f"DBOS['CAN_READ'] names {can_read!r}: {error}") from error
    if not callable(function):
        raise ImproperlyConfigured(f"DBOS['CAN_READ'] names {can_read!r}, which can't be called.")
    return function  # type: ignore[no-any-return]


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
        "Raise LEASE or lower HEARTBEAT_INTERVAL: one late heartbeat must not cost an executor "
        "its workflows."
    )
    return [SettingProblem(key="LEASE", message=message, hint=hint)]


# What follows checks one value each: it is given the value and what to call it.


def _positive_duration(value: Any, what: str) -> float:
    seconds = _duration(value, what)
    if seconds == 0:
        raise ValueError(f"{what} must be more than 0.")
    return seconds


def _duration(value: Any, what: str) -> float:
    if value is None:
        raise TypeError(f"{what} must be seconds or a timedelta, not None.")
    # No thread can wait for longer, and nobody sees the difference.
    seconds: float = durations.to_seconds(value, label=what)
    return min(seconds, durations.LONGEST_WAIT)


def _optional_duration(value: Any, what: str) -> float | None:
    return None if value is None else _positive_duration(value, what)


def _positive_int(value: Any, what: str) -> int:
    if type(value) is not int:
        raise TypeError(f"{what} must be an int, not {type(value).__name__} {value!r}.")
    if value < 1:
        raise ValueError(f"{what} must be at least 1, but is {value!r}.")
    if value > LARGEST_INT:
        raise ValueError(f"{what} must be at most {LARGEST_INT:,}, but is {value!r}.")
    return value


def _optional_int(value: Any, what: str) -> int | None:
    return None if value is None else _positive_int(value, what)


def _limits(value: Any, what: str) -> tuple[int, int] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise TypeError(f"{what} must be a pair of ints, or None, not {value!r}.")
    warn, stop = (_positive_int(one, f"{what}[{n}]") for n, one in enumerate(value))
    if warn > stop:
        raise ValueError(f"{what} must warn before it stops, but is {value!r}.")
    return warn, stop


def _bool(value: Any, what: str) -> bool:
    if type(value) is not bool:
        raise TypeError(f"{what} must be True or False, not {type(value).__name__} {value!r}.")
    return value


def _name(value: Any, what: str) -> str:
    return names.check_text(value, label=what)


def _alias(value: Any, what: str) -> str:
    known = list(django_settings.DATABASES)
    if value not in known:
        suggestion = names.suggest(value, known) if isinstance(value, str) else ""
        raise ValueError(
            f"{what} must be one of the aliases in DATABASES, but is {value!r}.{suggestion}"
        )
    return str(value)


def _aliases(value: Any, what: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{what} must be a list of aliases, not {type(value).__name__} {value!r}.")
    return tuple(_alias(alias, f"{what}[{index}]") for index, alias in enumerate(value))


def _modules(value: Any, what: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{what} must be a list of modules, not {type(value).__name__} {value!r}.")
    for one in value:
        if not isinstance(one, str) or not all(part.isidentifier() for part in one.split(".")):
            raise ValueError(f"{what} must hold dotted names of modules, but has {one!r}.")
    return tuple(value)


def _serializer(value: Any, what: str) -> str:
    if not isinstance(value, str) or not (value in ("json", "pickle") or "." in value):
        raise ValueError(
            f"{what} must be 'json', 'pickle' or the dotted path to a serializer, but is {value!r}."
        )
    return value


def _function(value: Any, what: str) -> Callable[..., Any] | str | None:
    if value is None or callable(value):
        return value  # type: ignore[no-any-return]
    if isinstance(value, str) and "." in value:
        return value
    raise ValueError(f"{what} must be a function or the dotted path to one, but is {value!r}.")


_PARSERS: dict[str, Callable[[Any, str], Any]] = {
    "DATABASE": _alias,
    "STEP_DATABASES": _aliases,
    "SERIALIZER": _serializer,
    "MAX_PAYLOAD_BYTES": _positive_int,
    "IMPORT_MODULES": _modules,
    "LISTEN": _bool,
    "TRANSACTION_POOLER": _bool,
    "LEASE": _positive_duration,
    "HEARTBEAT_INTERVAL": _positive_duration,
    "HOLD_TIME": _duration,
    "POLL_INTERVAL": _positive_duration,
    "MAX_RECOVERY_ATTEMPTS": _positive_int,
    "STEP_LIMITS": _limits,
    "MESSAGE_LIMITS": _limits,
    "EVENT_LIMITS": _limits,
    "GRACE_PERIOD": _duration,
    "DEFAULT_QUEUE": _name,
    "CONCURRENCY": _positive_int,
    "RETENTION": _optional_duration,
    "CAN_READ": _function,
    "RECHECK": _optional_duration,
    "SOCKETS_PER_USER": _optional_int,
}

_HINTS = {
    "DATABASE": "Add the database to DATABASES, or name one that is there.",
    "STEP_DATABASES": "Add the database to DATABASES, or name one that is there.",
    "IMPORT_MODULES": "Name modules like 'smtplib' or 'shop.errors'; those below them count too.",
    **dict.fromkeys(
        ("STEP_LIMITS", "MESSAGE_LIMITS", "EVENT_LIMITS"),
        "They are a pair: when to warn, and when to stop. None sets no limit.",
    ),
    "RETENTION": "None keeps finished workflows for ever.",
    "RECHECK": "None asks only when a socket opens.",
    "SOCKETS_PER_USER": "None sets no limit.",
    "CAN_READ": "It is called with (user, workflow, kind, key) and returns whether the user may "
    "read.",
}
