"""What every wait of a workflow shares: look, hold the slot a moment, then suspend.

A look is one write: it records the outcome when what is awaited is there or its time is up, and
the wait's deadline otherwise. A run that can't be suspended (it is inline, or other branches of it
are busy) blocks instead, without using up its slot.
"""

from __future__ import annotations

import time
from contextlib import nullcontext

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
from django_dbos.operations import inline
from django_dbos.operations.run import Call, Run
from django_dbos.store.pubsub import Watch

# Waits for another workflow, which the checkpoint names.
OTHERS = (WakeKind.EVENT, WakeKind.RESULT)
# Nothing but the time ends them.
TIMED = (WakeKind.SLEEP, WakeKind.RETRY)


def wait(call: Call, wake: Wake, timeout: float | None) -> Checkpoint:
    """Wait for the outcome of a call, for `timeout` seconds (None: for ever), and return it."""
    run = call.run
    if call.found is not None:
        return call.found
    with _watch(run, wake) as watch:
        policy, is_expected = _HoldPolicy(run), call.has_waited
        while True:
            answer = run.submit(RecordWait, call, **_look(call, wake, timeout, is_expected))
            if answer.verdict is not Verdict.WAITING:
                return _outcome(answer)
            if inline.run_awaited(run, wake):
                continue
            pause = policy.next_pause(call, wake, answer.remaining)
            if policy.is_resident:
                with run.host.without_slot(run):
                    is_expected = watch.wait(pause)
            else:
                is_expected = watch.wait(pause)
            run.check()


async def await_(call: Call, wake: Wake, timeout: float | None) -> Checkpoint:  # noqa: ASYNC109
    """See wait()."""
    run = call.run
    if call.found is not None:
        await run.turn(call.found)
        return call.found
    with _watch(run, wake) as watch:
        policy, is_expected = _HoldPolicy(run), call.has_waited
        while True:
            look = _look(call, wake, timeout, is_expected)
            answer = await run.asubmit(RecordWait, call, **look)
            if answer.verdict is not Verdict.WAITING:
                return _outcome(answer)
            if await inline.arun_awaited(run, wake):
                continue
            pause = policy.next_pause(call, wake, answer.remaining)
            if policy.is_resident:
                with run.host.without_slot(run):
                    is_expected = await watch.await_(pause)
            else:
                is_expected = await watch.await_(pause)
            run.check()


def pause(call: Call, wake: Wake, seconds: float) -> None:
    """Let `seconds` pass; the run may be suspended, until its row is due."""
    run, until = call.run, time.monotonic() + seconds
    policy = _HoldPolicy(run)
    with _watch(run, wake) as watch:
        while (left := until - time.monotonic()) > 0:
            run.check()
            moment = policy.next_pause(call, wake, left)
            with run.host.without_slot(run) if policy.is_resident else nullcontext():
                watch.wait(moment)
    run.check()


async def apause(call: Call, wake: Wake, seconds: float) -> None:
    """See pause()."""
    run, until = call.run, time.monotonic() + seconds
    policy = _HoldPolicy(run)
    with _watch(run, wake) as watch:
        while (left := until - time.monotonic()) > 0:
            run.check()
            moment = policy.next_pause(call, wake, left)
            with run.host.without_slot(run) if policy.is_resident else nullcontext():
                await watch.await_(moment)
    run.check()


def _watch(run: Run, wake: Wake) -> Watch:
    return run.host.store.wakeups.watch(wake.key, run_key(run.workflow_id))


def _look(call: Call, wake: Wake, timeout: float | None, is_expected: bool) -> dict[str, object]:
    other = wake.workflow_id if wake.kind in OTHERS else None
    checkpoint = call.checkpoint(related_workflow_id=other)
    return {
        "checkpoint": checkpoint,
        "wake": wake,
        "timeout": timeout,
        "is_expected": is_expected,
    }


def _outcome(answer: Answer) -> Checkpoint:
    assert answer.checkpoint is not None
    return answer.checkpoint


class _HoldPolicy:
    """Decides how long a run keeps its slot while it waits, and when it is suspended."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._settings = get_settings()
        self._hold_until = time.monotonic() + self._settings.hold_time
        self.is_resident = False

    def next_pause(self, call: Call, wake: Wake, remaining: float | None) -> float:
        """Return the seconds to wait for a notification; suspend the run after its hold time."""
        run = self._run
        branches = run.branches
        self.is_resident = run.host.is_inline or (branches is not None and branches.is_concurrent)
        if self.is_resident:
            if wake.kind is not WakeKind.RETRY:
                inline.refuse_in_test(run, call.step_name, wake, remaining)
            return min(self._settings.poll_interval, _or_for_ever(remaining))
        left = self._hold_until - time.monotonic()
        if wake.kind in TIMED and _or_for_ever(remaining) > left:
            left = 0.0
        if left <= 0 or not self._may_hold(wake):
            run.suspend(wake, call.step_number, remaining)
        return min(left, _or_for_ever(remaining))

    def _may_hold(self, wake: Wake) -> bool:
        """Whether free slots are left; a retry on a test's thread may hold, since it takes none."""
        host = self._run.host
        return host.may_hold() or (wake.kind is WakeKind.RETRY and not host.owns_connections)


def _or_for_ever(remaining: float | None) -> float:
    return float("inf") if remaining is None else remaining
