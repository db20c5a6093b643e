"""The host of inline runs: workflows that run on the thread and the connection of their caller.

See `inline_executor` for how the process registers meanwhile, and `inline_calls` for the calls.
Inside a test's transaction there is no registration, since no other connection could see it
(CORRECTNESS rules 33, 36 and 40).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from asgiref.sync import async_to_sync, sync_to_async
from django.db import transaction

from django_dbos import offloading, telemetry
from django_dbos.core import registry
from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.batch.plan import Plan
from django_dbos.core.records import Claim, NewWorkflow, Wake, WakeKind, run_key
from django_dbos.exceptions import WaitInTest
from django_dbos.interruptions import HistoryUnusable
from django_dbos.operations import context, reads, runner
from django_dbos.operations._sync import reads as sync_reads
from django_dbos.operations.loading import load_runs
from django_dbos.operations.quarantine import quarantine
from django_dbos.operations.run import Run
from django_dbos.store import errors
from django_dbos.store.inline_writer import InlineWriter

if TYPE_CHECKING:
    from django_dbos.store.base import Store
    from django_dbos.store.sessions import Session

T = TypeVar("T")

# In a test's transaction nothing arrives from outside. A sleep, or a wait beside other branches,
# is waited out if it takes no longer than this (seconds).
LONGEST_TEST_SLEEP = 5.0
# There each branch of a run that has lent its place looks so often for something to go on with.
LOOKS_IN_TEST = 10


class Started(NamedTuple):
    """The start of an inline call: the workflow, which may exist already, and its run, if any."""

    workflow_id: str
    is_new: bool
    run: Run | None = None


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
        self._vain_looks = 0
        """The vain attempts of one that has lent its place to go on, since a run began."""
        self._saw_cancellation = False
        """True if a workflow was cancelled, perhaps one that is claimed here and not yet run."""
        self._in_doubt: set[str] = set()
        """The ids of workflows that a failed statement may have claimed."""
        self._not_run: set[str] = set()
        """The ids of claimed workflows that don't run yet."""

    def note_keys(self, keys: list[str]) -> None:
        """Put runs in doubt whose workflows may have been cancelled, by their notified keys."""
        if any(key.startswith(run_key("")) for key in keys):
            self._saw_cancellation = True
            for run in list(self.runs):
                if run_key(run.workflow_id) in keys:
                    run.doubt()

    def doubt_all(self) -> None:
        """Put all runs in doubt: any of their workflows may have been cancelled."""
        for run in list(self.runs):
            run.doubt()

    def start(self, new: NewWorkflow) -> Started:
        """Start a workflow, and claim it here if its queue has a place for it.

        Raises:
            WaitInTest: There is no place, and in a test's transaction none becomes free.
        """
        session, new = self.store.session(), offloading.offloaded(new)
        with session.transaction():
            (started,) = self.store.start_workflows([new])
            if not started.is_new:
                return Started(workflow_id=started.workflow_id, is_new=False)
            claim = self.store.claim_workflow(session, self.executor_id, new.workflow_id)
            if claim is None and self.is_in_test and new.is_due:
                raise WaitInTest(f"{new.name}(), for a place in queue {new.queue_name!r},")
        run = None if claim is None else self.make_run(claim)
        return Started(workflow_id=new.workflow_id, is_new=True, run=run)

    def claim(self, workflow_id: str) -> Run | None:
        """Claim an enqueued workflow whose function is known here.

        After an error it may be called again: it first releases a claim without a run.
        """
        found = self.store.reader.find_function(workflow_id)
        if found is None or not registry.is_claimable(*found):
            return None
        session = self.store.session()
        if self.is_in_test:
            # Nothing else wakes it: a test's transaction has no commit.
            self.store.wake_satisfied(session, [workflow_id])
        if workflow_id in self._in_doubt:
            self.store.release_workflows(session, self.executor_id, [workflow_id])
        self._in_doubt.add(workflow_id)
        try:
            claim = self.store.claim_workflow(session, self.executor_id, workflow_id)
            run = None if claim is None else self.make_run(claim)
        except Exception as error:
            if not errors.is_of_value(error):
                raise
            # The workflow is at fault. The run that awaits it continues to wait, as in a worker.
            run = None
            quarantine(self.store, session, self.executor_id, workflow_id, "can't be run", error)
        self._in_doubt.discard(workflow_id)
        if run is not None:
            self._not_run.add(workflow_id)
        return run

    def next_run_of(self, run: Run) -> Run | None:
        """Claim the next run of a workflow that has continued as new; None if there is none.

        It may have to wait for a place in its queue, and a worker may have claimed it by now.
        """
        return self.claim(run.workflow_id) if run.has_continued else None

    def release_unused(self) -> None:
        """Release claims without a run, left when the run that awaited them was cancelled."""
        left = [*self._in_doubt, *self._not_run]
        if left:
            self._release(left)

    def _release(self, workflow_ids: list[str]) -> None:
        session = self.store.session()
        lanes = self.store.release_workflows(session, self.executor_id, workflow_ids)
        self.store.announce(session, Notifications(lanes=lanes))

    def make_run(self, claim: Claim) -> Run:
        """Return a run of a claimed workflow, with its history."""
        (run,) = load_runs(self, [claim], self.store.session)
        return run

    def give_back(self, run: Run) -> None:
        """Release the claim of a run that doesn't begin."""
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
            self._free_place(run)

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
            await sync_to_async(self._free_place)(run)

    async def _aexecute(self, run: Run) -> None:
        self.writer.use_loop()
        await runner.aexecute(run)

    def _free_place(self, run: Run) -> None:
        """Free the place of a run whose claim was taken while its function ran."""
        if not run.may_linger:
            return
        session, workflow_id = self.store.session(), run.workflow_id
        number = self.store.list_held(session, self.executor_id).lingering.get(workflow_id)
        if number is not None:
            _, freed = self.store.free_places(session, self.executor_id, {workflow_id: number})
            self.store.announce(session, Notifications(lanes=freed))

    def _begin(self, run: Run) -> None:
        self.runs.add(run)
        self._vain_looks = 0
        self._not_run.discard(run.workflow_id)
        if self._saw_cancellation:
            self._saw_cancellation = False
            run.doubt()

    def _listening(self) -> AbstractContextManager[None]:
        """Return the context of a run: without listening inside a test's transaction.

        The transaction is another thread's, so the thread of a loop can't detect it.
        """
        return self.store.wakeups.muted() if self.is_in_test else nullcontext()

    @property
    def takes_turns(self) -> bool:
        """True inside a test's transaction, which is on one connection."""
        return self.is_in_test

    def run_awaited(self, run: Run, workflow_id: str) -> bool:
        """Run a workflow that a run of this host awaits, if it is enqueued."""
        awaited = sync_reads.patiently(run, partial(self.claim, workflow_id))
        if awaited is None:
            return False
        self.perform(awaited)
        return True

    async def arun_awaited(self, run: Run, workflow_id: str) -> bool:
        """See run_awaited()."""
        awaited = await reads.apatiently(run, partial(self.claim, workflow_id))
        if awaited is None:
            return False
        await self.aperform(awaited)
        return True

    def refuse_wait(self, run: Run, operation: str, wake: Wake, remaining: float | None) -> None:
        """Inside a test's transaction, end a run whose wait nothing from outside could end."""
        if not self.is_in_test or self._goes_on(run):
            return
        is_short = remaining is not None and remaining <= LONGEST_TEST_SLEEP
        passes_by_itself = wake.kind is WakeKind.SLEEP or not self.is_inline
        if not (is_short and passes_by_itself):
            run.stop(HistoryUnusable(WaitInTest(operation)))

    def _goes_on(self, run: Run) -> bool:
        """Return whether other branches go on, or may run what they await in the place lent."""
        if not run.claim.place:
            return False
        if not run.is_at_rest or (run.is_place_lent and len(self.runs) > 1):
            return True
        if not run.is_place_lent:
            return False
        self._vain_looks += 1
        branches = 1 if run.branches is None else len(run.branches.live_tasks())
        return self._vain_looks <= LOOKS_IN_TEST * branches

    # There are no slots

    def may_hold(self) -> bool:
        """Return False: a run that may be suspended is suspended at once."""
        return False

    def may_end_later(self) -> bool:
        """Return False: the caller waits for the recorded end."""
        return False

    def settled(self, run: Run) -> None:
        """Do nothing: no run ends before its end is written."""

    def reserve_slot(self, queue_name: str, workflow_name: str) -> bool:
        """Return False: children go to their queue."""
        return False

    @contextmanager
    def without_slot(self, run: Run) -> Iterator[None]:
        """Only count the branches that wait."""
        run.waiting_branches += 1
        try:
            yield
        finally:
            run.waiting_branches -= 1

    def with_session(self, run: Run, ask: Callable[[Session], T]) -> T:
        """Ask on Django's connection."""
        return sync_reads.patiently(run, lambda: ask(self.store.session()))

    async def awith_session(self, run: Run, ask: Callable[[Session], T]) -> T:
        """See with_session()."""
        return await reads.apatiently(run, lambda: ask(self.store.session()))

    def _follow_up(self, plan: Plan) -> None:
        def follow_up() -> None:
            telemetry.committed(plan)
            self.store.announce_plans(self.store.session(), [plan])

        transaction.on_commit(follow_up, using=self.store.alias)
