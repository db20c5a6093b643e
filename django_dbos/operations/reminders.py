"""Reminders: the steps that call a project's hook while nobody has answered a form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from asgiref.sync import iscoroutinefunction, sync_to_async

from django_dbos import telemetry
from django_dbos.core import durations
from django_dbos.operations.run import Run, operation_name
from django_dbos.operations.step_definitions import StepDefinition

PLAIN = StepDefinition(
    name="", function=print, is_async=False, max_attempts=1, interval=1.0, backoff=2.0,
    max_interval=3600.0, jitter=0.0, retry_on=(Exception,), timeout=None, is_atomic=False,
    confirm=False, using=None,
)  # fmt: skip
"""The options of the step of a hook that is a plain function."""


def check_reminders(value: Any, timeout: float | None) -> tuple[float, ...]:
    """Return the seconds after which people are reminded, ascending.

    Raises:
        TypeError: It is no list of durations.
        ValueError: One of them comes twice, or isn't before the timeout.
    """
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise TypeError(
            f"reminders must be a list of durations, not {type(value).__name__} {value!r}."
        )
    given = list(value)
    found = [durations.to_seconds(one, label="A reminder") for one in given]
    if None in found:
        raise TypeError("A reminder must be seconds or a timedelta, not None.")
    for one, seconds in zip(given, found, strict=True):
        if found.count(seconds) > 1:
            raise ValueError(f"reminders contain {one!r} twice.")
        if timeout is not None and seconds >= timeout:
            raise ValueError(
                f"A reminder after {one!r} would come after the timeout of {timeout:g} s."
            )
    return tuple(sorted(found))


def step_of(
    run: Run, hook: Any, options: StepDefinition | None, asked_at: int, form: str, number: int
) -> StepDefinition:
    """Return the step that reminds people, unless they have answered meanwhile.

    Args:
        run: The run that waits.
        hook: The project's function, called with the form's row and the number; or None.
        options: The definition of the hook if it is a step itself: its options count.
        asked_at: The number of the step at which the form was asked for.
        form: The form's name.
        number: The number of the reminder; the first is 1.
    """

    def read() -> Any:
        found = run.host.store.read_inquiry(run.claim, asked_at)
        if found is None or found.answered_at is not None:
            return None
        telemetry.form_reminded(found, number)
        return found

    def remind() -> None:
        found = read()
        if found is not None and hook is not None:
            hook(found, number)

    async def remind_on_loop() -> None:
        found = await sync_to_async(read)()
        if found is not None:
            await hook(found, number)

    is_async = iscoroutinefunction(hook)
    function: Callable[[], Any] = remind_on_loop if is_async else remind
    name = operation_name("remind", f"{form} {number}")
    return replace(options or PLAIN, name=name, function=function, is_async=is_async)
