"""Waits of a run: for an outcome, or until a time.

A run keeps its slot for a moment while it waits (`HoldPolicy`); afterwards it is suspended, and its
row names what wakes it. A run that can't be suspended (it runs inline, or other branches of it are
busy) blocks instead, and lends its slot meanwhile; its place in its queue's limits, too, once all
its branches wait (`places`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from django_dbos import telemetry
from django_dbos.conf import get_settings
from django_dbos.core.records import (
    Answer,
    Checkpoint,
    RecordWait,
    Verdict,
    Wake,
    WakeKind,
    run_key,
)
from django_dbos.exceptions import WorkflowDoesNotExist
from django_dbos.operations import places
from django_dbos.operations.polling import auntil
from django_dbos.operations.run import Call, Run
from django_dbos.store.pubsub import Watch

logger = logging.getLogger("django_dbos.executor")

# The functions that were warned of.
_warned: set[str] = set()

# Waits for another workflow, which the checkpoint names.
OTHERS = (WakeKind.EVENT, WakeKind.RESULT)
# Waits for the next attempt at a step.
RETRIES = (WakeKind.RETRY, WakeKind.RETRY_AFTER)
# Waits that only time ends.
TIMED = (WakeKind.SLEEP, *RETRIES)


async def await_(
    call: Call,
    wake: Wake,
    timeout: float | None,  # noqa: ASYNC109
    note: str | None = None,
) -> Checkpoint:
    """Wait up to `timeout` seconds (None: without limit) for a call's outcome, and return it.

    A timeout's outcome has the `note` that the wait began with. Raises WorkflowDoesNotExist, and
    records it, if the awaited workflow doesn't exist.
    """
    run = call.run
    if call.found is not None:
        await run.turn(call.found)
        return call.found
    with telemetry.around("waiting", call, wake.kind), watch_for(run, wake) as watch:
        wait = _AsyncOutcomeWait(call, wake, timeout, note)
        found = await auntil(watch, wait, is_expected=call.has_waited)
    assert found is not None
    return found[0]


async def apause(call: Call, wake: Wake, seconds: float) -> None:
    """Pause for `seconds`; the run may be suspended in the meantime."""
    with watch_for(call.run, wake) as watch:
        await auntil(watch, _AsyncPause(call, wake, seconds))
    await places.aregain(call.run)


def watch_for(run: Run, *wakes: Wake) -> Watch:
    """Return a watch for the wake-ups of a run's wait, and for interruptions of the run."""
    parts = [part for wake in wakes for part in wake.parts]
    keys = [key for part in parts for key in _keys_of(part)]
    if run.children_of_own_queue:
        _warn_of_children(run, [part for part in parts if part.kind is WakeKind.RESULT])
    return run.host.store.wakeups.watch(*keys, run_key(run.workflow_id))


def _warn_of_children(run: Run, results: Sequence[Wake]) -> None:
    """Log once per function that a run which keeps its place waits for one of the same queue."""
    awaited = {wake.workflow_id for wake in results} & run.children_of_own_queue
    name = run.definition.name
    if not awaited or name in _warned:
        return
    _warned.add(name)
    logger.warning(
        "Workflow %r (%s) keeps its place in queue %r while it waits for its child %r of the same "
        "queue: if such workflows have all places, none goes on. Give the child another queue.",
        run.workflow_id,
        run.definition.name,
        run.claim.queue_name,
        min(awaited),
        extra=run.log_fields,
    )


def _keys_of(wake: Wake) -> list[str]:
    # The end of a workflow is the end of its streams.
    is_entry = wake.kind is WakeKind.STREAM
    return [wake.key, *([Wake.of_result(wake.workflow_id).key] if is_entry else [])]


class HoldPolicy:
    """Decides how long a run keeps its slot while it waits, and when it is suspended."""

    def __init__(self, call: Call, wake: Wake) -> None:
        self._call = call
        self._run = call.run
        self._wake = wake
        self._settings = get_settings()
        began = time.monotonic()
        self._hold_until = began + self._settings.hold_time
        self._lend_at = min(self._hold_until, began + places.LEND_AFTER)

    @property
    def is_resident(self) -> bool:
        """True if the run can't be suspended at present."""
        return self._run.host.is_inline or self._run.is_concurrent

    @property
    def must_lend(self) -> bool:
        """True if the run is to lend its place now: all its branches wait, and can't be suspended.

        In a test's transaction it does so at once, since there is nothing else to wait for.
        """
        is_time = time.monotonic() >= self._lend_at or self._run.host.takes_turns
        return is_time and self.is_resident and self._run.may_lend and self._run.is_at_rest

    @property
    def is_over(self) -> bool:
        """True if the run has kept its slot for DBOS["HOLD_TIME"]."""
        return time.monotonic() >= self._hold_until

    def next_pause(self, remaining: float | None) -> float | None:
        """Return the seconds until the next poll; None once the run is to be suspended.

        `remaining` seconds are left of the wait; None: there is no limit.
        """
        run, wake = self._run, self._wake
        longest = float("inf") if remaining is None else remaining
        left = self._hold_until - time.monotonic()
        if self.is_resident:
            if wake.kind not in RETRIES:
                run.host.refuse_wait(run, self._call.step_name, wake, remaining)
            return min(self._settings.poll_interval, longest, self._until_look())
        if left <= 0 or (wake.kind in TIMED and longest > left) or not self._may_hold():
            return None
        return min(left, longest)

    def _until_look(self) -> float:
        """Return the seconds until it is time to lend the place, or for others to have come on."""
        run = self._run
        until_lent = self._lend_at - time.monotonic()
        if run.may_lend and until_lent > 0:
            return until_lent
        is_in_test = run.host.takes_turns and run.claim.place
        return places.TURN_PAUSE if is_in_test else float("inf")

    def blocking(self) -> AbstractContextManager[None]:
        """Return a context in which a run that isn't suspended doesn't use its slot."""
        if not self.is_resident:
            return nullcontext()
        places.look_later(self._run)
        return self._run.host.without_slot(self._run)

    def _may_hold(self) -> bool:
        """Return whether slots are free; a retry on a test's thread holds none, so it may hold."""
        host = self._run.host
        return host.may_hold() or (self._wake.kind in RETRIES and not host.owns_connections)


class RunWait:
    """A wait of a run, which may be suspended in it. Both colours share this."""

    def __init__(self, call: Call, wake: Wake) -> None:
        self._call = call
        self._run = call.run
        self._wake = wake
        self._policy = HoldPolicy(call, wake)
        self.blocking = self._policy.blocking

    def _next_pause(self, remaining: float | None) -> float:
        """Return the seconds until the next poll, or suspend the run."""
        seconds = self._policy.next_pause(remaining)
        if seconds is None:
            self._run.suspend(self._wake, self._call.step_number, remaining)
        return seconds


class _RecordedWait(RunWait):
    """A wait whose poll is one write.

    The write records the outcome, or the timeout, if there is one by now, and the wait's deadline
    otherwise (CORRECTNESS rule 17).
    """

    def __init__(self, call: Call, wake: Wake, timeout: float | None, note: str | None) -> None:
        super().__init__(call, wake)
        self._timeout = timeout
        self._note = note
        self._awaited_ids = [
            part.workflow_id for part in wake.parts if part.kind is WakeKind.RESULT
        ]
        self._remaining: float | None = None

    def _values(self, is_expected: bool) -> dict[str, object]:
        other = self._wake.workflow_id if self._wake.kind in OTHERS else None
        return {
            "checkpoint": self._call.checkpoint(output=self._note, related_workflow_id=other),
            "wake": self._wake,
            "timeout": self._timeout,
            "is_expected": is_expected,
        }

    def _found(self, answer: Answer) -> tuple[Checkpoint] | None:
        if answer.verdict is Verdict.WAITING:
            self._remaining = answer.remaining
            return None
        assert answer.checkpoint is not None
        return (answer.checkpoint,)


class _AsyncOutcomeWait(_RecordedWait):
    async def poll(self, is_expected: bool) -> tuple[Checkpoint] | None:
        run = self._run
        while True:
            values = self._values(is_expected)
            answer = await run.asubmit(RecordWait, self._call, **values)
            if answer.verdict is Verdict.REFUSED:
                error = WorkflowDoesNotExist(answer.subject)
                await run.afail(self._call, error, ends_wait=self._wake.kind is WakeKind.ANY)
            found = self._found(answer)
            if found is not None:
                return found
            for workflow_id in self._awaited_ids:
                if await run.host.arun_awaited(run, workflow_id):
                    break
            else:
                return None

    async def pause(self) -> float:
        if self._policy.must_lend and await places.alend(self._run):
            return 0.0
        return self._next_pause(self._remaining)

    async def resume(self) -> None:
        self._run.check_in_wait()


class _TimedWait(RunWait):
    """A wait that only time ends, and whose end is recorded already."""

    def __init__(self, call: Call, wake: Wake, seconds: float) -> None:
        super().__init__(call, wake)
        self._until = time.monotonic() + seconds

    @property
    def _remaining(self) -> float:
        return self._until - time.monotonic()

    def _poll(self) -> tuple[None] | None:
        self._run.check_in_wait()
        return (None,) if self._remaining <= 0 else None


class _AsyncPause(_TimedWait):
    async def poll(self, is_expected: bool) -> tuple[None] | None:
        return self._poll()

    async def pause(self) -> float:
        if self._policy.must_lend and await places.alend(self._run):
            return 0.0
        return self._next_pause(self._remaining)

    async def resume(self) -> None:
        self._run.check_in_wait()
