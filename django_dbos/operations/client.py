"""Waits outside of workflows: poll, wait for a notification, look again."""

from __future__ import annotations

import asyncio
import concurrent.futures as futures
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from django_dbos import serializers
from django_dbos.conf import get_settings
from django_dbos.core.records import Wake
from django_dbos.core.status import ACTIVE, Status
from django_dbos.exceptions import (
    MaxRecoveryAttemptsExceeded,
    WaitInTest,
    WorkflowCancelled,
)
from django_dbos.operations import events, results, runner
from django_dbos.operations.messages import timed_out

if TYPE_CHECKING:
    from django_dbos.models import Workflow
    from django_dbos.store.base import Store
    from django_dbos.store.records import Outcome

logger = logging.getLogger("django_dbos")

# Seconds after which a wait says in the log what it may be waiting for in vain.
PATIENCE = 5.0
# Seconds that an async function in this process has to leave, once its workflow was cancelled,
# before its result is said to be that.
LAST_WORDS = 1.0

Poll = Callable[[], tuple[Any] | None]


class Wait:
    """One wait of an asking process: how long it may last, and when to say that it does."""

    def __init__(
        self, store: Store, operation: str, workflow_id: str, timeout: float | None
    ) -> None:
        self._store = store
        self._operation = operation
        self._workflow_id = workflow_id
        self._began = time.monotonic()
        self._timeout = timeout
        self._has_spoken = False

    def refuse_in_transaction(self) -> None:
        """Nothing that is waited for can be seen in a transaction, in a test's neither."""
        self._store.refuse_in_transaction(self._operation)
        if self._timeout != 0 and self._store.is_in_test_transaction():
            raise WaitInTest(f"{self._operation}()")

    def pause(self) -> float | None:
        """Seconds until the next look; None once the time is up."""
        passed = time.monotonic() - self._began
        if self._timeout is not None and passed >= self._timeout:
            return None
        left = float("inf") if self._timeout is None else self._timeout - passed
        return min(get_settings().poll_interval, left)

    def explain(self) -> None:
        """Say once, after a while, why it takes so long."""
        if self._has_spoken or time.monotonic() - self._began < PATIENCE:
            return
        self._has_spoken = True
        workflow = self._store.reader.get_workflow(self._workflow_id)
        reason = self._reason(workflow)
        logger.warning(
            "%s() has waited %.0f s for workflow %r: %s.",
            self._operation,
            time.monotonic() - self._began,
            self._workflow_id,
            reason,
        )

    def _reason(self, workflow: Workflow) -> str:
        if workflow.status == Status.ENQUEUED:
            reader, queue_name = self._store.reader, str(workflow.queue_name)
            if reason := reader.why_unclaimed(queue_name, str(workflow.name)):
                return reason
        if workflow.status == Status.PENDING:
            return f"executor {workflow.executor_id!r} is running it"
        return f"its status is {workflow.status}"


def poll_until(wait: Wait, store: Store, keys: tuple[str, ...], poll: Poll) -> tuple[Any] | None:
    """Return what a look found; None once the time is up."""
    # Nobody needs to begin to listen for what is there already.
    if not store.wakeups.is_listening and (found := poll()) is not None:
        return found
    with store.wakeups.watch(*keys) as watch:
        while (found := poll()) is None and (pause := wait.pause()) is not None:
            wait.refuse_in_transaction()
            watch.wait(pause)
            wait.explain()
    return found


async def apoll_until(
    wait: Wait, store: Store, keys: tuple[str, ...], poll: Poll
) -> tuple[Any] | None:
    """See poll_until()."""
    apoll = sync_to_async(poll)
    if not store.wakeups.is_listening and (found := await apoll()) is not None:
        return found
    with store.wakeups.watch(*keys) as watch:
        while (found := await apoll()) is None and (pause := wait.pause()) is not None:
            await sync_to_async(wait.refuse_in_transaction)()
            await watch.await_(pause)
            await sync_to_async(wait.explain)()
    return found


def get_result(store: Store, workflow_id: str, timeout: float | None) -> Any:
    """Wait until a workflow has ended; return its result, or raise its error."""
    store.refuse_in_transaction("get_result")
    wait = Wait(store, "get_result", workflow_id, timeout)
    keys = (Wake.of_result(workflow_id).key,)
    found = poll_until(wait, store, keys, lambda: _look_at_end(store, workflow_id))
    if (left := _leaving(found, workflow_id)) is not None:
        futures.wait([left], LAST_WORDS)
    return _result(found, workflow_id, timeout)


async def aget_result(store: Store, workflow_id: str, timeout: float | None) -> Any:  # noqa: ASYNC109
    """See get_result()."""
    wait = Wait(store, "aget_result", workflow_id, timeout)
    keys = (Wake.of_result(workflow_id).key,)
    found = await apoll_until(wait, store, keys, lambda: _look_at_end(store, workflow_id))
    if (left := _leaving(found, workflow_id)) is not None:
        await asyncio.wait([asyncio.wrap_future(left)], timeout=LAST_WORDS)
    return await sync_to_async(_result)(found, workflow_id, timeout)


def _leaving(found: tuple[Outcome] | None, workflow_id: str) -> futures.Future[None] | None:
    """What is done once a cancelled workflow's async function has left, if it runs here."""
    is_cancelled = found is not None and found[0].status is Status.CANCELLED
    return runner.leaving(workflow_id) if is_cancelled else None


def _look_at_end(store: Store, workflow_id: str) -> tuple[Outcome] | None:
    outcome = store.reader.read_outcome(workflow_id)
    return None if outcome.status in ACTIVE else (outcome,)


def _result(found: tuple[Outcome] | None, workflow_id: str, timeout: float | None) -> Any:
    if found is None:
        results.raise_timeout(workflow_id, timeout)
    (outcome,) = found
    match outcome.status:
        case Status.CANCELLED:
            raise WorkflowCancelled(workflow_id)
        case Status.MAX_RECOVERY_ATTEMPTS_EXCEEDED:
            raise MaxRecoveryAttemptsExceeded(workflow_id, outcome.recovery_attempts)
    if outcome.error is not None:
        raise serializers.load_error_to_raise(outcome.error)
    return None if outcome.output is None else serializers.loads(outcome.output)


def get_event(store: Store, workflow_id: str, key: str, timeout: float | None, default: Any) -> Any:
    """Wait until a workflow has set an event; return its latest value."""
    if timeout != 0:
        store.refuse_in_transaction("get_event")
    wait = Wait(store, "get_event", workflow_id, timeout)
    keys = _event_keys(workflow_id, key)
    found = poll_until(wait, store, keys, lambda: _look_at_event(store, workflow_id, key))
    return _event(found, workflow_id, key, timeout, default)


async def aget_event(
    store: Store,
    workflow_id: str,
    key: str,
    timeout: float | None,  # noqa: ASYNC109
    default: Any,
) -> Any:
    """See get_event()."""
    wait = Wait(store, "aget_event", workflow_id, timeout)
    keys = _event_keys(workflow_id, key)
    found = await apoll_until(wait, store, keys, lambda: _look_at_event(store, workflow_id, key))
    return await sync_to_async(_event)(found, workflow_id, key, timeout, default)


def _event_keys(workflow_id: str, key: str) -> tuple[str, ...]:
    return (Wake.of_event(workflow_id, key).key,)


def _look_at_event(store: Store, workflow_id: str, key: str) -> tuple[str] | None:
    text = store.reader.read_event(workflow_id, key)
    return None if text is None else (text,)


def _event(
    found: tuple[str] | None, workflow_id: str, key: str, timeout: float | None, default: Any
) -> Any:
    if found is None:
        return timed_out(events.what(workflow_id, key), timeout, default)
    return serializers.loads(found[0])
