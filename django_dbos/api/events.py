"""Events: to publish values under keys, and to read or await their latest versions."""

from __future__ import annotations

from typing import Any

from django_dbos.core import names
from django_dbos.core.durations import Duration
from django_dbos.handles import WorkflowHandle
from django_dbos.operations import events
from django_dbos.operations._sync import events as sync_events
from django_dbos.operations.entry import aenter_step, aperform, enter_step, perform
from django_dbos.operations.timeouts import NO_DEFAULT


def set_event(key: str, value: Any) -> None:
    """Publish a value under a key, or update it; every version is kept.

    A workflow sets an event exactly once, a step at least once. The call doesn't wait for the
    commit; the workflow's next operation that waits does.

    Args:
        key: The name of the event, at most 255 characters.
        value: The value to publish.

    Raises:
        NotInWorkflow: The call is made outside a workflow.
        SerializationError: The value can't be stored; PayloadTooLarge if it is too large.
        LimitReached: The workflow has set more events than the limits allow.

    Example:
        @dbos.workflow
        def checkout(order_id: int) -> str:
            receipt = charge(order_id)
            dbos.set_event("receipt", receipt)
            return receipt
    """
    enter_step("set_event", sync_events.set_event, events.aset_event, key, value)


async def aset_event(key: str, value: Any) -> None:
    """See set_event()."""
    await aenter_step("aset_event", events.aset_event, key, value)


def get_event(workflow_id: str, key: str, timeout: Duration = 60, default: Any = NO_DEFAULT) -> Any:
    """Return an event's latest value, after a wait if the event isn't set yet.

    In workflow code the value is recorded, and a replay returns the same one.

    Args:
        workflow_id: The id of the workflow that sets the event.
        key: The name of the event.
        timeout: The maximum wait, in seconds or as a timedelta; None waits indefinitely.
            Default: 60 s.
        default: The value to return after the timeout.

    Returns:
        The value, or `default`.

    Raises:
        WaitTimeout: The timeout has passed, and no default was given.
        WorkflowDoesNotExist: There is no such workflow.
        NotAllowedInStep: The call is made inside a step.
        NotAllowedInAtomic: The call would wait inside `atomic()`.

    Example:
        receipt = dbos.get_event("order-1", "receipt", timeout=10)
    """
    return WorkflowHandle(workflow_id).get_event(key, timeout, default)


async def aget_event(
    workflow_id: str,
    key: str,
    timeout: Duration = 60,  # noqa: ASYNC109
    default: Any = NO_DEFAULT,
) -> Any:
    """See get_event()."""
    return await WorkflowHandle(workflow_id).aget_event(key, timeout, default)


def get_all_events(workflow_id: str) -> dict[str, Any]:
    """Return the latest value of every event that a workflow has set, by key.

    Raises:
        WorkflowDoesNotExist: There is no such workflow.
    """
    names.check_workflow_id(workflow_id)
    return perform("get_all_events", lambda: events.read_all(workflow_id))


async def aget_all_events(workflow_id: str) -> dict[str, Any]:
    """See get_all_events()."""
    names.check_workflow_id(workflow_id)
    return await aperform("get_all_events", lambda: events.read_all(workflow_id))
