"""Messages: sent to one workflow, consumed once, in order within a topic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django_dbos import serializers
from django_dbos.core import names
from django_dbos.core.records import (
    NewMessage,
    RecordSend,
    State,
    Verdict,
    Wake,
)
from django_dbos.exceptions import WaitTimeout, WorkflowDoesNotExist
from django_dbos.operations import waits
from django_dbos.operations.run import Call, Run, operation_name


class _NoDefault:
    """Tells "no default was given" from None."""

    def __repr__(self) -> str:
        return "NO_DEFAULT"


NO_DEFAULT: Any = _NoDefault()


def new_message(
    workflow_id: str,
    message: Any,
    topic: str | None,
    idempotency_key: str | None,
    sender_id: str | None = None,
) -> NewMessage:
    """A checked and serialized message."""
    workflow_id = names.check_workflow_id(workflow_id)
    return NewMessage(
        workflow_id=workflow_id,
        topic=names.check_topic(topic) or "",
        message=serializers.dumps(message, label=f"A message to workflow {workflow_id!r}"),
        idempotency_key=names.check_idempotency_key(idempotency_key),
        sender_id=sender_id,
    )


def send(run: Run, messages: Sequence[NewMessage]) -> None:
    """Send from a workflow, exactly once; wait until the messages are stored."""
    call = run.begin("send", "dbos.send")
    checkpoint = call.found
    if checkpoint is None:
        answer = run.submit(RecordSend, call, **_sending(call, messages))
        if answer.verdict is Verdict.REFUSED:
            run.fail(call, WorkflowDoesNotExist(answer.subject))
        checkpoint = answer.checkpoint
    if checkpoint is not None:
        run.outcome(checkpoint)


async def asend(run: Run, messages: Sequence[NewMessage]) -> None:
    """See send()."""
    call = run.begin("asend", "dbos.send")
    checkpoint = call.found
    if checkpoint is not None:
        await run.turn(checkpoint)
    else:
        answer = await run.asubmit(RecordSend, call, **_sending(call, messages))
        if answer.verdict is Verdict.REFUSED:
            await run.afail(call, WorkflowDoesNotExist(answer.subject))
        checkpoint = answer.checkpoint
    if checkpoint is not None:
        run.outcome(checkpoint)


def recv(run: Run, topic: str | None, timeout: float | None, default: Any) -> Any:
    """Wait for the next message of a topic and consume it."""
    call = run.begin("recv", _recv_name(topic))
    checkpoint = waits.wait(call, _wake(run, topic), timeout)
    if checkpoint.state is State.TIMED_OUT:
        return timed_out(f"a message{_on(topic)}", timeout, default)
    return run.outcome(checkpoint)


async def arecv(run: Run, topic: str | None, timeout: float | None, default: Any) -> Any:  # noqa: ASYNC109
    """See recv()."""
    call = run.begin("arecv", _recv_name(topic))
    checkpoint = await waits.await_(call, _wake(run, topic), timeout)
    if checkpoint.state is State.TIMED_OUT:
        return timed_out(f"a message{_on(topic)}", timeout, default)
    return await run.aoutcome(checkpoint)


def timed_out(what: str, timeout: float | None, default: Any) -> Any:
    """Return the default, if there is one; else raise WaitTimeout."""
    if default is NO_DEFAULT:
        raise WaitTimeout(what, timeout or 0.0)
    return default


def _sending(call: Call, messages: Sequence[NewMessage]) -> dict[str, Any]:
    return {
        "checkpoint": call.checkpoint(),
        "messages": tuple(messages),
        "size": sum(len(one.message) for one in messages),
    }


def _wake(run: Run, topic: str | None) -> Wake:
    return Wake.of_message(run.workflow_id, topic or "")


def _recv_name(topic: str | None) -> str:
    return operation_name("recv", topic)


def _on(topic: str | None) -> str:
    return f" on topic {topic!r}" if topic else ""
