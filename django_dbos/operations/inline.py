"""Workflows that run here and now, on the thread and the connection of whoever calls them.

A process that does so is an executor while it lasts: it has a row and a heartbeat, so that a worker
takes its workflow over if it dies. Inside a test's transaction it has neither, since nobody else
could see them (CORRECTNESS rules 33, 36 and 40).
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync, sync_to_async
from django.db import transaction

from django_dbos.conf import get_settings
from django_dbos.core import registry
from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.batch.plan import Plan
from django_dbos.core.ids import new_executor_id
from django_dbos.core.records import (
    Claim,
    NewWorkflow,
    Wake,
    WakeKind,
    run_key,
)
from django_dbos.core.status import Status
from django_dbos.exceptions import WaitInTest, WorkflowCancelled
from django_dbos.interruptions import ClaimLost, HistoryUnusable
from django_dbos.operations import context, reads, runner
from django_dbos.operations.loading import load_runs
from django_dbos.operations.quarantine import quarantine
from django_dbos.operations.registration import executor_info
from django_dbos.operations.run import Run
from django_dbos.store import errors
from django_dbos.store.inline_writer import InlineWriter

if TYPE_CHECKING:
    from django_dbos.store.base import Store

logger = logging.getLogger("django_dbos.executor")

# In a test's transaction nothing comes from outside. A sleep, or a wait beside other branches, that
# takes no longer than this (seconds) is waited out.
LONGEST_TEST_SLEEP = 5.0


class InlineHost:
    """Runs workflows on the calling thread, on Django's connection."""

    is_inline = True
    owns_connections = False

    def __init__(self, store: Store, executor_id: str) -> None:
        self.store = store
        self.executor_id = executor_id
        self.is_in_test = store.is_in_test_transaction()
        self.writer = InlineWriter(
            store, executor_id, on_commit=self._follow_up, new_context=context.copy_outside
        )
        self.runs: set[Run] = set()
        self._has_heard = False
        """Whether a workflow was cancelled, perhaps one that is claimed here and not yet run."""
        self._in_doubt: set[str] = set()
        """What was perhaps claimed, by a statement that failed."""
        self._not_run: set[str] = set()
        """What was claimed, and isn't run yet."""

    def hear(self, keys: list[str]) -> None:
        """Of changed keys: a workflow that may have been cancelled asks before its next step."""
        if any(key.startswith(run_key("")) for key in keys):
            self._has_heard = True
            for run in list(self.runs):
                if run_key(run.workflow_id) in keys:
                    run.doubt()

    def doubt_all(self) -> None:
        """Any of them may have been cancelled."""
        for run in list(self.runs):
            run.doubt()

    def start(self, new: NewWorkflow) -> Run | None:
        """Start a workflow under a claim of this host; None if its id exists already."""
        session = self.store.session()
        with session.transaction():
            (started,) = self.store.start_workflows([new])
            if not started.is_new:
                return None
            claim = self.store.claim_workflow(session, self.executor_id, new.workflow_id)
        return None if claim is None else self.make_run(claim)

    def claim(self, workflow_id: str) -> Run | None:
        """Claim an enqueued workflow whose function is known here.

        After an error it may be called again: a claim without a run is given back first.
        """
        if self.store.reader.find_name(workflow_id) not in registry.workflows:
            return None
        session = self.store.session()
        if workflow_id in self._in_doubt:
            self.store.release_workflows(session, self.executor_id, [workflow_id])
        self._in_doubt.add(workflow_id)
        try:
            claim = self.store.claim_workflow(session, self.executor_id, workflow_id)
            run = None if claim is None else self.make_run(claim)
        except Exception as error:
            if not errors.is_of_value(error):
                raise
            # Its own fault: whoever awaits it here goes on waiting, as elsewhere.
            run = None
            quarantine(self.store, session, self.executor_id, workflow_id, "can't be run", error)
        self._in_doubt.discard(workflow_id)
        if run is not None:
            self._not_run.add(workflow_id)
        return run

    def let_go(self) -> None:
        """Release what was claimed and isn't run, since whoever awaited it was cancelled."""
        left = [*self._in_doubt, *self._not_run]
        if left:
            self._release(left)

    def _release(self, workflow_ids: list[str]) -> None:
        session = self.store.session()
        lanes = self.store.release_workflows(session, self.executor_id, workflow_ids)
        self.store.tell(session, Notifications(lanes=lanes))

    def make_run(self, claim: Claim) -> Run:
        """A run of a claimed workflow, with its history."""
        (run,) = load_runs(self, [claim], self.store.session)
        return run

    def give_back(self, run: Run) -> None:
        """Release a claim that isn't run."""
        self._release([run.workflow_id])

    def perform(self, run: Run) -> None:
        """Run a workflow to its end on this thread."""
        self._begin(run)
        try:
            with self._listening():
                if run.definition.is_async:
                    async_to_sync(self._aexecute)(run)
                else:
                    runner.execute(run)
        finally:
            self.runs.discard(run)

    async def aperform(self, run: Run) -> None:
        """See perform()."""
        self._begin(run)
        try:
            with self._listening():
                if run.definition.is_async:
                    await self._aexecute(run)
                else:
                    await sync_to_async(runner.execute)(run)
        finally:
            self.runs.discard(run)

    async def _aexecute(self, run: Run) -> None:
        self.writer.use_loop()
        await runner.aexecute(run)

    def _begin(self, run: Run) -> None:
        self.runs.add(run)
        self._not_run.discard(run.workflow_id)
        if self._has_heard:
            self._has_heard = False
            run.doubt()

    def _listening(self) -> AbstractContextManager[None]:
        """A loop's thread doesn't know of the test's transaction, which is another thread's."""
        return self.store.wakeups.muted() if self.is_in_test else nullcontext()

    @property
    def takes_turns(self) -> bool:
        return self.is_in_test

    def may_hold(self) -> bool:
        return False

    def may_end_later(self) -> bool:
        return False

    def settled(self, run: Run) -> None:
        """No run ends later."""

    def reserve_slot(self, queue_name: str, workflow_name: str) -> bool:
        return False

    @contextmanager
    def without_slot(self, run: Run) -> Iterator[None]:
        yield

    def _follow_up(self, plan: Plan) -> None:
        follow_up = partial(self.store.follow_up, self.store.session(), [plan])
        transaction.on_commit(follow_up, using=self.store.alias)


class InlineExecutor:
    """Keeps this process registered, with heartbeats, while it runs workflows inline."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._executor_id = ""
        self._hosts: set[InlineHost] = set()
        self._ended = threading.Event()

    def join(self, store: Store) -> InlineHost:
        """Register this process if it isn't, and return a new host under its row."""
        with self._lock:
            if self._pid != os.getpid() or not self._hosts:
                self._begin(store)
            host = InlineHost(store, self._executor_id)
            self._hosts.add(host)
        return host

    def leave(self, host: InlineHost) -> None:
        """Remove a host that has ended; the last one deregisters the process."""
        with self._lock:
            self._hosts.discard(host)
            if self._hosts or host.executor_id != self._executor_id:
                return
            self._ended.set()
        try:
            host.store.deregister_executor(host.store.session(), host.executor_id)
        except errors.StoreError as error:
            logger.warning("Executor %s couldn't deregister: %r", host.executor_id, error)

    def _begin(self, store: Store) -> None:
        self._pid = os.getpid()
        self._hosts = set()
        self._executor_id = new_executor_id()
        self._ended = threading.Event()
        info = executor_info(self._executor_id, is_inline=True, concurrency=0)
        store.register_executor(store.session(), info, has_lock=False)
        if store.is_private:
            # Nobody else could take its work over, and a second thread that writes would fail.
            return
        heartbeat = threading.Thread(
            target=self._beat,
            args=(store, self._executor_id, self._ended),
            name="dbos-inline-heartbeat",
            daemon=True,
        )
        heartbeat.start()

    def _beat(self, store: Store, executor_id: str, ended: threading.Event) -> None:
        """Send heartbeats; connect only once a workflow runs for longer than an interval."""
        interval = get_settings().heartbeat_interval
        session = None
        while not ended.wait(interval):
            session = session or store.connect(executor_id, "inline")
            try:
                look = store.heartbeat(session, executor_id, None)
            except errors.StoreError as error:
                logger.warning("Executor %s missed a heartbeat: %r", executor_id, error)
                session.close()
                continue
            if not look.is_registered:
                self._declared_dead(executor_id)
                break
            # A process that doesn't listen isn't told of what others have cancelled.
            for host in self._hosts_of(executor_id):
                host.doubt_all()
        if session is not None:
            session.close()

    def _hosts_of(self, executor_id: str) -> set[InlineHost]:
        with self._lock:
            return {host for host in self._hosts if host.executor_id == executor_id}

    def _declared_dead(self, executor_id: str) -> None:
        hosts = self._hosts_of(executor_id)
        with self._lock:
            self._hosts -= hosts
        for host in hosts:
            for run in list(host.runs):
                run.interrupt(ClaimLost())


_executor = InlineExecutor()


@contextmanager
def hosting(store: Store) -> Iterator[InlineHost]:
    """A host for inline runs on this thread."""
    if store.is_in_test_transaction():
        yield InlineHost(store, f"test:{os.getpid()}")
        return
    host = _executor.join(store)
    store.wakeups.add_key_listener(host.hear)
    try:
        yield host
    finally:
        store.wakeups.remove_key_listener(host.hear)
        try:
            host.let_go()
        except errors.StoreError as error:
            logger.warning("What was claimed and not run couldn't be released: %r", error)
        _executor.leave(host)


def call(store: Store, new: NewWorkflow) -> Run | None:
    """Run a workflow here, to its end; None if its id exists already."""
    with hosting(store) as host:
        run = host.start(new)
        if run is not None:
            host.perform(run)
    return run


async def acall(store: Store, new: NewWorkflow) -> Run | None:
    """See call()."""
    hosted = hosting(store)
    host, run = await _begun(hosted, new)
    try:
        if run is not None:
            await host.aperform(run)
    finally:
        await sync_to_async(hosted.__exit__)(None, None, None)
    return run


async def _begun(
    hosted: AbstractContextManager[InlineHost], new: NewWorkflow
) -> tuple[InlineHost, Run | None]:
    """A host, and the run of what was started there.

    Its thread goes on when the caller is cancelled: the workflow must not stay claimed by a living
    process that doesn't run it (CORRECTNESS rule 3).
    """
    beginning = asyncio.ensure_future(sync_to_async(_begin)(hosted, new))
    try:
        return await asyncio.shield(beginning)
    except asyncio.CancelledError:
        await asyncio.wait([beginning])
        if beginning.exception() is None:
            await sync_to_async(_give_up)(hosted, *beginning.result())
        raise


def _begin(
    hosted: AbstractContextManager[InlineHost], new: NewWorkflow
) -> tuple[InlineHost, Run | None]:
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
    """Whether an inline run brought its workflow to an end, rather than lost it."""
    return run is not None and run.ended_as in (Status.SUCCESS, Status.ERROR, Status.CANCELLED)


def outcome(run: Run) -> Any:
    """What the workflow returned; raises what it raised."""
    if run.ended_as == Status.CANCELLED:
        raise WorkflowCancelled(run.workflow_id)
    if run.error is not None:
        raise run.error
    return run.value


def run_awaited(run: Run, wake: Wake) -> bool:
    """Run the workflow that an inline run awaits, if it is enqueued, and say whether it was."""
    if not isinstance(run.host, InlineHost) or wake.kind is not WakeKind.RESULT:
        return False
    awaited = reads.patiently(run, partial(run.host.claim, wake.workflow_id))
    if awaited is None:
        return False
    run.host.perform(awaited)
    return True


async def arun_awaited(run: Run, wake: Wake) -> bool:
    """See run_awaited()."""
    if not isinstance(run.host, InlineHost) or wake.kind is not WakeKind.RESULT:
        return False
    awaited = await reads.apatiently(run, partial(run.host.claim, wake.workflow_id))
    if awaited is None:
        return False
    await run.host.aperform(awaited)
    return True


def refuse_in_test(run: Run, operation: str, wake: Wake, remaining: float | None) -> None:
    """Inside a test's transaction nothing that others do can be seen: waiting would hang."""
    if not isinstance(run.host, InlineHost) or not run.host.is_in_test:
        return
    is_short = remaining is not None and remaining <= LONGEST_TEST_SLEEP
    passes_by_itself = wake.kind is WakeKind.SLEEP or not run.host.is_inline
    if not (is_short and passes_by_itself):
        run.stop(HistoryUnusable(WaitInTest(operation)))
