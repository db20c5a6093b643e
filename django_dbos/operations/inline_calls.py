"""Inline calls: run a workflow here and now, outside of workflows, and return its outcome."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from django_dbos.core.records import NewWorkflow
from django_dbos.core.status import Status
from django_dbos.exceptions import WorkflowCancelled
from django_dbos.operations import client
from django_dbos.operations._sync import client as sync_client
from django_dbos.operations.inline import InlineHost, Started
from django_dbos.operations.inline_executor import hosting
from django_dbos.operations.run import Run

if TYPE_CHECKING:
    from django_dbos.store.base import Store


def call(store: Store, new: NewWorkflow) -> tuple[str, Run | None]:
    """Run a workflow here, to its end; return its id and its last run.

    There is no run of a workflow that exists already, whose id may be another one.
    """
    ran = None
    with hosting(store) as host:
        started = host.start(new)
        run = started.run
        if started.is_new and run is None:
            run = sync_client.get_place(store, new, lambda: _claim(host, new))
        while run is not None:
            host.perform(run)
            ran, run = run, host.next_run_of(run)
            if run is None and ran.has_continued:
                run = sync_client.get_place(store, new, lambda: _claim(host, new))
    return started.workflow_id, ran


async def acall(store: Store, new: NewWorkflow) -> tuple[str, Run | None]:
    """See call()."""
    hosted = hosting(store)
    host, started = await _begun(hosted, new)
    run = started.run
    ran = None
    try:
        if started.is_new and run is None:
            run = await client.aget_place(store, new, lambda: _claim(host, new))
        while run is not None:
            await host.aperform(run)
            ran, run = run, await sync_to_async(host.next_run_of)(run)
            if run is None and ran.has_continued:
                run = await client.aget_place(store, new, lambda: _claim(host, new))
    finally:
        await sync_to_async(hosted.__exit__)(None, None, None)
    return started.workflow_id, ran


def _claim(host: InlineHost, new: NewWorkflow) -> tuple[Run | None] | None:
    """Return the run once there is a place for it; None in its place once another has it."""
    run = host.claim(new.workflow_id)
    if run is not None:
        return (run,)
    is_waiting = host.store.reader.read_status(new.workflow_id) == Status.ENQUEUED
    return None if is_waiting else (None,)


async def _begun(
    hosted: AbstractContextManager[InlineHost], new: NewWorkflow
) -> tuple[InlineHost, Started]:
    """Return a host, and the start of a workflow there.

    The starting thread continues when the caller is cancelled: the workflow must not stay claimed
    by a living process that doesn't run it (CORRECTNESS rule 3).
    """
    beginning = asyncio.ensure_future(sync_to_async(_begin)(hosted, new))
    try:
        return await asyncio.shield(beginning)
    except asyncio.CancelledError:
        await asyncio.wait([beginning])
        if beginning.exception() is None:
            host, started = beginning.result()
            await sync_to_async(_give_up)(hosted, host, started.run)
        raise


def _begin(
    hosted: AbstractContextManager[InlineHost], new: NewWorkflow
) -> tuple[InlineHost, Started]:
    host = hosted.__enter__()
    try:
        return host, host.start(new)
    except BaseException:
        hosted.__exit__(None, None, None)
        raise


def _give_up(hosted: AbstractContextManager[InlineHost], host: InlineHost, run: Run | None) -> None:
    try:
        if run is not None:
            host.give_back(run)
    finally:
        hosted.__exit__(None, None, None)


def has_outcome(run: Run | None) -> bool:
    """Return whether an inline run has ended its workflow; it may have lost the claim instead."""
    return run is not None and run.ended_as in (Status.SUCCESS, Status.ERROR, Status.CANCELLED)


def outcome(run: Run) -> Any:
    """Return the workflow's result, or raise its error."""
    if run.ended_as == Status.CANCELLED:
        raise WorkflowCancelled(run.workflow_id)
    if run.error is not None:
        raise run.error
    return run.value
