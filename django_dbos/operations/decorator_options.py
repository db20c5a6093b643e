"""The options of @workflow and @step: checked, and as the definitions hold them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction

from django_dbos.core import durations, names
from django_dbos.core.numbers import LARGEST_INT

# The most attempts at a step, which a SMALLINT column counts.
MAX_ATTEMPTS = 32_767


class Decorated:
    """The base of what the decorators make."""

    __slots__ = ()


def check_workflow_function(function: Any) -> None:
    """Raise TypeError if a function can't be a workflow; see check_function()."""
    check_function(function, "workflow")
    if _is_method(function):
        raise TypeError(
            f"@workflow can't be put on method {function.__qualname__!r}: another process "
            "can't know its instance. Make it a function, or a static method (@staticmethod "
            "above @workflow), and pass its data as arguments; its steps may be methods."
        )


def check_function(function: Any, decorator: str) -> None:
    """Raise TypeError if a decorator can't be put on something."""
    if isinstance(function, staticmethod | classmethod):
        raise TypeError(f"@{decorator} goes below @{type(function).__name__}, not above it.")
    if isinstance(function, Decorated):
        raise TypeError(f"{function!r} can't be made a {decorator}: it is decorated already.")
    if not callable(function):
        raise TypeError(
            f"@{decorator} takes a function, not {type(function).__name__} {function!r}."
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"@{decorator} can't be put on generator {function.__qualname__!r}: the values that "
            "it yields can't be recorded. Return a value; use write_stream() for many."
        )


def _is_method(function: Any) -> bool:
    """Return True if a function belongs to a class and expects its instance."""
    scope = function.__qualname__.rpartition(".")[0]
    first = next(iter(inspect.signature(function).parameters), None)
    return bool(scope) and not scope.endswith("<locals>") and first in ("self", "cls")


def check_workflow_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of @workflow, as a WorkflowDefinition takes them."""
    timeout = durations.to_seconds(options["timeout"], label="timeout")
    if timeout == 0:
        raise ValueError("timeout must be more than 0: the workflow could never run.")
    queue_name, attempts = options["queue_name"], options["max_recovery_attempts"]
    version, permission = options["version"], options["permission"]
    return {
        "version": None if version is None else names.check_version(version),
        "queue_name": None if queue_name is None else names.check_queue_name(queue_name),
        "timeout": timeout,
        "max_recovery_attempts": _check_count(attempts, "max_recovery_attempts"),
        "permission": None
        if permission is None
        else names.check_text(permission, label="A permission"),
    }


def check_step_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of @step, as a StepDefinition takes them."""
    using, is_atomic = options["using"], options["atomic"]
    backoff, jitter = options["backoff"], options["jitter"]
    if using is not None and not is_atomic:
        raise ValueError(f"using={using!r} needs atomic=True: else there is no transaction.")
    if backoff < 1:
        raise ValueError(f"backoff must be at least 1, but is {backoff!r}.")
    if not 0 <= jitter <= 1:
        raise ValueError(f"jitter must be from 0 to 1, but is {jitter!r}.")
    seconds = {
        name: durations.to_seconds(options[name], label=name)
        for name in ("interval", "max_interval", "timeout")
    }
    return {
        **seconds,
        "max_attempts": _check_attempts(options["max_attempts"]),
        "backoff": float(backoff),
        "jitter": float(jitter),
        "retry_on": _check_errors(options["retry_on"]),
        "is_atomic": is_atomic,
        "using": using,
        "confirm": options["confirm"],
    }


def _check_count(value: Any, name: str) -> int | None:
    if value is not None and (type(value) is not int or value < 1):
        raise ValueError(f"{name} must be an int of at least 1, but is {value!r}.")
    if value is not None and value > LARGEST_INT:
        raise ValueError(f"{name} must be at most {LARGEST_INT:,}, but is {value!r}.")
    return value


def _check_attempts(value: Any) -> int:
    count = _check_count(value, "max_attempts") or 1
    if count > MAX_ATTEMPTS:
        raise ValueError(
            f"max_attempts must be at most {MAX_ATTEMPTS:,}, but is {count:,}. To poll for as "
            "long as it takes, loop in the workflow with dbos.sleep()."
        )
    return count


def _check_errors(value: Any) -> tuple[type[Exception], ...] | Callable[[Exception], object]:
    if callable(value) and not isinstance(value, type):
        if iscoroutinefunction(value):
            raise TypeError(f"retry_on must be a sync function, and {value!r} is async.")
        return value  # type: ignore[no-any-return]
    errors = value if isinstance(value, tuple) else (value,)
    for error in errors:
        if not (isinstance(error, type) and issubclass(error, Exception)):
            raise TypeError(
                "retry_on must be an exception class, a tuple of them, or a function that takes "
                f"the error and returns whether to try again, but is or contains {error!r}."
            )
    return errors
