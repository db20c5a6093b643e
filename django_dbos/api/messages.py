"""Messages: to send them, and to receive them in a workflow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NotRequired, TypedDict, TypeVar, overload

from django_dbos.core import names
from django_dbos.core.durations import Duration
from django_dbos.core.records import NewMessage
from django_dbos.handles import WorkflowHandle
from django_dbos.operations import awaited, outside
from django_dbos.operations import messages as async_messages
from django_dbos.operations import wait_any as wait_any_
from django_dbos.operations._sync import messages as sync_messages
from django_dbos.operations._sync import outside as sync_outside
from django_dbos.operations._sync import wait_any as sync_wait_any
from django_dbos.operations.awaited import Received
from django_dbos.operations.entry import (
    aenter_anywhere,
    aenter_workflow,
    enter_anywhere,
    enter_workflow,
)
from django_dbos.operations.messages import new_message
from django_dbos.operations.timeouts import NO_DEFAULT

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


def _topics(topic: str | None, topics: Iterable[str | None]) -> list[str | None]:
    if topic is not None:
        raise TypeError(f"recv() takes topic or topics, not both: {topic!r} and {topics!r}.")
    if isinstance(topics, str):
        raise TypeError(f"topics must be a list of topics, not the str {topics!r}.")
    several = list(topics)
    awaited.of_message(several)
    return several
