"""Runs: the workflows that this executor runs, and their host, with the slots and the writer."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from django_dbos import telemetry
from django_dbos.core import names, registry
from django_dbos.core.batch.plan import Plan
from django_dbos.core.records import (
    DUE_PREFIX,
    Claim,
    NewWorkflow,
    Wake,
    Write,
    cancelled_key,
    queue_key,
    run_key,
)
from django_dbos.executor.clock import Clock
from django_dbos.executor.identity import Identity
from django_dbos.executor.notifier import Notifier
from django_dbos.executor.pool import Pool
from django_dbos.executor.shared_session import SharedSession
from django_dbos.executor.slots import Slots
from django_dbos.interruptions import ClaimLost, HandedOver, RunInterrupted
from django_dbos.operations.loading import load_runs
from django_dbos.operations.run import Run
from django_dbos.store.group_commit import BatchWriter
from django_dbos.store.pubsub import EVERYTHING
from django_dbos.store.sessions import Session
from django_dbos.store.writer import Succession, WithEnds
from django_dbos.telemetry import concealing

logger = logging.getLogger("django_dbos.executor")

T = TypeVar("T")

RUN_PREFIX = run_key("")
QUEUE_PREFIX = queue_key("")
CANCELLED_PREFIX = cancelled_key("")
# A child's claim may have been committed this many seconds before its run begins.
CHILD_AGE = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """The effects of runs on the executor's other threads."""

    slot_freed: Callable[[], None]
    audit: Callable[[], None]
    """Have claims compared with runs."""
    audit_soon: Callable[[], None]
    """The same, but not again and again."""
    note_due: Callable[[float], None]
    """Have workflows enqueued that are due in this many seconds."""
    note_deadline: Callable[[float], None]
    """Have a workflow cancelled that has this many seconds left."""
    with_ends: WithEnds
    """Let the writer claim for places that become free."""


class Runs:
    """The runs of one executor, by workflow, and their `Host`."""

    is_inline = False
    owns_connections = True
    takes_turns = False

    def __init__(
        self, identity: Identity, notifier: Notifier, effects: Effects, clock: Clock
    ) -> None:
        self._identity = identity
        self._notifier = notifier
        self._effects = effects
        self._clock = clock
        self.store = identity.store
        self._lending_thread = SharedSession(identity, "places")
        self.slots = Slots(identity.concurrency, effects.slot_freed)
        self.pool = Pool(self._done)
        self.writer = self._new_writer()
        self.is_stopping = False
        """True if nothing more may begin."""
        self.is_draining = False
        """True if nothing more is claimed, and what runs may go on until it ends or waits."""
        self._by_id: dict[str, Run] = {}
        self._lending = threading.Lock()
        self._doubted_at = 0.0
        """When a notification last named a cancelled workflow, on the clock."""

    @property
    def executor_id(self) -> str:
        """The id under which the runs are claimed."""
        return self._identity.executor_id

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, workflow_id: str) -> bool:
        return workflow_id in self._by_id

    def __getitem__(self, workflow_id: str) -> Run:
        return self._by_id[workflow_id]

    def __iter__(self) -> Iterator[Run]:
        """Iterate over a snapshot of the runs; others may begin and end in the meantime."""
        return iter(list(self._by_id.values()))

    @property
    def is_idle(self) -> bool:
        """True if nothing runs, and no slot is taken for a run that is about to begin."""
        return not self._by_id and self.slots.free == self.slots.capacity

    @property
    def with_places(self) -> list[str]:
        """The workflows whose functions run, and that hold a place in the limits of a queue."""
        return [
            run.workflow_id
            for run in self
            if run.is_under_way and run.claim.place and not run.is_place_lent
        ]

    # Beginning and ending

    def begin(self, run: Run, since: float) -> None:
        """Run a workflow in a slot that was taken for it; its claim was sent at `since`."""
        self._by_id[run.workflow_id] = run
        if self._doubted_at >= since:
            # The notification may have named this workflow, before its run was here.
            run.doubt()
        try:
            self.pool.submit(run)
        except RuntimeError:
            del self._by_id[run.workflow_id]
            raise
        if run.claim.remaining is not None:
            self._effects.note_deadline(run.claim.remaining)

    def _begin_child(self, new: NewWorkflow) -> None:
        claim = Claim(
            workflow_id=new.workflow_id,
            claim_number=1,
            name=new.name,
            input=new.input,
            token=new.token,
            user_id=new.user_id,
            traceparent=new.traceparent,
            remaining=None if new.timeout is None else new.timeout.total_seconds(),
        )
        (run,) = load_runs(self, [claim], self.store.session)
        self.begin(run, since=self._clock() - CHILD_AGE)
        if self.is_stopping:
            run.interrupt(HandedOver())

    def _done(self, run: Run) -> None:
        """Forget a run whose function has ended; called by the pool."""
        if not run.ends_later:
            run.after_calls(partial(self._forget, run))
        self.slots.give_back()

    def _forget(self, run: Run) -> None:
        if self._by_id.get(run.workflow_id) is run:
            del self._by_id[run.workflow_id]
        self.writer.forget(run.workflow_id, run.claim.claim_number)
        if run.may_linger:
            self._effects.audit()

    # The host of the runs

    def run_awaited(self, run: Run, workflow_id: str) -> bool:
        """Leave an awaited workflow to its queue."""
        return False

    async def arun_awaited(self, run: Run, workflow_id: str) -> bool:
        """Leave an awaited workflow to its queue."""
        return False

    def refuse_wait(self, run: Run, operation: str, wake: Wake, remaining: float | None) -> None:
        """Allow every wait."""

    def may_hold(self) -> bool:
        """Return whether a run that waits may keep its slot for a moment."""
        return self.slots.free > 0 and not (self.is_stopping or self.is_draining)

    def reserve_slot(self, queue_name: str, workflow_name: str) -> bool:
        """Take a free slot for a child that this executor can run."""
        return (
            not (self.is_stopping or self.is_draining)
            and self._identity.serves(queue_name)
            and workflow_name in registry.workflows
            and bool(self.slots.take())
        )

    def may_end_later(self) -> bool:
        """Let a run end before its end is written, unless a receiver expects its thread or loop."""
        if telemetry.has_finish_receivers():
            return False
        self.slots.await_settlement()
        return True

    def settled(self, run: Run) -> None:
        """Note that a run's end is written; called by the writer."""
        self._forget(run)
        self.slots.settle()
        if telemetry.is_end_observed(run):
            self._notifier.announce(run)

    @contextmanager
    def without_slot(self, run: Run) -> Iterator[None]:
        """Lend a run's slot from the first of its branches that waits to the last."""
        with self._lending:
            run.waiting_branches += 1
            is_first = run.waiting_branches == 1
        if is_first:
            self.slots.give_back()
        try:
            yield
        finally:
            with self._lending:
                run.waiting_branches -= 1
                is_last = run.waiting_branches == 0
            if is_last:
                self.slots.take_again()

    def with_session(self, run: Run, ask: Callable[[Session], T]) -> T:
        """Raise RuntimeError: a sync run is suspended when it waits."""
        raise RuntimeError(f"Workflow {run.workflow_id!r} can be suspended.")

    async def awith_session(self, run: Run, ask: Callable[[Session], T]) -> T:
        """Ask on the session that all runs share for their places."""
        return await self._lending_thread.aask(run, ask)

    # After a commit

    def _with_ends(self, writes: Sequence[Write]) -> AbstractContextManager[Succession | None]:
        if self.is_stopping or self.is_draining:
            return nullcontext()
        return self._effects.with_ends(writes)

    def _new_writer(self) -> BatchWriter:
        return BatchWriter(
            self.store,
            self._identity.executor_id,
            on_commit=self._committed,
            on_unused=self.slots.give_back,
            with_ends=self._with_ends,
        )

    def _committed(self, plan: Plan) -> None:
        """Act on a committed batch; called by the writer, whose thread must survive it."""
        telemetry.committed(plan)
        self.slots.give_back(len(plan.unclaimed))
        for new, is_reserved in plan.workflows:
            if is_reserved:
                try:
                    self._begin_child(new)
                except Exception as error:
                    logger.error(
                        "Child %r couldn't begin",
                        new.workflow_id,
                        exc_info=concealing.shown(new.name, error),
                    )
                    self.slots.give_back()
                    self._effects.audit()
        for suspended in plan.suspended:
            if suspended.remaining is not None:
                self._effects.note_due(suspended.remaining)
        if plan.has_news:
            self._notifier.notify(plan)

    # Cancelled and delayed workflows

    def note_keys(self, keys: list[str]) -> None:
        """Note these keys: those of cancelled workflows, due times and changed queues."""
        for key in keys:
            if key.startswith(RUN_PREFIX):
                self._doubt(key[len(RUN_PREFIX) :])
            elif key.startswith(DUE_PREFIX):
                # Any process can send a notification, of anything.
                with suppress(ValueError):
                    self._effects.note_due(float(key[len(DUE_PREFIX) :]))
            elif key.startswith(CANCELLED_PREFIX):
                with suppress(ValueError):
                    workflow_id = names.check_workflow_id(key[len(CANCELLED_PREFIX) :])
                    self._notifier.wake_after_cancel(workflow_id)
            elif key.startswith(QUEUE_PREFIX):
                # What runs may have a place in the queue's limits by now.
                self._effects.audit_soon()
            elif key == EVERYTHING:
                # On SQLite that is every change of the file: too often to doubt all runs.
                self._effects.audit_soon()

    def _doubt(self, workflow_id: str) -> None:
        """Make the next step of a run, or the audit, first check whether its claim still holds.

        A notification is no proof: any process can send one.
        """
        self._doubted_at = self._clock()
        run = self._by_id.get(workflow_id)
        if run is not None:
            run.doubt()
            self._effects.audit()

    def doubt_all(self) -> None:
        """Have all runs checked: any of the workflows may have been cancelled."""
        self._doubted_at = self._clock()
        for run in self:
            run.doubt()
        self._effects.audit_soon()

    # The end of all

    def interrupt(self, reason: type[RunInterrupted]) -> None:
        """Interrupt every run."""
        for run in self:
            run.interrupt(reason())

    def begin_anew(self) -> None:
        """Interrupt every run, and write under the executor's new id from now on."""
        old_writer = self.writer
        self.writer = self._new_writer()
        self.writer.start()
        old_writer.stop_abandoned()
        self.interrupt(ClaimLost)
        if self._identity.owns_process:
            self.pool.rename_connections()

    def wait_until_ended(self, seconds: float) -> None:
        """Wait until no run is left, for `seconds` at most."""
        until = time.monotonic() + seconds
        while self._by_id and time.monotonic() < until:
            time.sleep(0.005)

    def abandon(self) -> None:
        """Interrupt the remaining runs: their claims are about to be released."""
        left = [run.workflow_id for run in self]
        if left:
            executor_id = self._identity.executor_id
            logger.warning("Executor %s leaves %d runs: %r", executor_id, len(left), left[:10])
            self.interrupt(ClaimLost)

    def forget_left(self) -> None:
        """Forget the runs of the pool's loop, which has ended, once their threads have returned."""
        for run in self:
            if run.loop is not None:
                run.after_calls(partial(self._forget, run))

    def stop_lending(self) -> None:
        """End the thread on which runs lend their places, once it is done."""
        self._lending_thread.stop()

    def stop_writer(self, patience: float) -> None:
        """Write the queue, and end the writer's thread.

        Without a database the writer would retry for ever. After `patience` seconds it gives up;
        other executors then recover the runs.
        """
        timer = threading.Timer(patience, self.writer.abandon)
        timer.start()
        self.writer.stop()
        timer.cancel()
