"""Executor: the composition root of a worker. Starts its threads, and stops them in order.

The threads: a dispatcher claims workflows, a pool runs them, a writer commits what they record, a
notifier wakes and notifies afterwards, housekeeping sends heartbeats and recovers the dead; one
more listens. All share the executor's id, under which it holds its claims.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from django.core.exceptions import ImproperlyConfigured

from django_dbos import signals
from django_dbos.conf import get_settings
from django_dbos.core import names, registry
from django_dbos.core.batch.plan import Plan
from django_dbos.core.ids import lock_key, new_executor_id
from django_dbos.core.records import Claim, ExecutorInfo, Lane, NewWorkflow, run_key
from django_dbos.executor.dispatcher import Dispatcher
from django_dbos.executor.duties.heartbeat import Housekeeping
from django_dbos.executor.duties.retention import Retention
from django_dbos.executor.notifier import Notifier
from django_dbos.executor.pool import Pool
from django_dbos.executor.slots import Slots
from django_dbos.interruptions import ClaimLost, HandedOver
from django_dbos.models import Workflow
from django_dbos.operations import logs, threads
from django_dbos.operations.run import Run
from django_dbos.store import errors, get_store
from django_dbos.store.group_commit import BatchWriter
from django_dbos.store.pubsub import EVERYTHING

logger = logging.getLogger("django_dbos.executor")

# Seconds for which the last writes are tried after the grace period.
LAST_GRACE = 1.0
# Seconds for which the ends of threads are waited for whose statements aren't answered.
LAST_PATIENCE = 2.0
RUN_PREFIX = run_key("")
# Seconds that a child's claim may have been committed for when its run begins.
CHILD_AGE = 5.0
# Characters of JSON beyond which an executor doesn't publish the names of its functions.
MAX_NAMES_LENGTH = 32 * 1024


def known_names() -> str | None:
    """The workflow functions of this process, as JSON; None if that is too long for a row."""
    text = json.dumps(sorted(registry.workflows), ensure_ascii=False)
    return text if len(text) <= MAX_NAMES_LENGTH else None


class Executor:
    """Runs workflows of some queues, or of all; `start` and `stop` it, or use it in a `with`.

    `concurrency` (default: DBOS["CONCURRENCY"]) is how many workflows run at once. Several
    executors may share a process and a database.
    """

    is_inline = False
    owns_connections = True
    takes_turns = False

    def __init__(
        self, queues: Iterable[str] | None = None, *, concurrency: int | None = None
    ) -> None:
        settings = get_settings()
        if isinstance(queues, str):
            raise TypeError(f"queues must be a list of names, not the str {queues!r}.")
        self.queue_names = (
            None if queues is None else sorted({names.check_queue_name(one) for one in queues})
        )
        self.concurrency = settings.concurrency if concurrency is None else concurrency
        if type(self.concurrency) is not int or self.concurrency < 1:
            raise ValueError(f"concurrency must be an int of at least 1, not {concurrency!r}.")
        self.grace_period = settings.grace_period
        self.executor_id = new_executor_id()
        self.store = get_store()
        self.runs: dict[str, Run] = {}
        self.slots = Slots(self.concurrency, self._slot_freed)
        self.notifier = Notifier(self.store, lambda: self.executor_id)
        self.writer = self._new_writer()
        self.dispatcher = Dispatcher(self, self.queue_names)
        self.housekeeping = Housekeeping(self)
        self.retention = Retention(self)
        self.pool = Pool(self._done)
        self._stopping = threading.Lock()
        self._is_stopping = False
        self._owns_process = False
        self._stopped = threading.Event()
        self._lending = threading.Lock()
        self._doubted_at = 0.0
        """When somebody last said that a workflow was cancelled, on the monotonic clock."""

    # Its life

    def start(self) -> None:
        """Register, and begin to run workflows.

        Raises ImproperlyConfigured where threads can't share the database: SQLite in memory.
        """
        self._refuse_memory()
        try:
            self.housekeeping.register()
        except BaseException:
            self.housekeeping.close()
            raise
        # Registered on this thread's behalf: from here on the session is the loop's.
        self.store.wakeups.add_lane_listener(self._lanes_told)
        self.store.wakeups.add_key_listener(self._keys_told)
        self.store.wakeups.start_listening()
        self.writer.start()
        for loop in (self.notifier.loop, self.housekeeping.loop, self.dispatcher.loop):
            loop.start()
        self.retention.start()
        signals.executor_started.send_robust(Executor, executor_id=self.executor_id)
        logger.info("Executor %s runs %s", self.executor_id, self.description)
        if not registry.workflows:
            logger.warning(
                "No workflow function is known here. Write them in the workflows.py of an app in "
                "INSTALLED_APPS."
            )

    def stop(self, grace: float | None = None) -> None:
        """Hand the work over, uncounted: steps in progress have `grace` seconds to finish.

        The default is DBOS["GRACE_PERIOD"]. Returns when all threads but those of runs that
        didn't end in time have ended.
        """
        with self._stopping:
            is_second, self._is_stopping = self._is_stopping, True
        if is_second:
            self._stopped.wait()
            return
        self.dispatcher.is_paused = True
        self.store.wakeups.remove_lane_listener(self._lanes_told)
        self.store.wakeups.remove_key_listener(self._keys_told)
        # Their statements may never be answered; then they are given up below.
        for loop in (self.dispatcher.loop, self.retention.loop):
            loop.stop(timeout=LAST_GRACE)
        for run in list(self.runs.values()):
            run.interrupt(HandedOver())
        self._wait_for_runs(self.grace_period if grace is None else grace)
        self.store.hurry(self.executor_id, LAST_GRACE)
        self._release()
        self.store.relax(self.executor_id)
        self.store.wakeups.stop_listening()
        self._stopped.set()
        signals.executor_stopped.send_robust(Executor, executor_id=self.executor_id)
        logger.info("Executor %s has stopped", self.executor_id)

    def _refuse_memory(self) -> None:
        if self.store.is_private:
            alias = self.store.alias
            raise ImproperlyConfigured(
                f"An Executor can't share database {alias!r} with other threads: it is SQLite in "
                'memory, where they fail with "database table is locked" now and then. Give it a '
                f"file, in tests by DATABASES[{alias!r}]['TEST'] = {{'NAME': BASE_DIR / "
                "'test.sqlite3'}. run_until_idle() of django_dbos.testing needs none."
            )

    def own_process(self) -> None:
        """This process is a worker and nothing else: Django's connections carry its name too.

        So whoever recovers its work can end the transactions that it left (CORRECTNESS rule 6).
        """
        self._owns_process = True
        self.store.name_process(self.executor_id)

    def run(self) -> None:
        """Start, and block until `stop` is called from elsewhere."""
        self.start()
        try:
            self._stopped.wait()
        finally:
            self.stop()

    def wait_until_idle(self) -> None:
        """Block until nothing is enqueued that this executor could run, and nothing runs."""
        idle_looks = 0
        while idle_looks < 2 and not self._stopped.wait(0.01):
            # Idle before and after: what the last run woke was in the queue by the look between.
            # Twice, since the first look may have begun before.
            was_idle = self._is_idle
            looks = self.dispatcher.looks
            self.dispatcher.look()
            while self.dispatcher.looks == looks and not self._stopped.wait(0.01):
                pass
            idle_looks = idle_looks + 1 if was_idle and self._is_idle else 0

    @property
    def _is_idle(self) -> bool:
        return not self.runs and self.notifier.is_idle and self.slots.free == self.concurrency

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def description(self) -> str:
        """Which queues it serves, how many workflows at once, and how it hears of them."""
        queues = "all queues" if self.queue_names is None else f"queues {self.queue_names}"
        listens = get_settings().listen and not self.store.is_pooled
        how = "listening" if listens and self.store.supports_notifications else "polling"
        return (
            f"{queues} of database {self.store.alias!r}, {self.concurrency} workflows at once, "
            f"workflow functions known: {len(registry.workflows)}, {how}"
        )

    def info(self) -> ExecutorInfo:
        """Its row."""
        return ExecutorInfo(
            executor_id=self.executor_id,
            hostname=socket.gethostname()[:255],
            pid=os.getpid(),
            is_inline=False,
            queue_names=None if self.queue_names is None else json.dumps(self.queue_names),
            concurrency=self.concurrency,
            lock_key=lock_key(self.executor_id),
            lease=get_settings().lease,
            workflow_names=known_names(),
        )

    def reregister(self) -> None:
        """Interrupt all runs and register under a new id, once silent for a lease or declared dead.

        See CORRECTNESS rule 4.
        """
        if self._is_stopping:
            return
        logger.warning("Executor %s was silent for too long, and begins anew", self.executor_id)
        old_id, old_writer = self.executor_id, self.writer
        self.dispatcher.is_paused = True
        self.executor_id = new_executor_id()
        self.writer = self._new_writer()
        self.writer.start()
        old_writer.stop_abandoned()
        for run in list(self.runs.values()):
            run.interrupt(ClaimLost())
        if self._owns_process:
            self.store.name_process(self.executor_id)
            self.pool.rename_connections()
        self.housekeeping.close()
        self.housekeeping.register()
        self._deregister(old_id)
        self.go_on()

    def go_on(self) -> None:
        """Claim again, if nothing is claimed since this began anew and its row is there by now.

        Called at each heartbeat too: the answer to the registration may have been lost.
        """
        if self.dispatcher.is_paused and not self._is_stopping:
            self.dispatcher.is_paused = False
            self.dispatcher.start_anew()

    # Runs

    def begin(self, run: Run, since: float) -> None:
        """Run a workflow, in a slot that was taken for it, of which a claim was asked for then."""
        self.runs[run.workflow_id] = run
        if self._doubted_at >= since:
            # Perhaps of this one, which nobody could find among the runs.
            run.doubt()
        try:
            self.pool.submit(run)
        except RuntimeError:
            del self.runs[run.workflow_id]
            raise
        if run.claim.remaining is not None:
            self.housekeeping.note_deadline(run.claim.remaining)

    def _done(self, run: Run) -> None:
        """Called by the pool, whose thread is free for another run."""
        if not run.ends_later:
            self._forget(run)
        self.slots.give_back()

    def _forget(self, run: Run) -> None:
        if self.runs.get(run.workflow_id) is run:
            del self.runs[run.workflow_id]
        self.writer.forget(run.workflow_id, run.claim.claim_number)

    # What runs ask of their host

    def may_hold(self) -> bool:
        """Whether a run that waits may keep its slot for a moment."""
        return self.slots.free > 0 and not self._is_stopping

    def reserve_slot(self, queue_name: str, workflow_name: str) -> bool:
        """Take a free slot for a child that this executor can run."""
        return (
            not self._is_stopping
            and self.dispatcher.serves(queue_name)
            and workflow_name in registry.workflows
            and bool(self.slots.take())
        )

    def may_end_later(self) -> bool:
        """Unless somebody is to be told of it, on the thread or the loop that the run had."""
        if signals.workflow_finished.has_listeners(Workflow):
            return False
        self.slots.await_settlement()
        return True

    def settled(self, run: Run) -> None:
        """Called by the writer."""
        self._forget(run)
        self.slots.settle()
        if logs.is_worth_telling(run):
            self.notifier.announce(run)

    @contextmanager
    def without_slot(self, run: Run) -> Iterator[None]:
        """A run lends its slot from the first of its branches that waits to the last."""
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

    # What others tell it

    def _committed(self, plan: Plan) -> None:
        """A batch was committed: called by the writer, whose thread must survive it."""
        for new, is_reserved in plan.workflows:
            if is_reserved:
                try:
                    self._begin_child(new)
                except Exception:
                    logger.exception("Child %r couldn't begin", new.workflow_id)
                    self.slots.give_back()
                    self.dispatcher.audit()
        for suspended in plan.suspended:
            if suspended.remaining is not None:
                self.housekeeping.note_due(suspended.remaining)
        if plan.has_news:
            self.notifier.notify(plan)

    def _begin_child(self, new: NewWorkflow) -> None:
        claim = Claim(
            workflow_id=new.workflow_id,
            claim_number=1,
            name=new.name,
            input=new.input,
            token=new.token,
            user_id=new.user_id,
            remaining=None if new.timeout is None else new.timeout.total_seconds(),
        )
        run = Run(claim, registry.workflows[new.name], self)
        self.begin(run, since=time.monotonic() - CHILD_AGE)
        if self._is_stopping:
            run.interrupt(HandedOver())

    def _lanes_told(self, lanes: list[Lane] | None) -> None:
        if lanes is None:
            self.dispatcher.look()
        else:
            self.dispatcher.tell_lanes(lanes)

    def _keys_told(self, keys: list[str]) -> None:
        for key in keys:
            if key.startswith(RUN_PREFIX):
                self._doubt(key[len(RUN_PREFIX) :])
            elif key == EVERYTHING:
                # On SQLite that is every change of the file: too often to doubt all runs.
                self.dispatcher.audit_soon()

    def _doubt(self, workflow_id: str) -> None:
        """Somebody says that this one was cancelled. Whether it was, its next step asks, or the
        audit, whichever comes first: anybody can send a notification."""
        self._doubted_at = time.monotonic()
        run = self.runs.get(workflow_id)
        if run is not None:
            run.doubt()
            self.dispatcher.audit()

    def doubt_all(self) -> None:
        """Any workflow may have been cancelled: see _doubt()."""
        self._doubted_at = time.monotonic()
        for run in list(self.runs.values()):
            run.doubt()
        self.dispatcher.audit_soon()

    def _slot_freed(self) -> None:
        self.dispatcher.loop.wake()

    # The end

    def _new_writer(self) -> BatchWriter:
        return BatchWriter(
            self.store,
            self.executor_id,
            on_commit=self._committed,
            on_unused=self.slots.give_back,
        )

    def _wait_for_runs(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self.runs and time.monotonic() < until:
            time.sleep(0.005)

    def _release(self) -> None:
        """Release the runs that didn't end in time, and stop the threads."""
        left = list(self.runs.values())
        if left:
            ids = [run.workflow_id for run in left]
            logger.warning("Executor %s leaves %d runs: %r", self.executor_id, len(ids), ids[:10])
            for run in left:
                run.interrupt(ClaimLost())
        # Without a database the writer would retry for ever; other executors recover these runs.
        patience = threading.Timer(LAST_GRACE, self.writer.abandon)
        patience.start()
        self.writer.stop()
        patience.cancel()
        # Housekeeping stops before the row goes: a heartbeat without a row would reregister.
        until = time.monotonic() + LAST_PATIENCE
        for stopped in (self.dispatcher, self.retention, self.notifier, self.housekeeping):
            stopped.loop.stop(timeout=max(until - time.monotonic(), 0.0))
        self._deregister(self.executor_id)
        self.pool.stop()
        threads.end_idle_threads()

    def stop_now(self) -> None:
        """Release every claim without waiting for runs: the process is about to end."""
        self._is_stopping = True
        self.dispatcher.is_paused = True
        # Workflows that it has just claimed would be left behind.
        self.dispatcher.loop.stop(timeout=LAST_GRACE / 2)
        self._deregister(self.executor_id)

    def _deregister(self, executor_id: str) -> None:
        try:
            session = self.store.connect(executor_id, "last")
            try:
                held = list(self.store.list_held(session, executor_id))
                if held:
                    self.store.release_workflows(session, executor_id, held)
                if not (held and self.store.list_held(session, executor_id)):
                    self.store.deregister_executor(session, executor_id)
                # Else somebody's transaction has locked one: the others recover it.
                self.store.release_lock(session, executor_id)
            finally:
                session.close()
        except errors.StoreError as error:
            logger.warning("Executor %s couldn't deregister: %r", executor_id, error)
