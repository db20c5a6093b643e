"""Forks: new workflows with the history of another one before a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django_dbos import offloading
from django_dbos.core import names, registry
from django_dbos.core.fork_options import ForkOptions
from django_dbos.core.ids import child_workflow_id, new_uuid
from django_dbos.core.numbers import check_bool
from django_dbos.core.records import Fork, NewWorkflow
from django_dbos.core.registry import WorkflowDefinition
from django_dbos.exceptions import DuplicateWorkflow, WorkflowIdConflict
from django_dbos.operations import permissions, recorded_call
from django_dbos.operations.inputs import InputWriter
from django_dbos.operations.options import Options
from django_dbos.operations.run import Run
from django_dbos.store import get_store

# The fields of a new workflow that count if an option is given.
FIELDS = {
    "queue_name": "queue_name",
    "priority": "priority",
    "timeout": "timeout",
    "partition_key": "partition_key",
    "user": "user_id",
    "attributes": "attributes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkRequest:
    """A fork as it was asked for, with its values checked as far as they can be by themselves."""

    source_id: str
    from_step: int | None
    options: Options
    given: tuple[str, ...]
    arguments: tuple[tuple[Any, ...], dict[str, Any]] | None
    """Other arguments than the original's."""


def request_of(
    source_id: str,
    from_step: Any,
    *,
    from_failure: bool,
    args: Any,
    kwargs: Any,
    options: Mapping[str, Any],
) -> ForkRequest:
    """Return a checked request.

    Raises:
        TypeError: An option is unknown or has another type; from_step and from_failure are both
            given, or neither.
        ValueError: An option, or the step, is out of range.
    """
    if (from_step is None) != check_bool(from_failure, "from_failure"):
        raise TypeError("fork() takes either from_step=N or from_failure=True.")
    if args is not None and not isinstance(args, list | tuple):
        raise TypeError(f"args must be a list or a tuple, not {type(args).__name__} {args!r}.")
    if kwargs is not None and not isinstance(kwargs, dict):
        raise TypeError(f"kwargs must be a dict, not {type(kwargs).__name__} {kwargs!r}.")
    names.check_options(options, list(ForkOptions.__annotations__), owner="fork()")
    edited = args is not None or kwargs is not None
    return ForkRequest(
        source_id=source_id,
        from_step=None if from_step is None else check_step(from_step, "from_step"),
        options=Options().merged(options),
        given=tuple(options),
        arguments=(tuple(args or ()), dict(kwargs or {})) if edited else None,
    )


def check_step(value: Any, label: str) -> int:
    """Return the number of a step; raise TypeError or ValueError for anything else."""
    if type(value) is not int:
        raise TypeError(f"{label} must be an int, not {type(value).__name__} {value!r}.")
    if value < 1:
        raise ValueError(f"{label} must be at least 1, but is {value!r}: steps count from 1.")
    return value


def make_fork(request: ForkRequest) -> str:
    """Make a fork in the caller's transaction; return its id.

    Raises:
        NotPermitted: A user was given who may not start the function.
    """
    store = get_store()
    store.refuse_in_atomic_elsewhere("fork")
    fork = _fork_of(request)
    if "user" in request.given:
        # It is a start in the name of somebody else.
        permissions.check([fork.new])
    return store.fork_workflow(replace(fork, new=offloading.offloaded(fork.new)))


async def afork(run: Run, request: ForkRequest) -> str:
    """Make a fork once, from workflow code; return its id.

    Its id is derived from the workflow's, so that a repetition after a crash finds the fork.
    """
    own_id = child_workflow_id(run.workflow_id, run.history.step_number + 1)
    given_id = request.options.get("workflow_id", None)
    options = replace(request.options, workflow_id=given_id or own_id)
    own = replace(request, options=options)
    return await recorded_call.aperform(run, "fork", lambda: _fork_once(own))


def _fork_once(request: ForkRequest) -> str:
    workflow_id = str(request.options.get("workflow_id", None))
    try:
        return make_fork(request)
    except (DuplicateWorkflow, WorkflowIdConflict):
        if get_store().reader.read_original(workflow_id) != request.source_id:
            raise
        return workflow_id


def _fork_of(request: ForkRequest) -> Fork:
    source = get_store().reader.get_workflow(request.source_id)
    name = str(source.name)
    definition = None
    if registry.is_claimable(name, source.version):
        definition = registry.find_version(name, source.version)
    inherited = {
        "queue_name": str(source.queue_name),
        "partition_key": str(source.partition_key) or None,
    }
    options = replace(
        request.options,
        **{key: value for key, value in inherited.items() if key not in request.given},
    )
    known = definition or WorkflowDefinition(name=name, function=_elsewhere, is_async=False)
    values = options.values(known)
    given = {FIELDS[option] for option in request.given if option in FIELDS}
    text = ""
    if request.arguments is not None:
        args, kwargs = request.arguments
        given.add("input")
        text = InputWriter(known).write(args, kwargs)
    token = new_uuid()
    workflow_id = options.get("workflow_id", None) or str(token)
    new = NewWorkflow(workflow_id=workflow_id, input=text, token=token, **values)
    return Fork(
        source_id=request.source_id,
        from_step=request.from_step,
        new=new,
        given=frozenset(given),
    )


def _elsewhere(*args: Any, **kwargs: Any) -> None:
    """Stand in for a function whose code this process doesn't have."""
