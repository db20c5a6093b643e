"""Run a step: replay what was recorded, or attempt it, try again, and record how it ended."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.transaction import TransactionManagementError

from django_dbos import serializers
from django_dbos.exceptions import DbosError, StepTimeout
from django_dbos.operations import context, retries, threads
from django_dbos.operations._sync import retries as sync_retries
from django_dbos.operations.atomic_steps import arun_atomic, refuse_in_transaction, run_atomic
from django_dbos.operations.attempts import (
    Recorder,
    StepDefinition,
    arecord,
    arecord_error,
    record,
    record_error,
)
from django_dbos.operations.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterator


def run_step(run: Run, step: StepDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what the step returned, now or in an earlier run; raise what it raised."""
    if step.is_atomic:
        refuse_in_transaction(run, step.name, step.using)
    call = run.begin(step.name, step.name)
    if call.found is not None:
        return run.outcome(call.found)
    recorder = Recorder(call, step)
    sync_retries.pause_until_due(recorder)
    if step.is_atomic:
        return run_atomic(recorder, args, kwargs)
    while True:
        try:
            value = _attempt(recorder, args, kwargs)
            checkpoint = recorder.returned(value)
        except (Exception, SystemExit) as error:
            if not step.is_last(recorder.attempt, error):
                found = sync_retries.retry(recorder, error)
                if found is None:
                    continue
                return run.outcome(found)
            return record_error(recorder, error)
        return record(recorder, checkpoint, value)


async def arun_step(
    run: Run, step: StepDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """See run_step(). A sync step runs on a thread."""
    call = run.begin(step.name, step.name, _fingerprint(run, args, kwargs))
    if call.found is not None:
        await run.turn(call.found)
        return await run.aoutcome(call.found)
    recorder = Recorder(call, step)
    await retries.apause_until_due(recorder)
    if step.is_atomic:
        return await arun_atomic(recorder, args, kwargs)
    while True:
        try:
            value = await _aattempt(recorder, args, kwargs)
            checkpoint = recorder.returned(value)
        except (Exception, SystemExit) as error:
            if not step.is_last(recorder.attempt, error):
                found = await retries.aretry(recorder, error)
                if found is None:
                    continue
                return await run.aoutcome(found)
            return await arecord_error(recorder, error)
        return await arecord(recorder, checkpoint, value)


def _fingerprint(run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """What tells the calls of concurrent branches apart, if their arguments can be written."""
    assert run.branches is not None
    if not run.branches.is_concurrent:
        return None
    try:
        return serializers.fingerprint(serializers.dumps([args, kwargs], label="arguments"))
    except DbosError:
        return None


def _attempt(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    run, step = recorder.call.run, recorder.step
    run.ensure_claim(always=step.confirm)
    with context.entered(run, recorder.scope()), _no_transaction_left(step):
        return recorder.call_function(args, kwargs)


async def _aattempt(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    step = recorder.step
    if not step.is_async:
        return await threads.perform(recorder.call.run, _attempt, recorder, args, kwargs)
    await recorder.call.run.aensure_claim(always=step.confirm)
    with context.entered(recorder.call.run, recorder.scope()):
        try:
            async with asyncio.timeout(step.timeout) as limit:
                return await recorder.acall_function(args, kwargs)
        except TimeoutError:
            if not limit.expired():
                raise
            assert step.timeout is not None
            raise StepTimeout(step.name, step.timeout) from None


@contextmanager
def _no_transaction_left(step: StepDefinition) -> Iterator[None]:
    """A transaction that a step leaves open would swallow whatever runs next on this thread."""
    before = {one.alias: len(one.atomic_blocks) for one in connections.all(initialized_only=True)}
    yield
    for connection in connections.all(initialized_only=True):
        if connection.connection is None:
            continue
        blocks = before.get(connection.alias, 0)
        has_block = len(connection.atomic_blocks) > blocks
        if has_block or (not connection.in_atomic_block and not connection.get_autocommit()):
            connection.close()
            if not blocks:
                # Which forgets the block: as it is, the connection can't be used again.
                connection.connect()
            raise TransactionManagementError(
                f"Step {step.name!r} left a transaction open on database {connection.alias!r}. "
                "It was rolled back. Use `with transaction.atomic():` or @step(atomic=True)."
            )
