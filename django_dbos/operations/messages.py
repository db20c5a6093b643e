"""Messages: sent to one workflow, consumed once, in order within a topic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django_dbos import serializers
from django_dbos.core import durations, names
from django_dbos.core.records import (
    FORM_TOPIC,
    NewMessage,
    RecordSend,
    State,
    Verdict,
    Wake,
)
from django_dbos.exceptions import WorkflowDoesNotExist
from django_dbos.operations import limits, waits
from django_dbos.operations.run import Call, Run, operation_name
from django_dbos.operations.timeouts import default_or_raise, message_label


def new_message(
    workflow_id: str,
    message: Any,
    topic: str | None,
    idempotency_key: str | None,
    sender_id: str | None = None,
) -> NewMessage:
    """Return a checked and serialized message."""
    workflow_id, topic = names.check_workflow_id(workflow_id), names.check_topic(topic) or ""
    if topic.startswith(FORM_TOPIC):
        raise ValueError(
            f"A topic can't begin with {FORM_TOPIC!r}, as {topic!r} does: answers to forms are "
            "messages, too. Use answer_form()."
        )
    return NewMessage(
        workflow_id=workflow_id,
        topic=topic,
        message=serializers.dumps(message, label=f"A message to workflow {workflow_id!r}"),
        idempotency_key=names.check_idempotency_key(idempotency_key),
        sender_id=sender_id,
    )


async def asend(run: Run, messages: Sequence[NewMessage]) -> None:
    """Send from a workflow, exactly once; wait until the messages are stored."""
    limits.count_messages(run, len(messages))
    call = run.begin("asend", "dbos.send")
    if call.found is not None:
        await run.turn(call.found)
        await run.aoutcome(call.found)
        return
    answer = await run.asubmit(RecordSend, call, **_send_values(call, messages))
    if answer.verdict is Verdict.REFUSED:
        await run.afail(call, WorkflowDoesNotExist(answer.subject))
    if answer.checkpoint is not None:
        await run.aoutcome(answer.checkpoint)


async def arecv(run: Run, topic: str | None, timeout: Any, default: Any) -> Any:  # noqa: ASYNC109
    """Wait for the next message of a topic and consume it."""
    topic, seconds = names.check_topic(topic), durations.to_seconds(timeout, label="timeout")
    call = run.begin("arecv", operation_name("recv", topic))
    wake = Wake.of_message(run.workflow_id, topic or "")
    checkpoint = await waits.await_(call, wake, seconds)
    if checkpoint.state is State.TIMED_OUT:
        return default_or_raise(message_label(topic), seconds, default)
    return await run.aoutcome(checkpoint)


def _send_values(call: Call, messages: Sequence[NewMessage]) -> dict[str, Any]:
    return {
        "checkpoint": call.checkpoint(),
        "messages": tuple(replace(new, sender_id=call.run.workflow_id) for new in messages),
        "size": sum(len(new.message) for new in messages),
    }
