"""The functions of `import django_dbos as dbos`. Each that waits or writes has an async twin.

The sync forms raise SynchronousOnlyOperation on a running event loop. Durations are seconds or
timedeltas, of at most 1,000 years; `timeout=None` waits for ever, 0 looks once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NotRequired, TypedDict

from django.core.exceptions import ValidationError

from django_dbos.core import names
from django_dbos.core.records import NewMessage
from django_dbos.handles import WorkflowHandle
from django_dbos.operations import context, events, outside, reads, streams
from django_dbos.operations import messages as async_messages
from django_dbos.operations import sleep as async_sleep
from django_dbos.operations._sync import events as sync_events
from django_dbos.operations._sync import messages as sync_messages
from django_dbos.operations._sync import outside as sync_outside
from django_dbos.operations._sync import sleep as sync_sleep
from django_dbos.operations._sync import streams as sync_streams
from django_dbos.operations._sync.stream_readers import StreamReader
from django_dbos.operations.entry import (
    aenter_anywhere,
    aenter_step,
    aenter_workflow,
    aperform,
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


def send(
    workflow_id: str, message: Any, topic: str | None = None, idempotency_key: str | None = None
) -> None:
    """Send a message to a workflow, which takes it with `recv` of the same topic.

    From a workflow exactly once; from elsewhere in the caller's transaction, and with an
    `idempotency_key` once per receiver and key. A finished workflow's messages are stored.
    Raises WorkflowDoesNotExist, and NotAllowedInAtomic when only another database has an open
    transaction.
    """
    WorkflowHandle(workflow_id).send(message, topic, idempotency_key)


async def asend(
    workflow_id: str, message: Any, topic: str | None = None, idempotency_key: str | None = None
) -> None:
    """See send()."""
    await WorkflowHandle(workflow_id).asend(message, topic, idempotency_key)


class OutgoingMessage(TypedDict):
    """One message of send_many(): what send() takes."""

    workflow_id: str
    message: Any
    topic: NotRequired[str | None]
    idempotency_key: NotRequired[str | None]


def send_many(messages: Iterable[OutgoingMessage]) -> None:
    """Send messages, all of them or none: each a dict of what send() takes. See send().

    Raises ValueError for two with the same receiver and `idempotency_key`, as one of them would
    not be sent.
    """
    if new := _messages(messages):
        enter_anywhere("send", sync_messages.send, async_messages.asend, sync_outside.send, new)


async def asend_many(messages: Iterable[OutgoingMessage]) -> None:
    """See send_many()."""
    if new := _messages(messages):
        await aenter_anywhere("asend", async_messages.asend, outside.asend, new)


def recv(topic: str | None = None, timeout: Duration = 60, default: Any = NO_DEFAULT) -> Any:
    """Wait for the next message of a topic, consume it and return it.

    In order of sending, each message once. After `timeout` (default 60 s) returns `default` if
    given, else raises WaitTimeout. Raises NotInWorkflow and NotAllowedInStep.
    """
    return enter_workflow("recv", sync_messages.recv, async_messages.arecv, topic, timeout, default)


async def arecv(
    topic: str | None = None,
    timeout: Duration = 60,  # noqa: ASYNC109
    default: Any = NO_DEFAULT,
) -> Any:
    """See recv()."""
    return await aenter_workflow("arecv", async_messages.arecv, topic, timeout, default)


def set_event(key: str, value: Any) -> None:
    """Publish a value under a key, or update it; every version is kept.

    From a workflow exactly once. Doesn't wait for the commit: whatever waits next does. Raises
    NotInWorkflow.
    """
    enter_step("set_event", sync_events.set_event, events.aset_event, key, value)


async def aset_event(key: str, value: Any) -> None:
    """See set_event()."""
    await aenter_step("aset_event", events.aset_event, key, value)


def get_event(workflow_id: str, key: str, timeout: Duration = 60, default: Any = NO_DEFAULT) -> Any:
    """Return an event's latest value; wait for it while it isn't set.

    After `timeout` (default 60 s) returns `default` if given, else raises WaitTimeout. In a
    workflow, a replay returns what was seen at first. Raises WorkflowDoesNotExist,
    NotAllowedInStep, NotAllowedInAtomic.
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

    Raises WorkflowDoesNotExist.
    """
    names.check_workflow_id(workflow_id)
    return perform("get_all_events", lambda: events.read_all(workflow_id))


async def aget_all_events(workflow_id: str) -> dict[str, Any]:
    """See get_all_events()."""
    names.check_workflow_id(workflow_id)
    return await aperform("get_all_events", lambda: events.read_all(workflow_id))


def write_stream(key: str, value: Any) -> None:
    """Append a value to a stream of this workflow.

    From a workflow exactly once, from a step at least once. Doesn't wait for the commit: whatever
    waits next does. Raises StreamClosed after `close_stream`, and NotInWorkflow.
    """
    enter_step("write_stream", sync_streams.write_stream, streams.awrite_stream, key, value)


async def awrite_stream(key: str, value: Any) -> None:
    """See write_stream()."""
    await aenter_step("awrite_stream", streams.awrite_stream, key, value)


def close_stream(key: str) -> None:
    """End a stream of this workflow: its readers stop after the last value."""
    enter_step("close_stream", sync_streams.close_stream, streams.aclose_stream, key)


async def aclose_stream(key: str) -> None:
    """See close_stream()."""
    await aenter_step("aclose_stream", streams.aclose_stream, key)


def read_stream(
    workflow_id: str, key: str, offset: int = 0, timeout: Duration = None, wait: bool = True
) -> StreamReader:
    """Return an iterator over a stream's values from an offset on, as they come.

    It ends after `close_stream`, or when the workflow isn't active any more; with `wait=False`,
    after what is there by now. `reader.closed` then says whether there can be no more;
    `reader.entries()` yields (offset, value). A value that doesn't come within `timeout` raises
    WaitTimeout. Raises WorkflowDoesNotExist.
    """
    return WorkflowHandle(workflow_id).read_stream(key, offset, timeout, wait)


def aread_stream(
    workflow_id: str, key: str, offset: int = 0, timeout: Duration = None, wait: bool = True
) -> AsyncStreamReader:
    """See read_stream(): `async for value in aread_stream(...)`."""
    return WorkflowHandle(workflow_id).aread_stream(key, offset, timeout, wait)


def sleep(duration: float | timedelta) -> None:
    """Sleep durably: a recovered workflow sleeps only the rest.

    Raises NotInWorkflow and NotAllowedInStep.
    """
    enter_workflow("sleep", sync_sleep.sleep, async_sleep.asleep, duration)


async def asleep(duration: float | timedelta) -> None:
    """See sleep()."""
    await aenter_workflow("asleep", async_sleep.asleep, duration)


def retrieve_workflow(workflow_id: str) -> WorkflowHandle[Any]:
    """Return the handle of an existing workflow; raise WorkflowDoesNotExist."""
    names.check_workflow_id(workflow_id)
    perform("retrieve_workflow", lambda: _exists(workflow_id))
    return WorkflowHandle(workflow_id)


async def aretrieve_workflow(workflow_id: str) -> WorkflowHandle[Any]:
    """See retrieve_workflow()."""
    names.check_workflow_id(workflow_id)
    await aperform("retrieve_workflow", lambda: _exists(workflow_id))
    return WorkflowHandle(workflow_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentWorkflow:
    """The workflow that the calling code belongs to."""

    workflow_id: str
    step_number: int
    """The position of the latest operation, or of the step that this is; 0 before the first."""
    attempt: int
    """In a step, which attempt at it this is; else which run since the last progress, from 1."""
    max_attempts: int | None
    """In a step, how many attempts at it there may be; else None."""
    step_name: str | None
    """The step that this is; None in the workflow's own code."""
    user_id: str | None
    is_replaying: bool
    """Whether what comes next was recorded by an earlier run."""

    @property
    def is_in_step(self) -> bool:
        """Whether the calling code belongs to a step."""
        return self.step_name is not None

    @property
    def user(self) -> Any:
        """The user whom it was started for, from the database; None if there is none.

        None also where `user_id` is nobody's pk, such as "system".
        """
        if self.user_id is None:
            return None
        # Not before it is asked for: it takes a third of the time to import the package.
        from django.contrib.auth import get_user_model

        users = get_user_model()._default_manager
        run = workflow_run(context.current())
        try:
            found = users.filter(pk=self.user_id)
            # A step's own queries are attempted again as its definition says.
            return found.first() if run is None else reads.patiently(run, found.first)
        except (TypeError, ValueError, ValidationError):
            # "system" is no pk, and neither is one of a user model that was replaced since.
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
    )


class _ReplayFilter(logging.Filter):
    """Lets nothing pass that a workflow has logged in an earlier run."""

    def filter(self, record: logging.LogRecord) -> bool:
        workflow = current_workflow()
        return workflow is None or not workflow.is_replaying


logger = logging.getLogger("django_dbos.workflow")
"""A logger that is silent while a workflow replays."""
logger.addFilter(_ReplayFilter())


def _messages(messages: Iterable[Mapping[str, Any]]) -> list[NewMessage]:
    new = [_message(one) for one in messages]
    seen: dict[tuple[str, str], int] = {}
    for position, one in enumerate(new):
        if one.idempotency_key is None:
            continue
        first = seen.setdefault((one.workflow_id, one.idempotency_key), position)
        if first != position:
            raise ValueError(
                f"send_many() was given idempotency key {one.idempotency_key!r} for workflow "
                f"{one.workflow_id!r} twice, as messages {first} and {position}: only the first "
                "would be sent. Give each its own key, or none."
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


def _exists(workflow_id: str) -> bool:
    get_store().reader.read_status(workflow_id)
    return True
