"""Executor: the composition root of a worker. Starts its threads, and stops them in order.

The threads: a dispatcher claims workflows, a pool runs them, a writer commits their checkpoints, a
notifier wakes and notifies afterwards, housekeeping sends heartbeats and acts on their reports,
upkeep deletes old rows and tells of alerts; one more listens. All share the executor's id, under
which it holds its claims.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from django.core.exceptions import ImproperlyConfigured

from django_dbos import signals, telemetry
from django_dbos.conf import get_settings
from django_dbos.core import names, registry
from django_dbos.core.records import executor_key
from django_dbos.executor import declared_queues
from django_dbos.executor.clock import Clock
from django_dbos.executor.dispatcher import Dispatcher
from django_dbos.executor.draining import Draining
from django_dbos.executor.duties.alerts import Alerts
from django_dbos.executor.duties.duty_thread import DutyThread
from django_dbos.executor.duties.housekeeping import Housekeeping
from django_dbos.executor.duties.offload_sweep import OffloadSweep
from django_dbos.executor.duties.retention import Retention
from django_dbos.executor.duties.step_deletions import StepDeletions
from django_dbos.executor.identity import Identity
from django_dbos.executor.notifier import Notifier
from django_dbos.executor.pruning import pruning_of, step_databases_of
from django_dbos.executor.runs import Effects, Runs
from django_dbos.interruptions import HandedOver
from django_dbos.operations import threads
from django_dbos.store import get_store
from django_dbos.store.pubsub import EVERYTHING

logger = logging.getLogger("django_dbos.executor")

# Seconds for which the last writes are tried after the grace period.
LAST_GRACE = 1.0
# Seconds for which threads are waited for whose statements aren't answered.
LAST_PATIENCE = 2.0
# Seconds between checks for idleness.
IDLE_PAUSE = 0.01


class Executor:
    """An executor of workflows in this process: `start` and `stop` it, or use it in a `with`.

    Several executors may share a process and a database.

    Args:
        queues: The names of the queues that it serves; None (the default) for all.
        concurrency: How many workflows run at once; None (the default) for DBOS["CONCURRENCY"].
        owns_process: True if this process does nothing else. On PostgreSQL Django's connections
            then carry the executor's name as well, so that the executor that recovers its work
            can end the transactions that it left open.
        clock: Returns the seconds by which it schedules its work; for tests.

    Raises:
        TypeError: `queues` is a str.
        ValueError: A queue's name is invalid, or `concurrency` isn't an int of at least 1.
    """

    def __init__(
        self,
        queues: Iterable[str] | None = None,
        *,
        concurrency: int | None = None,
        owns_process: bool = False,
        clock: Clock = time.monotonic,
    ) -> None:
        settings = get_settings()
        if isinstance(queues, str):
            raise TypeError(f"queues must be a list of names, not the str {queues!r}.")
        if queues is not None:
            queues = {names.check_queue_name(name) for name in queues}
        if concurrency is None:
            concurrency = settings.concurrency
        if type(concurrency) is not int or concurrency < 1:
            raise ValueError(f"concurrency must be an int of at least 1, not {concurrency!r}.")
        self.store = get_store()
        self.identity = Identity(self.store, queues, concurrency, owns_process=owns_process)
        self.notifier = Notifier(self.identity)
        self.runs = Runs(self.identity, self.notifier, self._effects(), clock)
        self.dispatcher = Dispatcher(self.identity, self.runs, clock)
        self.housekeeping = Housekeeping(
            self.identity,
            self.runs,
            self.dispatcher,
            clock,
            on_silence=self._reregister,
            on_life=self._resume,
            on_drain=self.drain,
        )
        self.on_drained: Callable[[], None] = self.stop
        """Called, on a thread, when a drained executor's runs have ended."""
        self._draining = Draining(self.runs, self.notifier, lambda: self.on_drained())
        self.upkeep, self.alerts = self._upkeep(clock)
        self.sweeping = self._sweeping(clock)
        self._optional = (self.upkeep, self.alerts, self.sweeping)
        self._grace_period = settings.grace_period
        self._stopping = threading.Lock()
        self._deregistering = threading.Lock()
        self._still_running: list[str] = []
        self._stopped = threading.Event()
        self.has_left_runs = False
        """True if it has stopped beside functions that were still running."""

    def _effects(self) -> Effects:
        return Effects(
            slot_freed=lambda: self.dispatcher.loop.wake(),
            audit=lambda: self._audit(),
            audit_soon=lambda: self.dispatcher.audit_soon(),
            note_due=lambda seconds: self.housekeeping.due.note(seconds),
            note_deadline=lambda seconds: self.housekeeping.deadlines.note(seconds),
            with_ends=lambda writes: self.dispatcher.successions.with_ends(writes),
        )

    def _upkeep(self, clock: Clock) -> tuple[DutyThread, DutyThread]:
        """Return the threads of deletions and of alerts; a project's function may block its own."""
        settings = get_settings()
        thread = DutyThread("upkeep", self.identity, clock)
        if settings.retention is not None:
            pruning = pruning_of(self.store, clock, settings, settings.retention)
            thread.add(Retention(clock, pruning))
        elsewhere = step_databases_of(settings)
        if elsewhere:
            thread.add(StepDeletions(self.store, clock, elsewhere))
        watch = DutyThread("alerts", self.identity, clock)
        if settings.alerts is not None or signals.alert_raised.has_listeners():
            watch.add(Alerts(self.store, clock, interval=settings.alert_interval))
        return thread, watch

    def _sweeping(self, clock: Clock) -> DutyThread:
        """Return a thread of its own, since a sweep takes long and retention goes on meanwhile."""
        settings = get_settings()
        thread = DutyThread("sweeping", self.identity, clock)
        if settings.retention is not None and settings.offload is not None:
            thread.add(OffloadSweep(self.store, clock, lambda: thread.loop.is_stopping))
        return thread

    @property
    def executor_id(self) -> str:
        """The id under which it holds its claims; it changes when the executor registers again."""
        return self.identity.executor_id

    # Start and stop

    def start(self) -> None:
        """Write what DBOS["QUEUES"] declares, register, and begin to run workflows.

        Raises:
            ImproperlyConfigured: Threads can't share the database, which is SQLite in memory.
        """
        self._refuse_memory()
        self.store.load_statements()
        declared_queues.declare(self.store, self.identity.queue_names)
        self._register()
        self._listen()
        self._start_threads()
        self._announce_start()

    def stop(self, grace: float | None = None) -> None:
        """Stop, and hand the work over to other executors, uncounted.

        Returns when all threads have ended but those of runs that didn't end in time.

        Args:
            grace: Seconds for which steps in progress may finish; None (the default) for
                DBOS["GRACE_PERIOD"].
        """
        if not self._begin_to_stop():
            self._stopped.wait()
            return
        self._ignore_notifications()
        self._stop_claiming()
        self._hand_over(self._grace_period if grace is None else grace)
        self._stop_threads()
        self._deregister()
        self._stop_pool()
        self._announce_stop()
        self.has_left_runs = bool(self.runs)
        self.runs.forget_left()
        self._free_late()

    def drain(self) -> None:
        """Claim nothing more, and stop when all runs have ended or wait; return at once.

        From any thread. Runs that wait are suspended, or handed over to other executors.
        """
        self._draining.begin()

    def run(self) -> None:
        """Start, and block until `stop` is called from another thread."""
        self.start()
        try:
            self._stopped.wait()
        finally:
            self.stop()

    def wait_until_idle(self) -> None:
        """Block until nothing is enqueued that this executor could run, and nothing runs."""
        idle_polls = 0
        while idle_polls < 2 and not self._stopped.wait(IDLE_PAUSE):
            # Idle before and after: the poll in between has found the workflows that the last run
            # had woken. Twice, since the first poll may have begun before.
            was_idle = self._is_idle
            polls = self.dispatcher.polls
            self.dispatcher.poll()
            while self.dispatcher.polls == polls and not self._stopped.wait(IDLE_PAUSE):
                pass
            idle_polls = idle_polls + 1 if was_idle and self._is_idle else 0

    @property
    def _is_idle(self) -> bool:
        return self.notifier.is_idle and self.runs.is_idle

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

    # Starting

    def _refuse_memory(self) -> None:
        if self.store.is_private:
            alias = self.store.alias
            raise ImproperlyConfigured(
                f"An Executor can't share database {alias!r} with other threads: it is SQLite in "
                'memory, where they sometimes fail with "database table is locked". Give it a '
                f"file, in tests by DATABASES[{alias!r}]['TEST'] = {{'NAME': BASE_DIR / "
                "'test.sqlite3'}. run_until_idle() of django_dbos.testing needs none."
            )

    def _register(self) -> None:
        """Write the executor's row, on the calling thread: before anything is claimed."""
        self.store.detect_pooler()
        try:
            self.housekeeping.register()
        except BaseException:
            self.housekeeping.disconnect()
            raise

    def _listen(self) -> None:
        wakeups = self.store.wakeups
        wakeups.add_lane_listener(self.dispatcher.note_lanes)
        wakeups.add_key_listener(self.runs.note_keys)
        wakeups.add_key_listener(self.housekeeping.schedules.note_keys)
        wakeups.add_key_listener(self._note_keys)
        wakeups.start_listening()

    def _note_keys(self, keys: list[str]) -> None:
        """Have a heartbeat read at once what others ask of this executor, or what was missed.

        On SQLite any change of the file may be one that was missed: too often for a heartbeat.
        """
        may_have_missed = EVERYTHING in keys and self.store.supports_notifications
        if may_have_missed or executor_key(self.executor_id) in keys:
            self.housekeeping.heartbeat.hurry()
            self.housekeeping.loop.wake()

    def _start_threads(self) -> None:
        self.runs.writer.start()
        for thread in (self.notifier, self.housekeeping, self.dispatcher):
            thread.loop.start()
        for optional in self._optional:
            if not optional.is_empty:
                optional.loop.start()

    def _announce_start(self) -> None:
        telemetry.executor_started(Executor, self.executor_id, self.identity.description)
        if not registry.of_project():
            logger.warning(
                "No workflow function is known here. Write them in the workflows.py of an app in "
                "INSTALLED_APPS."
            )

    # A new life under another id

    def _reregister(self) -> None:
        """Interrupt all runs and register under a new id, once silent for a lease or declared dead.

        Called by the heartbeat, on its thread (CORRECTNESS rule 4).
        """
        if self.runs.is_stopping:
            return
        logger.warning("Executor %s was silent for too long, and registers again", self.executor_id)
        old_id = self.executor_id
        self.dispatcher.is_paused = True
        self.identity.renew()
        self.runs.begin_anew()
        self.housekeeping.disconnect()
        self._register()
        self.identity.deregister(old_id, self.runs.with_places)
        # A function may have returned before its place was handed on.
        self.dispatcher.audit()
        self._resume()

    def _resume(self) -> None:
        """Claim again under the new id, once its row is there.

        Called after each heartbeat too: the answer to the registration may have been lost.
        """
        if self.dispatcher.is_paused and not self.runs.is_stopping:
            self.dispatcher.resume()

    # Stopping

    def _begin_to_stop(self) -> bool:
        """Return whether this call is the first, which stops the executor."""
        with self._stopping:
            is_second, self.runs.is_stopping = self.runs.is_stopping, True
        return not is_second

    def _ignore_notifications(self) -> None:
        wakeups = self.store.wakeups
        wakeups.remove_lane_listener(self.dispatcher.note_lanes)
        wakeups.remove_key_listener(self.runs.note_keys)
        wakeups.remove_key_listener(self.housekeeping.schedules.note_keys)
        wakeups.remove_key_listener(self._note_keys)

    def _stop_claiming(self) -> None:
        self.dispatcher.is_paused = True
        # Statements that are never answered are abandoned with the other threads.
        for thread in (self.dispatcher, *self._optional):
            thread.loop.stop(timeout=LAST_GRACE)

    def _hand_over(self, grace: float) -> None:
        """Let runs finish their steps in progress; interrupt the runs that take too long."""
        self.runs.interrupt(HandedOver)
        self.runs.wait_until_ended(grace)
        self.store.hurry(self.executor_id, LAST_GRACE)
        self.runs.abandon()

    def _stop_threads(self) -> None:
        self.runs.stop_writer(LAST_GRACE)
        # Housekeeping stops before the row goes: a heartbeat without a row would reregister.
        until = time.monotonic() + LAST_PATIENCE
        optional = [thread.loop for thread in self._optional]
        loops = [self.dispatcher.loop, *optional, self.notifier.loop]
        if not self.runs.with_places:
            loops.append(self.housekeeping.loop)
        for loop in loops:
            loop.stop(timeout=max(until - time.monotonic(), 0.0))

    def _stop_pool(self) -> None:
        self.runs.pool.stop()
        self.runs.stop_lending()
        threads.end_idle_threads()
        self.store.relax(self.executor_id)
        self.store.wakeups.stop_listening()

    # Functions that run longer
    #
    # They hold places in the limits of their queues: until they have returned, heartbeats show that
    # this process lives (CORRECTNESS rule 59).

    def _deregister(self) -> None:
        with self._deregistering:
            self._still_running = self.runs.with_places
            if not self._still_running:
                self.housekeeping.loop.stop(timeout=LAST_PATIENCE)
            self.identity.deregister(self.executor_id, self._still_running)

    def _free_late(self) -> None:
        """Free the places of functions that have returned since the executor deregistered."""
        if self._still_running and self._still_running != self.runs.with_places:
            self._deregister()

    def _audit(self) -> None:
        """Have claims compared with runs; after the stop, there is only one thing to do."""
        if self._stopped.is_set():
            self._free_late()
        else:
            self.dispatcher.audit()

    def _announce_stop(self) -> None:
        self._stopped.set()
        telemetry.executor_stopped(Executor, self.executor_id)


def release_claims(executor: Executor) -> None:
    """Release all claims of an executor without waiting for runs: its process is about to end."""
    executor.runs.is_stopping = True
    executor.dispatcher.is_paused = True
    # Workflows that it has just claimed would be left behind.
    executor.dispatcher.loop.stop(timeout=LAST_GRACE / 2)
    executor.identity.deregister(executor.executor_id, executor.runs.with_places)
