"""The end of a wait whose time is up: its default, or WaitTimeout with the awaited thing's name."""

from __future__ import annotations

from typing import Any

from django_dbos.exceptions import WaitTimeout


class _NoDefault:
    """Distinguishes "no default was given" from None."""

    def __repr__(self) -> str:
        return "NO_DEFAULT"


NO_DEFAULT: Any = _NoDefault()


def default_or_raise(awaited: str, timeout: float | None, default: Any) -> Any:
    """Return the default if there is one; else raise WaitTimeout."""
    if default is NO_DEFAULT:
        raise WaitTimeout(awaited, timeout or 0.0)
    return default


def message_label(topic: str | None) -> str:
    """Return the awaited message's name in an error."""
    return f"a message on topic {topic!r}" if topic else "a message"


def event_label(workflow_id: str, key: str) -> str:
    """Return the awaited event's name in an error."""
    return f"event {key!r} of workflow {workflow_id!r}"


def result_label(workflow_id: str) -> str:
    """Return the awaited result's name in an error."""
    return f"the result of workflow {workflow_id!r}"


def results_label(count: int) -> str:
    """Return the name of many awaited results in an error."""
    return f"the results of {count} workflows"


def entry_label(workflow_id: str, key: str) -> str:
    """Return the awaited stream entry's name in an error."""
    return f"the next value of stream {key!r} of workflow {workflow_id!r}"


def form_label(title: str) -> str:
    """Return the awaited answer's name in an error."""
    return f"an answer to form {title!r}"
