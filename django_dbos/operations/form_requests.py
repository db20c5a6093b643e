"""The records of a form that a workflow asks for, and of its answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from django_dbos import serializers
from django_dbos.operations.step_definitions import StepDefinition


class FormAnswer(NamedTuple):
    """The answer of a person to a form: `data, user_id = dbos.wait_for_form(...)`."""

    data: dict[str, Any]
    """The form's cleaned data."""
    user_id: str | None
    """The pk of the user who answered, as text; None if code did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormRequest:
    """A form that a workflow asks for, with its checked options."""

    path: str
    title: str
    description: str
    initial: str | None
    audience: dict[str, Any] | None
    timeout: float | None
    reminders: tuple[float, ...]
    on_reminder: Callable[..., Any] | None
    reminder_options: StepDefinition | None

    @property
    def name(self) -> str:
        """The class name, for the names of steps and for messages."""
        return self.path.rpartition(".")[2]

    @property
    def fingerprint(self) -> str:
        """A digest that distinguishes the forms of concurrent branches."""
        initial = None if self.initial is None else serializers.opened(self.initial)
        return serializers.fingerprint(f"{self.path}\n{self.title}\n{initial}")
