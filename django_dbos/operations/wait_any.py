"""Wait for the first of several things: one operation, whose winner is recorded in one write.

The write that finds the winner also consumes its message; the others stay. While the workflow is
suspended, each awaited thing has a row of its own, by which it wakes the workflow (CORRECTNESS
rule 70).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django_dbos import serializers
from django_dbos.conf import get_settings
from django_dbos.core import durations, winners
from django_dbos.core.records import Checkpoint, State, Wake
from django_dbos.exceptions import MaxRecoveryAttemptsExceeded, WorkflowCancelled
from django_dbos.operations import awaited, forms, waits
from django_dbos.operations.awaited import Awaited, Received, Winner
from django_dbos.operations.form_requests import FormAnswer
from django_dbos.operations.run import Call, Run, operation_name
from django_dbos.operations.timeouts import default_or_raise


async def await_any(
    run: Run,
    alternatives: dict[str | int, Awaited[Any]],
    timeout: Any,  # noqa: ASYNC109
    default: Any,
    return_exceptions: bool,
) -> Any:
    """Wait for the first of these; record it, and return its name and its value."""
    seconds = durations.to_seconds(timeout, label="timeout")
    listed = list(alternatives.values())
    call = run.begin("await_any", operation_name("wait_any"), _fingerprint(alternatives))
    has_forms = any(one.form is not None for one in listed)
    if has_forms and call.found is None:
        listed = await _aask_all(call, listed)
    checkpoint = await _afirst(call, listed, seconds)
    position = _winner(checkpoint)
    has_failed = position is None and checkpoint.error is not None
    if has_forms:
        await _aclose_forms(call, has_failed=has_failed)
    if has_failed:
        # An alternative's workflow doesn't exist.
        await run.aoutcome(checkpoint)
    if position is None:
        return default_or_raise(awaited.describe(listed), seconds, default)
    name, winner = list(alternatives)[position], listed[position]
    error = await _aerror(run, checkpoint, winner)
    if error is not None and not return_exceptions:
        raise error
    return Winner(name, error if error is not None else await _avalue(run, checkpoint, winner))


async def arecv_any(
    run: Run,
    topics: Sequence[str | None],
    timeout: Any,  # noqa: ASYNC109
    default: Any,
) -> Any:
    """Wait for the oldest message of several topics; return it with its topic."""
    messages = awaited.of_message(topics)
    seconds = durations.to_seconds(timeout, label="timeout")
    shown = ", ".join(topic or "-" for topic in topics)
    call = run.begin("arecv", operation_name("recv", f"topics: {shown}"))
    checkpoint = await _afirst(call, [messages], seconds)
    if checkpoint.state is State.TIMED_OUT:
        return default_or_raise(f"a {messages.label}", seconds, default)
    return await _areceived(run, checkpoint)


async def _afirst(
    call: Call,
    alternatives: Sequence[Awaited[Any]],
    timeout: float | None,  # noqa: ASYNC109
) -> Checkpoint:
    """Wait for the outcome of the first of the alternatives."""
    workflow_id = call.run.workflow_id
    options = [
        wake
        for position, one in enumerate(alternatives)
        for wake in one.wakes_of(workflow_id, position)
    ]
    wake = Wake.of_any(workflow_id, options, awaited.describe(alternatives))
    limit, timer = awaited.limit_of(timeout, alternatives)
    note = None if timer is None else winners.dump(timer)
    return await waits.await_(call, wake, limit, note)


async def _aask_all(call: Call, alternatives: Sequence[Awaited[Any]]) -> list[Awaited[Any]]:
    """Ask for the forms; if one of them can't be, close the others, as a replay does."""
    try:
        return [await _aasked(call, one, number) for number, one in enumerate(alternatives)]
    except Exception:
        await _aclose_forms(call, has_failed=True)
        raise


async def _aclose_forms(call: Call, *, has_failed: bool) -> None:
    """Close the forms, but after an error not in a history from before that was done."""
    run = call.run
    if not (has_failed and run.history.is_next_another(operation_name("close_form"))):
        await forms.aclose_forms(run, call.step_number)


async def _aasked(call: Call, one: Awaited[Any], position: int) -> Awaited[Any]:
    """Ask for an alternative's form, if it has one; return the alternative with its topic."""
    if one.form is None:
        return one
    asked = await forms.aask(call, one.form, call.step_number, position)
    return replace(one, wakes=(Wake.of_message("", asked.topic),))


async def _avalue(run: Run, checkpoint: Checkpoint, winner: Awaited[Any]) -> Any:
    """Return the value of a winner that has one."""
    if winner.has_topics:
        return await _areceived(run, checkpoint)
    assert checkpoint.output is not None
    recorded = await run.aload(checkpoint.output)
    value = (
        await run.aload(recorded["text"])
        if "text" in recorded
        else recorded.get("value", winner.default)
    )
    return value if winner.form is None else FormAnswer(*value)


async def _areceived(run: Run, checkpoint: Checkpoint) -> Received:
    assert checkpoint.output is not None
    recorded = await run.aload(checkpoint.output)
    message = await run.aload(recorded["text"]) if "text" in recorded else recorded["value"]
    return Received(recorded["topic"] or None, message)


async def _aerror(run: Run, checkpoint: Checkpoint, winner: Awaited[Any]) -> BaseException | None:
    """Return the error of a workflow that won by failing."""
    match checkpoint.state:
        case State.AWAITED_CANCELLED:
            return WorkflowCancelled(winner.wakes[0].workflow_id)
        case State.AWAITED_EXCEEDED:
            attempts = get_settings().max_recovery_attempts
            return MaxRecoveryAttemptsExceeded(winner.wakes[0].workflow_id, attempts)
    return None if checkpoint.error is None else await run.aload_error(checkpoint.error)


def _winner(checkpoint: Checkpoint) -> int | None:
    """Return the position of the winner; None after a timeout."""
    if checkpoint.output is None:
        return None
    return json.loads(serializers.opened(checkpoint.output))["winner"]  # type: ignore[no-any-return]


def _fingerprint(alternatives: dict[str | int, Awaited[Any]]) -> str:
    """Return a text by which a replay notices that the code has other alternatives now."""
    return serializers.fingerprint(json.dumps([str(name) for name in alternatives]))
