"""What a public call does, wherever it is made: in a workflow, in a step of one, or outside.

A workflow's own calls are operations with a position. A step's, and everybody else's, are asked of
the database on Django's connection of that thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar
from uuid import UUID

from asgiref.sync import sync_to_async

from django_dbos import serializers
from django_dbos.core import durations, names
from django_dbos.core.records import NewMessage, NewWorkflow
from django_dbos.exceptions import NotAllowedInStep, NotInWorkflow
from django_dbos.operations import (
    client,
    context,
    events,
    inline,
    limits,
    messages,
    recorded_call,
    results,
    sleep,
    stream_readers,
    streams,
)
from django_dbos.operations._sync import recorded_call as sync_recorded_call
from django_dbos.operations.client import refuse_on_loop
from django_dbos.operations.context import Scope
from django_dbos.operations.run import Run, operation_name
from django_dbos.store import get_store

T = TypeVar("T")


def scope_of(operation: str) -> Scope | None:
    """Where a sync call is made; refused on a running event loop."""
    refuse_on_loop(operation, f"a{operation}")
    return context.current()


def ascope_of(operation: str) -> Scope | None:
    """Where a coroutine form is called; refused in the code of a sync workflow."""
    scope = context.current()
    run = workflow_run(scope)
    if run is not None and run.loop is None:
        raise TypeError(
            f"{operation}() was called in workflow {run.definition.name!r}, which is sync. "
            "Call the sync form, or make the workflow async."
        )
    return scope


def run_of(scope: Scope | None, operation: str) -> Run:
    """The run whose workflow code makes a call that only workflow code may make."""
    if scope is None:
        raise NotInWorkflow(operation)
    if scope.step is not None:
        raise NotAllowedInStep(operation, scope.step.step_name)
    return scope.run


def workflow_run(scope: Scope | None) -> Run | None:
    """The run, if workflow code makes the call; None in steps and outside."""
    return scope.run if scope is not None and scope.step is None else None


def refuse_in_step(scope: Scope | None, operation: str) -> None:
    """Raise NotAllowedInStep in a step."""
    if scope is not None and scope.step is not None:
        raise NotAllowedInStep(operation, scope.step.step_name)


# Messages


def send(new: Sequence[NewMessage]) -> None:
    """Send messages: all of them, or none."""
    scope = scope_of("send")
    run = workflow_run(scope)
    if run is None:
        _send_outside(_sent_by(new, scope))
    elif run.loop is not None:
        run.on_loop(lambda: messages.asend(run, _sent_by(new, scope)))
    else:
        messages.send(run, _sent_by(new, scope))


async def asend(new: Sequence[NewMessage]) -> None:
    """See send()."""
    scope = ascope_of("asend")
    run = workflow_run(scope)
    if run is None:
        await sync_to_async(_send_outside)(_sent_by(new, scope))
    else:
        await messages.asend(run, _sent_by(new, scope))


def _send_outside(new: Sequence[NewMessage]) -> None:
    store = get_store()
    store.refuse_in_atomic_elsewhere("send")
    store.send_messages(new)


def _sent_by(new: Sequence[NewMessage], scope: Scope | None) -> list[NewMessage]:
    if scope is None:
        return list(new)
    limits.count_messages(scope.run, len(new))
    return [replace(one, sender_id=scope.run.workflow_id) for one in new]


def recv(topic: str | None, timeout: Any, default: Any) -> Any:
    """Wait for a message."""
    run = run_of(scope_of("recv"), "recv")
    topic, seconds = names.check_topic(topic), durations.to_seconds(timeout, label="timeout")
    if run.loop is not None:
        return run.on_loop(lambda: messages.arecv(run, topic, seconds, default))
    return messages.recv(run, topic, seconds, default)


async def arecv(topic: str | None, timeout: Any, default: Any) -> Any:  # noqa: ASYNC109
    """See recv()."""
    run = run_of(ascope_of("arecv"), "arecv")
    topic, seconds = names.check_topic(topic), durations.to_seconds(timeout, label="timeout")
    return await messages.arecv(run, topic, seconds, default)


# Events


def set_event(key: str, value: Any) -> None:
    """Publish a value."""
    scope = scope_of("set_event")
    if scope is None:
        raise NotInWorkflow("set_event")
    if scope.run.loop is not None:
        scope.run.on_loop(lambda: events.aset_event(scope.run, scope.step, key, value))
    else:
        events.set_event(scope.run, scope.step, key, value)


async def aset_event(key: str, value: Any) -> None:
    """See set_event()."""
    scope = ascope_of("aset_event")
    if scope is None:
        raise NotInWorkflow("aset_event")
    await events.aset_event(scope.run, scope.step, key, value)


def get_event(workflow_id: str, key: str, timeout: Any, default: Any) -> Any:
    """Wait for an event."""
    scope = scope_of("get_event")
    refuse_in_step(scope, "get_event")
    workflow_id, key = names.check_workflow_id(workflow_id), names.check_key(key)
    seconds = durations.to_seconds(timeout, label="timeout")
    run = workflow_run(scope)
    if run is None:
        return client.get_event(get_store(), workflow_id, key, seconds, default)
    if run.loop is not None:
        return run.on_loop(lambda: events.aget_event(run, workflow_id, key, seconds, default))
    return events.get_event(run, workflow_id, key, seconds, default)


async def aget_event(workflow_id: str, key: str, timeout: Any, default: Any) -> Any:  # noqa: ASYNC109
    """See get_event()."""
    scope = ascope_of("aget_event")
    refuse_in_step(scope, "aget_event")
    workflow_id, key = names.check_workflow_id(workflow_id), names.check_key(key)
    seconds = durations.to_seconds(timeout, label="timeout")
    run = workflow_run(scope)
    if run is None:
        return await client.aget_event(get_store(), workflow_id, key, seconds, default)
    return await events.aget_event(run, workflow_id, key, seconds, default)


def read_events(workflow_id: str) -> dict[str, Any]:
    """Read the latest values, on this thread."""
    store = get_store()
    found = store.reader.read_events(workflow_id)
    if not found:
        store.reader.read_status(workflow_id)
    return {key: serializers.loads(text) for key, text, _ in found}


# Streams


def write_stream(key: str, value: Any) -> None:
    """Append a value."""
    scope = scope_of("write_stream")
    if scope is None:
        raise NotInWorkflow("write_stream")
    if scope.run.loop is not None:
        scope.run.on_loop(lambda: streams.awrite_stream(scope.run, scope.step, key, value))
    else:
        streams.write_stream(scope.run, scope.step, key, value)


async def awrite_stream(key: str, value: Any) -> None:
    """See write_stream()."""
    scope = ascope_of("awrite_stream")
    if scope is None:
        raise NotInWorkflow("awrite_stream")
    await streams.awrite_stream(scope.run, scope.step, key, value)


def close_stream(key: str) -> None:
    """End a stream."""
    scope = scope_of("close_stream")
    if scope is None:
        raise NotInWorkflow("close_stream")
    if scope.run.loop is not None:
        scope.run.on_loop(lambda: streams.aclose_stream(scope.run, scope.step, key))
    else:
        streams.close_stream(scope.run, scope.step, key)


async def aclose_stream(key: str) -> None:
    """See close_stream()."""
    scope = ascope_of("aclose_stream")
    if scope is None:
        raise NotInWorkflow("aclose_stream")
    await streams.aclose_stream(scope.run, scope.step, key)


def read_stream(
    workflow_id: str, key: str, offset: int, timeout: Any, wait: bool
) -> stream_readers.StreamReader:
    """A reader of a stream."""
    scope = scope_of("read_stream")
    options = _reading(workflow_id, key, offset, timeout, wait)
    run = workflow_run(scope)
    call = None
    if run is not None:
        call = run.begin("read_stream", operation_name("read_stream", key))
        run.flush()
    return stream_readers.StreamReader(get_store(), call=call, **options)


def aread_stream(
    workflow_id: str, key: str, offset: int, timeout: Any, wait: bool
) -> stream_readers.AsyncStreamReader:
    """See read_stream()."""
    options = _reading(workflow_id, key, offset, timeout, wait)
    run = workflow_run(ascope_of("aread_stream"))
    call = None
    if run is not None:
        call = run.begin("aread_stream", operation_name("read_stream", key))
    return stream_readers.AsyncStreamReader(get_store(), call=call, **options)


def _reading(workflow_id: str, key: str, offset: int, timeout: Any, wait: bool) -> dict[str, Any]:
    if type(offset) is not int or offset < 0:
        raise ValueError(f"offset must be an int of at least 0, but is {offset!r}.")
    return {
        "workflow_id": names.check_workflow_id(workflow_id),
        "key": names.check_key(key),
        "offset": offset,
        "timeout": durations.to_seconds(timeout, label="timeout"),
        "wait": wait,
    }


# Sleep


def sleep_for(duration: Any) -> None:
    """Sleep durably."""
    run = run_of(scope_of("sleep"), "sleep")
    seconds = _sleeping(duration)
    if run.loop is not None:
        run.on_loop(lambda: sleep.asleep(run, seconds))
    else:
        sleep.sleep(run, seconds)


async def asleep_for(duration: Any) -> None:
    """See sleep_for()."""
    run = run_of(ascope_of("asleep"), "asleep")
    await sleep.asleep(run, _sleeping(duration))


def _sleeping(duration: Any) -> float:
    seconds: float | None = durations.to_seconds(duration, label="duration")
    if seconds is None:
        raise TypeError("duration must be seconds or a timedelta, not None.")
    return seconds


# Workflows


def start(new: Sequence[NewWorkflow]) -> list[str]:
    """Start workflows, and return their ids."""
    scope = scope_of("start")
    run = workflow_run(scope)
    if run is None:
        return _start_outside(new)
    if run.loop is not None:
        return run.on_loop(lambda: results.astart(run, new))
    return results.start(run, new)


async def astart(new: Sequence[NewWorkflow]) -> list[str]:
    """See start()."""
    run = workflow_run(ascope_of("astart"))
    if run is None:
        return await sync_to_async(_start_outside)(new)
    return await results.astart(run, new)


def start_many(like: NewWorkflow, inputs: Sequence[str]) -> list[str]:
    """Start a workflow like this one for each input, and return their ids."""
    scope = scope_of("start_many")
    if not inputs:
        return []
    if workflow_run(scope) is None:
        return _start_many_outside(like, inputs)
    return start(_children(like, inputs))


async def astart_many(like: NewWorkflow, inputs: Sequence[str]) -> list[str]:
    """See start_many()."""
    if not inputs:
        return []
    if workflow_run(ascope_of("astart_many")) is None:
        return await sync_to_async(_start_many_outside)(like, inputs)
    return await astart(_children(like, inputs))


def _start_many_outside(like: NewWorkflow, inputs: Sequence[str]) -> list[str]:
    store = get_store()
    store.refuse_in_atomic_elsewhere("start")
    return store.start_many(like, inputs)


def _children(like: NewWorkflow, inputs: Sequence[str]) -> list[NewWorkflow]:
    return like.repeated([like.workflow_id] * len(inputs), inputs)


def _start_outside(new: Sequence[NewWorkflow]) -> list[str]:
    store = get_store()
    store.refuse_in_atomic_elsewhere("start")
    started = store.start_workflows(new)
    return [one.workflow_id for one in started]


def id_for(token: UUID) -> str:
    """The id of a workflow that is given none; "" for a child, who gets it later."""
    return str(token) if workflow_run(context.current()) is None else ""


def call(new: NewWorkflow) -> Any:
    """Run a workflow to its end: as a child in a workflow, inline outside of one."""
    scope = context.current()
    refuse_in_step(scope, new.name)
    run = workflow_run(scope)
    if run is None:
        return _call_inline(new)
    if run.loop is not None:
        return run.on_loop(lambda: _acall_child(run, new))
    (workflow_id,) = results.start(run, [new])
    return results.get_result(run, workflow_id, None)


async def acall(new: NewWorkflow) -> Any:
    """See call()."""
    scope = ascope_of(f"{new.name}.acall")
    refuse_in_step(scope, new.name)
    run = workflow_run(scope)
    if run is not None:
        return await _acall_child(run, new)
    store = get_store()
    await sync_to_async(store.refuse_in_transaction)(new.name)
    ran = await inline.acall(store, new)
    if ran is not None and inline.has_outcome(ran):
        return inline.outcome(ran)
    return await client.aget_result(store, new.workflow_id, None)


async def _acall_child(run: Run, new: NewWorkflow) -> Any:
    (workflow_id,) = await results.astart(run, [new])
    return await results.aget_result(run, workflow_id, None)


def _call_inline(new: NewWorkflow) -> Any:
    store = get_store()
    store.refuse_in_transaction(new.name)
    ran = inline.call(store, new)
    if ran is not None and inline.has_outcome(ran):
        return inline.outcome(ran)
    # It exists already, or somebody else has taken it over: the recorded outcome counts.
    return client.get_result(store, new.workflow_id, None)


def get_result(workflow_id: str, timeout: Any) -> Any:
    """Wait for a workflow's result."""
    scope = scope_of("get_result")
    refuse_in_step(scope, "get_result")
    seconds = durations.to_seconds(timeout, label="timeout")
    run = workflow_run(scope)
    if run is None:
        return client.get_result(get_store(), workflow_id, seconds)
    if run.loop is not None:
        return run.on_loop(lambda: results.aget_result(run, workflow_id, seconds))
    return results.get_result(run, workflow_id, seconds)


async def aget_result(workflow_id: str, timeout: Any) -> Any:  # noqa: ASYNC109
    """See get_result()."""
    scope = ascope_of("aget_result")
    refuse_in_step(scope, "aget_result")
    seconds = durations.to_seconds(timeout, label="timeout")
    run = workflow_run(scope)
    if run is None:
        return await client.aget_result(get_store(), workflow_id, seconds)
    return await results.aget_result(run, workflow_id, seconds)


# Reading and changing other workflows


def perform(operation: str, do: Callable[[], T]) -> T:
    """Do what reads or changes other workflows; in workflow code once, and recorded."""
    run = workflow_run(scope_of(operation))
    if run is None:
        return do()
    if run.loop is not None:
        return run.on_loop(
            lambda: recorded_call.aperform(run, operation, operation_name(operation), do)
        )
    return sync_recorded_call.perform(run, operation, operation_name(operation), do)


async def aperform(operation: str, do: Callable[[], T]) -> T:
    """See perform()."""
    run = workflow_run(ascope_of(f"a{operation}"))
    if run is None:
        return await sync_to_async(do)()
    return await recorded_call.aperform(run, f"a{operation}", operation_name(operation), do)
