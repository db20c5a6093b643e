"""Waits of workflow code: for a time, and for the first of several things."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar, overload

from django_dbos.core.durations import Duration
from django_dbos.handles import WorkflowHandle
from django_dbos.operations import awaited
from django_dbos.operations import sleep as async_sleep
from django_dbos.operations import wait_any as wait_any_
from django_dbos.operations._sync import sleep as sync_sleep
from django_dbos.operations._sync import wait_any as sync_wait_any
from django_dbos.operations.awaited import Awaited, Winner
from django_dbos.operations.entry import aenter_workflow, enter_workflow
from django_dbos.operations.timeouts import NO_DEFAULT

D = TypeVar("D")


def sleep(duration: float | timedelta) -> None:
    """Sleep durably: a workflow that is recovered sleeps for the rest of the time.

    A worker keeps no thread for a workflow that sleeps longer than a moment.

    Args:
        duration: The time to sleep, in seconds or as a timedelta.

    Raises:
        NotInWorkflow: The call is made outside a workflow.
        NotAllowedInStep: The call is made inside a step.

    Example:
        @dbos.workflow
        def reminder(email: str) -> None:
            dbos.sleep(timedelta(days=3))
            send_mail(email)
    """
    enter_workflow("sleep", sync_sleep.sleep, async_sleep.asleep, duration)


async def asleep(duration: float | timedelta) -> None:
    """See sleep()."""
    await aenter_workflow("asleep", async_sleep.asleep, duration)


def message(*topics: str | None) -> Awaited[Any]:
    """Return an alternative for wait_any(): the next message to this workflow on these topics.

    The message is consumed only if it wins. With several topics its value is a Received, which
    names the topic.

    Args:
        topics: The topics. Without any, and for None, messages that were sent without a topic.
    """
    return awaited.of_message(topics or (None,))


def event(workflow_id: str, key: str) -> Awaited[Any]:
    """Return an alternative for wait_any(): an event of a workflow, with its latest value.

    Args:
        workflow_id: The id of the workflow that sets the event.
        key: The name of the event.
    """
    return awaited.of_event(workflow_id, key)


def stream_entry(workflow_id: str, key: str, offset: int = 0, default: Any = None) -> Awaited[Any]:
    """Return an alternative for wait_any(): an entry of a workflow's stream, with its value.

    Args:
        workflow_id: The id of the workflow that writes the stream.
        key: The name of the stream.
        offset: The number of the entry; they are numbered from 0.
        default: The value if the stream, or its workflow, ends before that entry.
    """
    return awaited.of_entry(workflow_id, key, offset, default)


def until(when: datetime | timedelta | float) -> Awaited[None]:
    """Return an alternative for wait_any(): a time, whose value is None.

    Args:
        when: An instant, or seconds or a timedelta from now. The instant is compared with the
            clock of the worker when the wait begins; from then on the database's clock counts.
    """
    return awaited.of_time(when)


@overload
def wait_any(
    *waits: Awaited[Any] | WorkflowHandle[Any],
    timeout: Duration = None,
    return_exceptions: bool = False,
    **named_waits: Awaited[Any] | WorkflowHandle[Any],
) -> Winner: ...
@overload
def wait_any(
    *waits: Awaited[Any] | WorkflowHandle[Any],
    timeout: Duration = None,
    default: D,
    return_exceptions: bool = False,
    **named_waits: Awaited[Any] | WorkflowHandle[Any],
) -> Winner | D: ...
@overload
def wait_any(
    *waits: Awaited[Any] | WorkflowHandle[Any],
    timeout: Duration = None,
    default: Any = NO_DEFAULT,
    return_exceptions: bool = False,
    **named_waits: Awaited[Any] | WorkflowHandle[Any],
) -> Any: ...
def wait_any(
    *waits: Awaited[Any] | WorkflowHandle[Any],
    timeout: Duration = None,
    default: Any = NO_DEFAULT,
    return_exceptions: bool = False,
    **named_waits: Awaited[Any] | WorkflowHandle[Any],
) -> Any:
    """Wait for the first of several things, and return which one it was, with its value.

    It is one operation, which suspends the workflow; a replay returns the same winner. If several
    are there at once, the first in the order of the arguments wins. Only a message that wins is
    consumed.

    Args:
        waits: Handles, whose results are awaited, and message(), event(), stream_entry() and
            until(). Their names are their positions.
        timeout: The maximum wait, in seconds or as a timedelta. Default: no limit.
        default: The value to return after the timeout.
        return_exceptions: True makes the error of a workflow that won by failing its value;
            otherwise it is raised.
        named_waits: The same as `waits`, with names.

    Returns:
        A pair, Winner(name, value), or `default`.

    Raises:
        WaitTimeout: The timeout has passed, and no default was given.
        WorkflowDoesNotExist: There is no workflow of which something is awaited. It is recorded.
        TypeError: Something else is to be awaited, or nothing.
        NotInWorkflow: The call is made outside a workflow. There, use get_result() or get_event().
        NotAllowedInStep: The call is made inside a step.

    Example:
        @dbos.workflow
        def order(order_id: int) -> str:
            name, value = dbos.wait_any(
                paid=dbos.message("paid"),
                delivered=shipping.start(order_id),
                late=dbos.until(timedelta(days=14)),
            )
            return name
    """
    arguments = (_alternatives(waits, named_waits), timeout, default, return_exceptions)
    return enter_workflow("wait_any", sync_wait_any.wait_any, wait_any_.await_any, *arguments)


@overload
async def await_any(
    *waits: Awaited[Any] | WorkflowHandle[Any],
    timeout: Duration = None,  # noqa: ASYNC109
    return_exceptions: bool = False,
    **named_waits: Awaited[Any] | WorkflowHandle[Any],
) -> Winner: ...
@overload
async def await_any(
    *waits: Awaited[Any] | WorkflowHandle[Any],
    timeout: Duration = None,  # noqa: ASYNC109
    default: D,
    return_exceptions: bool = False,
    **named_waits: Awaited[Any] | WorkflowHandle[Any],
) -> Winner | D: ...
@overload
async def await_any(
    *waits: Awaited[Any] | WorkflowHandle[Any],
    timeout: Duration = None,  # noqa: ASYNC109
    default: Any = NO_DEFAULT,
    return_exceptions: bool = False,
    **named_waits: Awaited[Any] | WorkflowHandle[Any],
) -> Any: ...
async def await_any(
    *waits: Awaited[Any] | WorkflowHandle[Any],
    timeout: Duration = None,  # noqa: ASYNC109
    default: Any = NO_DEFAULT,
    return_exceptions: bool = False,
    **named_waits: Awaited[Any] | WorkflowHandle[Any],
) -> Any:
    """See wait_any()."""
    arguments = (_alternatives(waits, named_waits), timeout, default, return_exceptions)
    return await aenter_workflow("await_any", wait_any_.await_any, *arguments)


def _alternatives(
    waits: Iterable[Any], named_waits: Mapping[str, Any]
) -> dict[str | int, Awaited[Any]]:
    given: dict[str | int, Any] = dict(enumerate(waits))
    given.update(named_waits)
    return awaited.check_alternatives(
        {
            name: awaited.of_result(value.workflow_id)
            if isinstance(value, WorkflowHandle)
            else value
            for name, value in given.items()
        }
    )
