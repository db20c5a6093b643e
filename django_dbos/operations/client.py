"""Waits outside of workflows: for a result, and for an event."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from asgiref.sync import sync_to_async

from django_dbos import serializers
from django_dbos.conf import get_settings
from django_dbos.core.records import NewWorkflow, Wake, queue_key
from django_dbos.core.status import ACTIVE, Status
from django_dbos.exceptions import (
    MaxRecoveryAttemptsExceeded,
    WaitInTest,
    WaitTimeout,
    WorkflowCancelled,
    WorkflowDoesNotExist,
)
from django_dbos.operations import describing, runner
from django_dbos.operations.polling import auntil
from django_dbos.operations.timeouts import (
    default_or_raise,
    event_label,
    result_label,
    results_label,
)

if TYPE_CHECKING:
    from django_dbos.models import Workflow
    from django_dbos.store.base import Store
    from django_dbos.store.pubsub import Watch
    from django_dbos.store.records import Outcome

logger = logging.getLogger("django_dbos")

T = TypeVar("T")

# Seconds after which a wait logs a likely reason for its length.
PATIENCE = 5.0


async def aget_result(store: Store, workflow_id: str, timeout: float | None) -> Any:  # noqa: ASYNC109
    """Wait until a workflow has ended; return its result, or raise its error."""
    wait = _AsyncClientWait(
        store,
        "aget_result",
        workflow_id,
        timeout,
        lambda: _read_end(store, workflow_id),
    )
    found = await _afind(wait, Wake.of_result(workflow_id))
    if found is not None and found[0].status is Status.CANCELLED:
        await runner.auntil_left(workflow_id)
    return await sync_to_async(_result)(found, workflow_id, timeout)


async def aget_results(
    store: Store,
    workflow_ids: Sequence[str],
    timeout: float | None,  # noqa: ASYNC109
    return_exceptions: bool,
) -> list[Any]:
    """Wait until workflows have ended; return their results, or raise the first of their errors."""
    await sync_to_async(store.refuse_in_transaction)("aget_results")
    began, left = time.monotonic(), list(dict.fromkeys(workflow_ids))
    while left := await sync_to_async(_find_left)(store, left):
        remaining = None if timeout is None else max(began + timeout - time.monotonic(), 0.0)
        read = partial(_read_end, store, left[-1])
        wait = _AsyncClientWait(store, "aget_results", left[-1], remaining, read)
        if await _afind(wait, Wake.of_result(left[-1])) is None:
            raise WaitTimeout(results_label(len(workflow_ids)), timeout or 0.0)
    found = await sync_to_async(store.reader.read_outcomes)(workflow_ids)
    for workflow_id, outcome in found.items():
        if outcome.status is Status.CANCELLED:
            await runner.auntil_left(workflow_id)
    return await sync_to_async(_results)(found, workflow_ids, return_exceptions)


async def aget_event(
    store: Store,
    workflow_id: str,
    key: str,
    timeout: float | None,  # noqa: ASYNC109
    default: Any,
) -> Any:
    """Wait until a workflow has set an event; return its latest value."""
    wait = _AsyncClientWait(
        store,
        "aget_event",
        workflow_id,
        timeout,
        lambda: _read_event(store, workflow_id, key),
        is_allowed_in_transaction=timeout == 0,
    )
    found = await _afind(wait, Wake.of_event(workflow_id, key))
    if found is None:
        return default_or_raise(event_label(workflow_id, key), timeout, default)
    return await sync_to_async(serializers.loads)(found[0])


async def aget_place(store: Store, new: NewWorkflow, claim: Callable[[], tuple[T] | None]) -> T:
    """Claim a workflow as soon as its queue has a place; return the claim's value."""
    wait = _AsyncClientWait(store, new.name, new.workflow_id, None, claim)
    with store.wakeups.watch(
        queue_key(new.queue_name), Wake.of_result(new.workflow_id).key
    ) as watch:
        found = await auntil(watch, wait)
    assert found is not None
    return found[0]


async def _afind(wait: _AsyncClientWait[T], wake: Wake) -> tuple[T] | None:
    """Return the awaited value in a tuple; None once the wait's time is up."""
    # A value that is there already needs no listener.
    if not wait.is_listening and (found := await wait.poll(False)) is not None:
        return found
    with wait.watch(wake) as watch:
        return await auntil(watch, wait)


class ClientWait(Generic[T]):
    """One wait of a client: its limit, and the log line of a long one. Both colours share this."""

    def __init__(
        self,
        store: Store,
        operation: str,
        workflow_id: str,
        timeout: float | None,
        read: Callable[[], tuple[T] | None],
        *,
        is_allowed_in_transaction: bool = False,
    ) -> None:
        self._store = store
        self._operation = operation
        self._workflow_id = workflow_id
        self._began = time.monotonic()
        self._timeout = timeout
        self._read = read
        self._must_check = not is_allowed_in_transaction
        self._has_explained = False

    def watch(self, wake: Wake) -> Watch:
        """Return a watch for the awaited notification."""
        return self._store.wakeups.watch(wake.key)

    @property
    def is_listening(self) -> bool:
        """True if notifications of other processes arrive."""
        return self._store.wakeups.is_listening

    def blocking(self) -> AbstractContextManager[None]:
        """Return a context in which the caller blocks until the next poll."""
        return nullcontext()

    def _poll(self) -> tuple[T] | None:
        if self._must_check:
            self._must_check = False
            self._store.refuse_in_transaction(self._operation)
        return self._read()

    def _next_pause(self) -> float | None:
        """Return the seconds until the next poll, None once the time is up.

        Refuse a wait inside a transaction, also a test's, which can't see the awaited change.
        """
        passed = time.monotonic() - self._began
        if self._timeout is not None and passed >= self._timeout:
            return None
        self._store.refuse_in_transaction(self._operation)
        if self._store.is_in_test_transaction():
            raise WaitInTest(f"{self._operation}()")
        left = float("inf") if self._timeout is None else self._timeout - passed
        return min(get_settings().poll_interval, left)

    def _explain(self) -> None:
        """Log once, after a while, why the wait takes so long."""
        waited = time.monotonic() - self._began
        if self._has_explained or waited < PATIENCE:
            return
        self._has_explained = True
        workflow = self._store.reader.get_workflow(self._workflow_id)
        logger.warning(
            "%s() has waited %.0f s for workflow %r: %s.",
            self._operation,
            waited,
            self._workflow_id,
            self._reason(workflow),
        )

    def _reason(self, workflow: Workflow) -> str:
        if reasons := describing.why_not_running(self._store, workflow):
            return reasons.removesuffix(".")
        if workflow.status == Status.PENDING:
            return f"executor {workflow.executor_id!r} is running it"
        if waits_for := describing.awaited(workflow):
            return f"it waits for {waits_for}"
        return f"its status is {workflow.status}"


class _AsyncClientWait(ClientWait[T]):
    async def poll(self, is_expected: bool) -> tuple[T] | None:
        return await sync_to_async(self._poll)()

    async def pause(self) -> float | None:
        return await sync_to_async(self._next_pause)()

    async def resume(self) -> None:
        await sync_to_async(self._explain)()


def _read_end(store: Store, workflow_id: str) -> tuple[Outcome] | None:
    outcome = store.reader.read_outcome(workflow_id)
    return None if outcome.status in ACTIVE else (outcome,)


def _result(found: tuple[Outcome] | None, workflow_id: str, timeout: float | None) -> Any:
    if found is None:
        raise WaitTimeout(result_label(workflow_id), timeout or 0.0)
    (outcome,) = found
    match outcome.status:
        case Status.CANCELLED:
            raise WorkflowCancelled(workflow_id)
        case Status.MAX_RECOVERY_ATTEMPTS_EXCEEDED:
            raise MaxRecoveryAttemptsExceeded(workflow_id, outcome.recovery_attempts)
    if outcome.error is not None:
        raise serializers.load_error_to_raise(outcome.error)
    return None if outcome.output is None else serializers.loads(outcome.output)


def _find_left(store: Store, workflow_ids: Sequence[str]) -> list[str]:
    """Return those of the workflows that haven't ended; the next to wait for comes last."""
    unfinished = store.reader.find_unfinished(workflow_ids)
    left = [workflow.workflow_id for workflow in unfinished if not workflow.is_quarantined]
    if left and len(left) < len(workflow_ids):
        # Any, so that no order in which they end makes many looks: see `many_results`.
        left.append(left.pop(random.randrange(len(left))))
    return left


def _results(
    found: dict[str, Outcome], workflow_ids: Sequence[str], return_exceptions: bool
) -> list[Any]:
    results: list[Any] = []
    for workflow_id in workflow_ids:
        if workflow_id not in found:
            raise WorkflowDoesNotExist(workflow_id)
        try:
            results.append(_result((found[workflow_id],), workflow_id, None))
        except Exception as error:
            if not return_exceptions:
                raise
            results.append(error)
    return results


def _read_event(store: Store, workflow_id: str, key: str) -> tuple[str] | None:
    text = store.reader.read_event(workflow_id, key)
    return None if text is None else (text,)
