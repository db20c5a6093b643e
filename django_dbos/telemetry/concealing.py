"""The errors of user code, as logs and traces show them: without messages that may hold data."""

from __future__ import annotations

from collections.abc import Callable


class ErrorConcealed(Exception):
    """Stands in a log or a trace for an error whose message and causes may hold data."""


def conceal_errors_where(is_concealed: Callable[[str], bool]) -> None:
    """Set the rule for the errors of which only the class is shown, by the workflow's name."""
    global _is_concealed
    _is_concealed = is_concealed


_is_concealed: Callable[[str], bool] | None = None


def shown(workflow_name: str, error: BaseException) -> BaseException:
    """Return the error to show: its class and traceback alone, where its message is concealed.

    "" stands for a workflow whose name isn't known.
    """
    if _is_concealed is None or not _is_concealed(workflow_name):
        return error
    stand_in = ErrorConcealed(f"{type(error).__qualname__}, whose message isn't logged")
    return stand_in.with_traceback(error.__traceback__)
