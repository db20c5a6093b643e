"""Places of runs that wait and can't be suspended: lent meanwhile, and taken again.

A run lends its place in its queue's limits once all its branches wait: those that it waits for may
need it. What a branch awaited is recorded without a place; but the branch goes on, and a step
begins, only when the run has one again (CORRECTNESS rules 85 to 87).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial

from django_dbos.conf import get_settings
from django_dbos.core.backoff import Backoff
from django_dbos.core.records import Wake, Write, place_key, queue_key, run_key
from django_dbos.operations.polling import auntil
from django_dbos.operations.run_base import BaseRun
from django_dbos.store.records import PlaceReply
from django_dbos.store.sessions import Params, Session

logger = logging.getLogger("django_dbos.executor")

# A run keeps its place for these seconds while all its branches wait, or for HOLD_TIME.
LEND_AFTER = 0.1
# The first and the longest pause in seconds while others hold the lock of the queue.
LOCK_PAUSES = (0.002, 0.25)
# After these vain attempts at the lock an inline call uses another connection: in a transaction
# that sees an old state of the tables, that of the project's can't count.
MOST_LOCKED = 8
# Seconds between two looks in a test's transaction, in which nothing is notified.
TURN_PAUSE = 0.01

Line = tuple[str, str, str]
"""An executor, a queue and a partition key."""


async def alend(run: BaseRun) -> bool:
    """Lend the run's place; return False if it holds none, or its row is locked."""
    # First of all: a branch that has something to go on with takes the place again.
    run.is_place_lent = True
    async with run.place_lock:
        ask = partial(_lend, run)
        with _unsure_if_aborted(run):
            run.is_place_lent = await run.host.awith_session(run, ask)
    return run.is_place_lent


async def aregain(run: BaseRun) -> None:
    """Return when the run has its place again; at once if that isn't lent."""
    if not run.is_place_lent:
        return
    run.returning += 1
    try:
        async with run.place_lock:
            if run.is_place_lent:
                with _unsure_if_aborted(run):
                    await _atake_again(run)
                run.is_place_lent = False
    finally:
        run.returning -= 1
    run.check()
    look_later(run)


def look_later(run: BaseRun) -> None:
    """Have the place lent again soon if all branches that are left wait; they wait already."""
    if run.loop is not None and run.is_concurrent and run.may_lend and run.lending is None:
        run.lending = run.loop.call_later(LEND_AFTER, _look, run)


def _look(run: BaseRun) -> None:
    assert run.loop is not None
    run.lending = None
    is_waiting = run.waiting_branches and run.is_under_way and run.interruption is None
    if not (is_waiting and run.may_lend):
        return
    if not run.is_at_rest:
        look_later(run)
        return
    # Not by the loop's factory: it is no branch of the run. Its context is that of a branch, whose
    # thread has the connection of an inline run.
    run.lending = asyncio.Task(alend(run), loop=run.loop)
    run.lending.add_done_callback(partial(_note_lent, run))


def _note_lent(run: BaseRun, lent: asyncio.Task[bool]) -> None:
    run.lending = None
    if not lent.cancelled() and lent.exception() is not None:
        # The next look of a branch finds out why.
        logger.debug("Workflow %r couldn't lend its place: %r", run.workflow_id, lent.exception())


@contextmanager
def _unsure_if_aborted(run: BaseRun) -> Iterator[None]:
    """Note that nobody knows whether the place is lent, if the task of the branch is cancelled."""
    try:
        yield
    except BaseException:
        run.is_loan_unsure = True
        raise
    run.is_loan_unsure = False


async def _atake_again(run: BaseRun) -> None:
    name = run.claim.queue_name
    keys = (queue_key(name), place_key(name), run_key(run.workflow_id))
    wait = _AsyncPlaceWait(run)
    try:
        with run.host.store.wakeups.watch(*keys) as watch:
            await auntil(watch, wait)
    finally:
        wait.leave_line()


class PlaceWait:
    """A run's wait for its place. Both colours share this.

    The first time it reserves a place. From then on only the first run of a line asks the database.
    """

    def __init__(self, run: BaseRun) -> None:
        self._run = run
        self._backoff = Backoff(*LOCK_PAUSES)
        self._locked = 0
        self._line: Line | None = None
        self._seconds = 0.0

    def blocking(self) -> AbstractContextManager[None]:
        """Return a context in which the run doesn't use its slot."""
        return self._run.host.without_slot(self._run)

    @property
    def _must_ask(self) -> bool:
        return self._line is None or _lines.is_first(self._line, self._run)

    def _ask(self, session: Session) -> PlaceReply:
        store, fence = self._run.host.store, _fence(self._run)
        if self._locked < MOST_LOCKED or not self._run.host.is_inline:
            return store.take_place_again(session, fence)
        with closing(store.connect(self._run.host.executor_id, "places")) as own:
            return store.take_place_again(own, fence)

    def _note(self, reply: PlaceReply) -> tuple[None] | None:
        """Note what the database said; return a tuple once the run has its place."""
        run = self._run
        if reply.place is not None:
            run.note_place(run.claim.queue_name, reply.place)
            return (None,)
        if reply.is_locked or not reply.is_held:
            self._locked += 1
            self._seconds = self._backoff.grow()
            return None
        self._locked = 0
        self._backoff.reset()
        self._seconds = get_settings().poll_interval
        if self._line is None:
            self._line = (run.host.executor_id, run.claim.queue_name, reply.partition_key)
            _lines.join(self._line, run)
        return None

    def _next_pause(self) -> float:
        run = self._run
        wake = Wake.of_result(run.workflow_id)
        run.host.refuse_wait(run, f"a place in queue {run.claim.queue_name!r}", wake, None)
        return min(self._seconds, TURN_PAUSE) if run.host.takes_turns else self._seconds

    def leave_line(self) -> None:
        """Let the next run of the line ask."""
        if self._line is not None:
            _lines.leave(self._line, self._run)
            self._run.host.store.wakeups.notify([place_key(self._run.claim.queue_name)])


class _AsyncPlaceWait(PlaceWait):
    async def poll(self, is_expected: bool) -> tuple[None] | None:
        run = self._run
        if not self._must_ask:
            return None
        reply = await run.host.awith_session(run, self._ask)
        if not reply.is_held:
            # Raise the error that ends the run; a row that others have locked says nothing.
            run.check_answer(await run.host.writer.awrite(run.fenced(Write)), None)
        return self._note(reply)

    async def pause(self) -> float:
        return self._next_pause()

    async def resume(self) -> None:
        self._run.check()


class _Lines:
    """The runs of this process that want places back, by what may keep them from one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[Line, list[BaseRun]] = defaultdict(list)

    def join(self, line: Line, run: BaseRun) -> None:
        with self._lock:
            self._lines[line].append(run)

    def leave(self, line: Line, run: BaseRun) -> None:
        with self._lock:
            self._lines[line].remove(run)
            if not self._lines[line]:
                del self._lines[line]

    def is_first(self, line: Line, run: BaseRun) -> bool:
        with self._lock:
            return self._lines[line][0] is run


_lines = _Lines()


def _lend(run: BaseRun, session: Session) -> bool:
    return run.host.store.lend_place(session, _fence(run))


def _fence(run: BaseRun) -> Params:
    claim = run.claim
    return {
        "workflow_id": claim.workflow_id,
        "claim_number": claim.claim_number,
        "executor_id": run.host.executor_id,
    }
