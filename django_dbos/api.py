"""The functions of `import django_dbos as dbos`. Each that waits or writes has an async twin.

The sync forms raise SynchronousOnlyOperation on a running event loop. Durations are seconds or
timedeltas of at most 1,000 years; a `timeout` of None waits indefinitely, one of 0 doesn't wait.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NoReturn, NotRequired, TypedDict, TypeVar, overload

from django.core.exceptions import ValidationError

from django_dbos.core import names
from django_dbos.core.records import NewMessage
from django_dbos.fields import as_shown
from django_dbos.handles import WorkflowHandle
from django_dbos.operations import (
    awaited,
    context,
    continuing,
    events,
    many_results,
    outside,
    streams,
)
from django_dbos.operations import messages as async_messages
from django_dbos.operations import sleep as async_sleep
from django_dbos.operations import wait_any as wait_any_
from django_dbos.operations._sync import continuing as sync_continuing
from django_dbos.operations._sync import events as sync_events
from django_dbos.operations._sync import many_results as sync_many_results
from django_dbos.operations._sync import messages as sync_messages
from django_dbos.operations._sync import outside as sync_outside
from django_dbos.operations._sync import reads as sync_reads
from django_dbos.operations._sync import sleep as sync_sleep
from django_dbos.operations._sync import streams as sync_streams
from django_dbos.operations._sync import wait_any as sync_wait_any
from django_dbos.operations._sync.stream_readers import StreamReader
from django_dbos.operations.awaited import Awaited, Received, Winner
from django_dbos.operations.entry import (
    aenter,
    aenter_anywhere,
    aenter_step,
    aenter_workflow,
    aperform,
    enter,
    enter_anywhere,
    enter_step,
    enter_workflow,
    perform,
    workflow_run,
)
from django_dbos.operations.messages import new_message
from django_dbos.operations.stream_readers import AsyncStreamReader
from django_dbos.operations.timeouts import NO_DEFAULT
from django_dbos.store import get_store

Duration = float | timedelta | None
R = TypeVar("R")
D = TypeVar("D")


def send(
    workflow_id: str, message: Any, topic: str | None = None, idempotency_key: str | None = None
) -> None:
    """Send a message to a workflow, which receives it by `recv` with the same topic.

    A workflow sends it exactly once. Elsewhere the message is sent in the caller's transaction. A
    message to a workflow that has ended is stored, and never received.

    Args:
        workflow_id: The id of the receiver.
        message: The value to send.
        topic: The topic, at most 255 characters. `recv` without a topic receives the messages
            without one.
        idempotency_key: A key under which the receiver gets one message at most, however often it
            is sent.

    Raises:
        WorkflowDoesNotExist: There is no such workflow.
        SerializationError: The message can't be stored; PayloadTooLarge if it is too large.
        NotAllowedInAtomic: Only another database has an open transaction.

    Example:
        dbos.send("approval-7", "yes", topic="answer", idempotency_key="click-1")
    """
    WorkflowHandle(workflow_id).send(message, topic, idempotency_key)


async def asend(
    workflow_id: str, message: Any, topic: str | None = None, idempotency_key: str | None = None
) -> None:
    """See send()."""
    await WorkflowHandle(workflow_id).asend(message, topic, idempotency_key)


class OutgoingMessage(TypedDict):
    """One message of send_many(), with the arguments of send()."""

    workflow_id: str
    message: Any
    topic: NotRequired[str | None]
    idempotency_key: NotRequired[str | None]


def send_many(messages: Iterable[OutgoingMessage]) -> None:
    """Send messages: all of them, or none. Each is a dict with the arguments of send().

    Args:
        messages: The messages, in the order in which they are to be received.

    Raises:
        ValueError: Two messages have the same receiver and `idempotency_key`, so that one of them
            would be dropped.
        WorkflowDoesNotExist: One of the receivers doesn't exist.
    """
    if new := _messages(messages):
        enter_anywhere("send", sync_messages.send, async_messages.asend, sync_outside.send, new)


async def asend_many(messages: Iterable[OutgoingMessage]) -> None:
    """See send_many()."""
    if new := _messages(messages):
        await aenter_anywhere("asend", async_messages.asend, outside.asend, new)


@overload
def recv(*, timeout: Duration = 60, topics: Iterable[str | None]) -> Received: ...
@overload
def recv(*, timeout: Duration = 60, default: D, topics: Iterable[str | None]) -> Received | D: ...
@overload
def recv(
    topic: str | None = None,
    timeout: Duration = 60,
    default: Any = NO_DEFAULT,
    *,
    topics: Iterable[str | None] | None = None,
) -> Any: ...
def recv(
    topic: str | None = None,
    timeout: Duration = 60,
    default: Any = NO_DEFAULT,
    *,
    topics: Iterable[str | None] | None = None,
) -> Any:
    """Wait for the next message of a topic, consume it and return it.

    Messages of a topic arrive in the order of sending, each of them once; those of several topics
    in their common order.

    Args:
        topic: The topic; None receives the messages that were sent without one.
        timeout: The maximum wait, in seconds or as a timedelta; None waits indefinitely.
            Default: 60 s.
        default: The value to return after the timeout.
        topics: Several topics instead of one; None among them stands for messages without a topic.

    Returns:
        The message, or `default`; with `topics` a pair, Received(topic, message).

    Raises:
        TypeError: Both `topic` and `topics` are given, or `topics` is a str.
        WaitTimeout: The timeout has passed, and no default was given.
        NotInWorkflow: The call is made outside a workflow.
        NotAllowedInStep: The call is made inside a step.

    Example:
        @dbos.workflow
        def approval(order_id: int) -> bool:
            answer = dbos.recv("answer", timeout=timedelta(days=7), default="no")
            return answer == "yes"
    """
    if topics is not None:
        several = _topics(topic, topics)
        return enter_workflow(
            "recv", sync_wait_any.recv_any, wait_any_.arecv_any, several, timeout, default
        )
    return enter_workflow("recv", sync_messages.recv, async_messages.arecv, topic, timeout, default)


@overload
async def arecv(
    *,
    timeout: Duration = 60,  # noqa: ASYNC109
    topics: Iterable[str | None],
) -> Received: ...
@overload
async def arecv(
    *,
    timeout: Duration = 60,  # noqa: ASYNC109
    default: D,
    topics: Iterable[str | None],
) -> Received | D: ...
@overload
async def arecv(
    topic: str | None = None,
    timeout: Duration = 60,  # noqa: ASYNC109
    default: Any = NO_DEFAULT,
    *,
    topics: Iterable[str | None] | None = None,
) -> Any: ...
async def arecv(
    topic: str | None = None,
    timeout: Duration = 60,  # noqa: ASYNC109
    default: Any = NO_DEFAULT,
    *,
    topics: Iterable[str | None] | None = None,
) -> Any:
    """See recv()."""
    if topics is not None:
        several = _topics(topic, topics)
        return await aenter_workflow("arecv", wait_any_.arecv_any, several, timeout, default)
    return await aenter_workflow("arecv", async_messages.arecv, topic, timeout, default)


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


def write_stream(key: str, value: Any) -> None:
    """Append a value to a stream of this workflow.

    A workflow writes a value exactly once, a step at least once. The call doesn't wait for the
    commit; the workflow's next operation that waits does.

    Args:
        key: The name of the stream, at most 255 characters.
        value: The value to append.

    Raises:
        StreamClosed: The workflow has closed the stream.
        NotInWorkflow: The call is made outside a workflow.
        SerializationError: The value can't be stored; PayloadTooLarge if it is too large.

    Example:
        @dbos.workflow
        def export(count: int) -> None:
            for number in range(count):
                dbos.write_stream("lines", f"line {number}")
            dbos.close_stream("lines")
    """
    enter_step("write_stream", sync_streams.write_stream, streams.awrite_stream, key, value)


async def awrite_stream(key: str, value: Any) -> None:
    """See write_stream()."""
    await aenter_step("awrite_stream", streams.awrite_stream, key, value)


def close_stream(key: str) -> None:
    """End a stream of this workflow: its readers stop after the last value.

    Args:
        key: The name of the stream.

    Raises:
        NotInWorkflow: The call is made outside a workflow.
    """
    enter_step("close_stream", sync_streams.close_stream, streams.aclose_stream, key)


async def aclose_stream(key: str) -> None:
    """See close_stream()."""
    await aenter_step("aclose_stream", streams.aclose_stream, key)


def read_stream(
    workflow_id: str, key: str, offset: int = 0, timeout: Duration = None, wait: bool = True
) -> StreamReader:
    """Return an iterator over a stream's values, which waits for further ones.

    It ends after `close_stream`, or once the workflow has ended. `reader.closed` is True if no
    value can follow; `reader.entries()` yields pairs of offset and value.

    Args:
        workflow_id: The id of the workflow that writes the stream.
        key: The name of the stream.
        offset: The number of the first value to return; they are numbered from 0.
        timeout: The longest wait for the next value, in seconds or as a timedelta. Default: no
            limit.
        wait: False ends the iteration after the values that are there.

    Raises:
        WaitTimeout: No value has come within the timeout; raised by the iteration.
        WorkflowDoesNotExist: There is no such workflow; raised by the iteration.
        ValueError: The offset is no int from 0 to 2,147,483,647.

    Example:
        lines = list(dbos.read_stream("export-1", "lines", timeout=30))
    """
    return WorkflowHandle(workflow_id).read_stream(key, offset, timeout, wait)


def aread_stream(
    workflow_id: str, key: str, offset: int = 0, timeout: Duration = None, wait: bool = True
) -> AsyncStreamReader:
    """Return an async iterator for `async for`. See read_stream()."""
    return WorkflowHandle(workflow_id).aread_stream(key, offset, timeout, wait)


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


def continue_as_new(*args: Any, **kwargs: Any) -> NoReturn:
    """End this run of the workflow, and begin the next run under the same id, with no history.

    For workflows that never end: a replay reads only the history of the run, and the limits of
    steps, messages and events count anew. Nothing after the call runs, except `finally` blocks.
    Messages that aren't consumed, events, streams and children stay; see the guide.

    Args:
        args: The arguments of the next run. The serializer must be able to store them.
        kwargs: Its keyword arguments.

    Raises:
        TypeError: The workflow function doesn't take these arguments.
        SerializationError: An argument can't be stored; PayloadTooLarge if they are too large.
        NotInWorkflow: The call is made outside of a workflow.
        NotAllowedInStep: The call is made inside a step.
        DbosError: Other tasks of the workflow are running.

    Example:
        @dbos.workflow
        def cart(items: list[str]) -> None:
            items.append(dbos.recv("item", timeout=None))
            dbos.continue_as_new(items)
    """
    enter_workflow(
        "continue_as_new",
        sync_continuing.continue_as_new,
        continuing.acontinue_as_new,
        args,
        kwargs,
    )


async def acontinue_as_new(*args: Any, **kwargs: Any) -> NoReturn:
    """See continue_as_new()."""
    await aenter_workflow("acontinue_as_new", continuing.acontinue_as_new, args, kwargs)


def retrieve_workflow(workflow_id: str) -> WorkflowHandle[Any]:
    """Return the handle of an existing workflow.

    Raises:
        WorkflowDoesNotExist: There is no such workflow.
    """
    names.check_workflow_id(workflow_id)
    perform("retrieve_workflow", lambda: _exists(workflow_id))
    return WorkflowHandle(workflow_id)


async def aretrieve_workflow(workflow_id: str) -> WorkflowHandle[Any]:
    """See retrieve_workflow()."""
    names.check_workflow_id(workflow_id)
    await aperform("retrieve_workflow", lambda: _exists(workflow_id))
    return WorkflowHandle(workflow_id)


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
        return_exceptions: Whether the error of a workflow that won by failing is its value;
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


@overload
def get_results(
    handles: Iterable[WorkflowHandle[R]],
    timeout: Duration = None,
    *,
    return_exceptions: Literal[False] = False,
) -> list[R]: ...
@overload
def get_results(
    handles: Iterable[WorkflowHandle[R]], timeout: Duration = None, *, return_exceptions: bool
) -> list[R | BaseException]: ...
def get_results(
    handles: Iterable[WorkflowHandle[Any]],
    timeout: Duration = None,
    *,
    return_exceptions: bool = False,
) -> list[Any]:
    """Wait until all of these workflows have ended, and return their results in the same order.

    Thousands are read at once. In workflow code it is one operation: all results are recorded
    together, a replay returns the same ones, and the wait suspends.

    Args:
        handles: The handles of the workflows; their number isn't limited.
        timeout: The maximum wait, in seconds or as a timedelta; 0 doesn't wait. Default: no limit.
        return_exceptions: True returns the errors of workflows in the places of their results.
            Otherwise the first of them, in the order of the handles, is raised once all workflows
            have ended.

    Raises:
        WaitTimeout: Not all of them have ended within the timeout.
        WorkflowCancelled: One was cancelled, or its deadline passed.
        WorkflowDoesNotExist: One of them doesn't exist.
        NotAllowedInStep: The call is made inside a step.
        NotAllowedInAtomic: The call is made inside `atomic()`.

    Example:
        handles = resize.start_many([(photo,) for photo in photos])
        sizes = dbos.get_results(handles, timeout=timedelta(hours=1))
    """
    ids = _ids(handles)
    return enter(
        "get_results",
        sync_many_results.get_results,
        many_results.aget_results,
        sync_outside.get_results,
        ids,
        timeout,
        return_exceptions,
    )


@overload
async def aget_results(
    handles: Iterable[WorkflowHandle[R]],
    timeout: Duration = None,  # noqa: ASYNC109
    *,
    return_exceptions: Literal[False] = False,
) -> list[R]: ...
@overload
async def aget_results(
    handles: Iterable[WorkflowHandle[R]],
    timeout: Duration = None,  # noqa: ASYNC109
    *,
    return_exceptions: bool,
) -> list[R | BaseException]: ...
async def aget_results(
    handles: Iterable[WorkflowHandle[Any]],
    timeout: Duration = None,  # noqa: ASYNC109
    *,
    return_exceptions: bool = False,
) -> list[Any]:
    """See get_results()."""
    return await aenter(
        "aget_results",
        many_results.aget_results,
        outside.aget_results,
        _ids(handles),
        timeout,
        return_exceptions,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentWorkflow:
    """The workflow that the calling code belongs to."""

    workflow_id: str
    step_number: int
    """The position of the latest operation, or of the current step; 0 before the first. It goes on
    after `continue_as_new()`."""
    attempt: int
    """The number of the attempt at the step; outside of steps, the number of runs since the last
    progress. Both begin at 1."""
    max_attempts: int | None
    """The maximum number of attempts at the step; None outside of steps."""
    step_name: str | None
    """The name of the step; None in the workflow's own code."""
    user_id: str | None
    is_replaying: bool
    """True if an earlier run has recorded the next operation."""
    scheduled_at: datetime | None = None
    """The instant of the schedule that has started the workflow, which may be earlier than the
    start; aware in UTC, or local without `USE_TZ`. None if no schedule has started it."""

    @property
    def is_in_step(self) -> bool:
        """True if the calling code belongs to a step."""
        return self.step_name is not None

    @property
    def user(self) -> Any:
        """The user for whom the workflow was started, read from the database.

        None without a user, and for a `user_id` that is no user's pk, such as "system".
        """
        if self.user_id is None:
            return None
        # Imported when needed: it would add a third to the time of importing the package.
        from django.contrib.auth import get_user_model

        users = get_user_model()._default_manager
        run = workflow_run(context.current())
        try:
            found = users.filter(pk=self.user_id)
            # A step's own queries are repeated by its retries.
            return found.first() if run is None else sync_reads.patiently(run, found.first)
        except (TypeError, ValueError, ValidationError):
            # The pk is "system", for example, or belongs to a user model that has been replaced.
            return None


def current_workflow() -> CurrentWorkflow | None:
    """Return the workflow that the calling code belongs to; None outside of workflows."""
    scope = context.current()
    if scope is None:
        return None
    run, step = scope.run, scope.step
    return CurrentWorkflow(
        workflow_id=run.workflow_id,
        step_number=step.step_number if step else run.history.step_number,
        attempt=step.attempt if step else run.claim.recovery_attempts + 1,
        max_attempts=step.max_attempts if step else None,
        step_name=step.step_name if step else None,
        user_id=run.claim.user_id,
        is_replaying=step is None and run.history.is_replaying,
        scheduled_at=None if (at := run.claim.scheduled_at) is None else as_shown(at),
    )


class _ReplayFilter(logging.Filter):
    """Drops the records that an earlier run of the workflow has logged."""

    def filter(self, record: logging.LogRecord) -> bool:
        workflow = current_workflow()
        return workflow is None or not workflow.is_replaying


logger = logging.getLogger("django_dbos.workflow")
"""A logger that is silent while a workflow replays."""
logger.addFilter(_ReplayFilter())


def _messages(messages: Iterable[Mapping[str, Any]]) -> list[NewMessage]:
    new = [_message(values) for values in messages]
    seen: dict[tuple[str, str], int] = {}
    for position, message in enumerate(new):
        if message.idempotency_key is None:
            continue
        first = seen.setdefault((message.workflow_id, message.idempotency_key), position)
        if first != position:
            raise ValueError(
                f"send_many() was given idempotency key {message.idempotency_key!r} for workflow "
                f"{message.workflow_id!r} twice, as messages {first} and {position}: only the "
                "first would be sent. Give each its own key, or none."
            )
    return new


def _message(values: Mapping[str, Any]) -> NewMessage:
    known = ("workflow_id", "message", "topic", "idempotency_key")
    for name in values:
        if name not in known:
            suggestion = names.suggest(name, known)
            raise TypeError(f"send_many() messages have no {name!r}.{suggestion}")
    for name in known[:2]:
        if name not in values:
            raise TypeError(f"send_many() messages need a {name!r}: {dict(values)!r} has none.")
    return new_message(
        values["workflow_id"],
        values["message"],
        values.get("topic"),
        values.get("idempotency_key"),
    )


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


def _topics(topic: str | None, topics: Iterable[str | None]) -> list[str | None]:
    if topic is not None:
        raise TypeError(f"recv() takes topic or topics, not both: {topic!r} and {topics!r}.")
    if isinstance(topics, str):
        raise TypeError(f"topics must be a list of topics, not the str {topics!r}.")
    several = list(topics)
    awaited.of_message(several)
    return several


def _ids(handles: Iterable[WorkflowHandle[Any]]) -> list[str]:
    if isinstance(handles, WorkflowHandle):
        raise TypeError(f"get_results() takes a list of handles, not {handles!r} alone.")
    found = list(handles)
    for handle in found:
        if not isinstance(handle, WorkflowHandle):
            raise TypeError(
                "get_results() takes handles, as start() and retrieve_workflow() return them, not "
                f"{type(handle).__name__} {handle!r}."
            )
    return [names.check_workflow_id(handle.workflow_id) for handle in found]


def _exists(workflow_id: str) -> bool:
    get_store().reader.read_status(workflow_id)
    return True
