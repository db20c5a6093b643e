"""The workflow functions that are registered in this process, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django_dbos.core import names
from django_dbos.exceptions import UnknownWorkflow


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowDefinition:
    """A workflow function and its decorator's options. Durations are in seconds."""

    name: str
    function: Callable[..., Any]
    is_async: bool
    queue_name: str | None = None
    timeout: float | None = None
    max_recovery_attempts: int | None = None


workflows: dict[str, WorkflowDefinition] = {}
schedules: dict[str, tuple[str, dict[str, Any]]] = {}
"""The schedules of @schedule, by name: the name of the workflow, and the given options."""
step_aliases: dict[str, str] = {}
"""The database alias of each atomic step that sets it, @step(using=...), by step name."""


def register(definition: WorkflowDefinition) -> None:
    """Register a workflow function; raise ValueError if another function has its name."""
    known = workflows.get(definition.name)
    if known is not None and _origin(known) != _origin(definition):
        raise ValueError(
            f"Two workflow functions are named {definition.name!r}: {_origin(known)} and "
            f"{_origin(definition)}. Give one of them another name: @workflow(name=...)."
        )
    workflows[definition.name] = definition


def register_schedule(name: str, workflow_name: str, options: dict[str, Any]) -> None:
    """Register a schedule; raise ValueError if another workflow has one of its name."""
    known = schedules.get(name)
    if known is not None and known[0] != workflow_name:
        raise ValueError(
            f"Two schedules are named {name!r}: of {known[0]} and of {workflow_name}. Give one of "
            "them another name: @schedule(..., name=...)."
        )
    schedules[name] = (workflow_name, options)


def find(name: str) -> WorkflowDefinition:
    """Return the workflow function named ``name``; raise UnknownWorkflow if there is none."""
    definition = workflows.get(name)
    if definition is None:
        raise UnknownWorkflow(name, names.closest(name, workflows))
    return definition


def has_any() -> bool:
    """Return whether the project has workflow functions, beside those of this package."""
    return any(not name.startswith("django_dbos.") for name in workflows)


def _origin(definition: WorkflowDefinition) -> str:
    """Return the path of the function, which stays the same when its module is reloaded."""
    return f"{definition.function.__module__}.{definition.function.__qualname__}"
