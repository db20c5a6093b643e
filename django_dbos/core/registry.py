"""The workflow functions that are registered in this process, by name and by version.

A function without versions is one definition. One with versions has a current definition, which new
starts take, and may have older ones, which workflows that are under way continue with. The claims
ask for workflows whose function and version are registered (CORRECTNESS rule 98).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django_dbos.core import names
from django_dbos.exceptions import UnknownWorkflow

NEWEST = ""
"""The stored version of a workflow that was started where its function isn't known: the first claim
gives it the current version of the claiming process. None is that of code without versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowDefinition:
    """A workflow function and its decorator's options. Durations are in seconds."""

    name: str
    function: Callable[..., Any]
    is_async: bool
    version: str | None = None
    """The version of the code; None if the function has no versions."""
    queue_name: str | None = None
    timeout: float | None = None
    max_recovery_attempts: int | None = None
    permission: str | None = None
    """The permission that the user of a start needs, as "app.codename"."""


workflows: dict[str, WorkflowDefinition] = {}
"""The definitions that new starts take, by name."""
versions: dict[str, dict[str | None, WorkflowDefinition]] = {}
"""The definitions of each function that has versions, by name and version."""
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
    others = versions.pop(definition.name, {})
    workflows[definition.name] = definition
    if definition.version is not None:
        is_reloaded = definition.version in others
        versions[definition.name] = (others if is_reloaded else {}) | {
            definition.version: definition
        }


def register_version(definition: WorkflowDefinition) -> None:
    """Register an older version of a function; raise ValueError if another function has it."""
    known = versions[definition.name].get(definition.version)
    if known is not None and _origin(known) != _origin(definition):
        raise ValueError(
            f"Two functions are version {definition.version!r} of {definition.name!r}: "
            f"{_origin(known)} and {_origin(definition)}. Give one of them another version."
        )
    versions[definition.name][definition.version] = definition


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
    """Return the current function of this name; raise UnknownWorkflow if there is none."""
    definition = workflows.get(name)
    if definition is None:
        raise UnknownWorkflow(name, names.closest(name, workflows))
    return definition


def find_version(name: str, version: str | None) -> WorkflowDefinition:
    """Return the function that runs workflows of this name and stored version.

    Of those without a version it is the one that is declared for them, else the current one.

    Raises:
        UnknownWorkflow: This process doesn't know the name, or not in this version.
    """
    of_name = versions.get(name, {})
    if version == NEWEST or version not in of_name:
        current = find(name)
        if version:
            raise UnknownWorkflow(name, version=version)
        return current
    return of_name[version]


def is_claimable(name: str, version: str | None) -> bool:
    """Return whether this process may run workflows of this name and stored version."""
    return version in versions.get(name, ()) if version else name in workflows


def claimable() -> list[str]:
    """Return what claims ask for: the names, and each version of those that have versions."""
    return [
        *workflows,
        *(
            qualified(name, version)
            for name, of_name in versions.items()
            for version in of_name
            if version is not None
        ),
    ]


def adopted() -> str:
    """Return as JSON, by name, the versions that claims give to workflows that have none.

    The first is that of workflows whose start left it to the claim, the second that of those that
    code without versions has started: None if a function is declared for them.
    """
    return json.dumps(
        {
            name: [workflows[name].version, None if None in of_name else workflows[name].version]
            for name, of_name in versions.items()
            if name in workflows
        }
    )


def qualified(name: str, version: str | None) -> str:
    """Return a name and its version as one text; versions contain no "@"."""
    return f"{name}@{version}" if version else name


def is_listed(name: str, version: str | None, listed: Sequence[str]) -> bool:
    """Return whether a list of `claimable` names has a function in this stored version."""
    return name in listed and (not version or qualified(name, version) in listed)


def without_versions(listed: Sequence[str]) -> list[str]:
    """Return the names in a list of `claimable` names."""
    return [name for name in listed if name.rpartition("@")[0] not in listed]


def of_project() -> list[str]:
    """Return the names of the project's workflow functions, without those of this package."""
    return [name for name in workflows if not name.startswith("django_dbos.")]


def _origin(definition: WorkflowDefinition) -> str:
    """Return the path of the function, which stays the same when its module is reloaded."""
    return f"{definition.function.__module__}.{definition.function.__qualname__}"
