"""The results of many workflows: one wait, and one checkpoint.

A look finds those that haven't ended, and the wait goes on for one of them alone: first for the
last, which in a queue ends last, then for any. Whatever the order in which they end, the expected
number of wake-ups of a parent grows with the logarithm of their number: ten for ten thousand.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django_dbos.core import durations
from django_dbos.core.records import (
    Answer,
    Checkpoint,
    RecordStep,
    RecordWait,
    State,
    Verdict,
    Wake,
)
from django_dbos.core.status import ACTIVE
from django_dbos.exceptions import DbosError, WaitTimeout, WorkflowDoesNotExist
from django_dbos.operations import outcomes, places, reads
from django_dbos.operations.polling import auntil
from django_dbos.operations.run import Call, Run, operation_name
from django_dbos.operations.timeouts import results_label
from django_dbos.operations.waits import RunWait, watch_for

# How many awaited workflows an inline caller tries to run itself, after each look.
RUN_AT_ONCE = 100


async def aget_results(
    run: Run,
    workflow_ids: Sequence[str],
    timeout: Any,  # noqa: ASYNC109
    return_exceptions: bool,
) -> list[Any]:
    """Wait for the results of workflows; record them, and return them in the order of the ids."""
    seconds = durations.to_seconds(timeout, label="timeout")
    call = run.begin("aget_results", operation_name("get_results"))
    if call.found is not None:
        await run.turn(call.found)
    checkpoint = call.found or await _aoutcome(call, workflow_ids, seconds)
    if checkpoint.state is State.TIMED_OUT:
        raise WaitTimeout(results_label(len(workflow_ids)), seconds or 0.0)
    return await aread_values(call, checkpoint, len(workflow_ids), return_exceptions)


async def aread_values(
    call: Call, checkpoint: Checkpoint, count: int, return_exceptions: bool
) -> list[Any]:
    """Return the recorded values; errors among them, or raise the first."""
    recorded = await call.run.aoutcome(checkpoint)
    values, errors = recorded["values"], recorded["errors"]
    if len(values) != count:
        call.refuse_other(f"{len(values)} results", f"get_results() of {count} workflows")
    if errors and not return_exceptions:
        raise await call.run.aload_error(errors[min(errors, key=int)])
    for position, text in errors.items():
        values[int(position)] = await call.run.aload_error(text)
    for position, text in recorded["texts"].items():
        values[int(position)] = await call.run.aload(text)
    return values  # type: ignore[no-any-return]


async def _aoutcome(
    call: Call,
    workflow_ids: Sequence[str],
    timeout: float | None,  # noqa: ASYNC109
) -> Checkpoint:
    """Wait until all workflows have ended or the time is up, and record that."""
    limit = Limit(call, timeout)
    text: str | None = None
    try:
        while text is None:
            timed_out = await await_ends(call, workflow_ids, limit)
            if timed_out is not None:
                return timed_out
            text = await reads.apatiently(call.run, partial(read_text, call.run, workflow_ids))
    except DbosError as error:
        await call.run.afail(call, error)
    checkpoint = call.checkpoint(output=text)
    answer = await call.run.asubmit(RecordStep, call, checkpoint=checkpoint, size=len(text))
    return answer.checkpoint or checkpoint


async def await_ends(call: Call, workflow_ids: Sequence[str], limit: Limit) -> Checkpoint | None:
    """Wait until all workflows have ended; return the recorded timeout, if that came first."""
    left = list(dict.fromkeys(workflow_ids))
    has_looked = call.has_waited
    while True:
        left = await reads.apatiently(call.run, partial(find_left, call.run, left))
        if not left:
            return None
        target = random.choice(left) if has_looked else left[-1]
        has_looked = True
        has_ended = partial(_has_ended, call.run, target)
        timed_out = await await_end(call, Wake.of_result(target), limit, left, has_ended)
        if timed_out is not None:
            return timed_out


async def await_end(
    call: Call,
    wake: Wake,
    limit: Limit,
    left: Sequence[str],
    has_ended: Callable[[], bool],
) -> Checkpoint | None:
    """Wait for one thing, of which `has_ended` reads whether it is there.

    Args:
        call: The operation, of which this is a part.
        wake: The thing.
        limit: The time limit of the operation.
        left: The workflows that a host may run meanwhile which runs awaited ones.
        has_ended: A read of the database.

    Returns:
        The recorded timeout, if that came first.
    """
    wait = _AsyncEndWait(call, wake, limit, left[:RUN_AT_ONCE], has_ended)
    with watch_for(call.run, wake) as watch:
        found = await auntil(watch, wait)
    return None if found is None else found[0]


class Limit:
    """The time limit of an operation that waits for one thing after the other."""

    def __init__(self, call: Call, timeout: float | None) -> None:
        recorded = call.wait
        self.is_recorded = recorded is not None
        """True if the checkpoint at the operation's position has the deadline."""
        self._until = None if timeout is None else time.monotonic() + timeout
        if recorded is not None:
            self._until = call.run.waits_until.get(call.step_number)

    @property
    def remaining(self) -> float | None:
        """The seconds that are left; None: there is no limit."""
        return None if self._until is None else self._until - time.monotonic()


class EndWait(RunWait):
    """A wait for something that isn't the outcome of the operation.

    A poll is a read. The deadline is recorded before a suspension, or after the hold time.
    """

    def __init__(
        self,
        call: Call,
        wake: Wake,
        limit: Limit,
        awaited_ids: Sequence[str],
        has_ended: Callable[[], bool],
    ) -> None:
        super().__init__(call, wake)
        self._limit = limit
        self._awaited_ids = awaited_ids
        self._has_ended = has_ended
        self._timed_out: Checkpoint | None = None

    def _is_over(self) -> bool:
        remaining = self._limit.remaining
        return remaining is not None and remaining <= 0

    def _must_record(self, seconds: float | None) -> bool:
        """Return whether to record the deadline, with a pause of these seconds ahead."""
        is_due = seconds is None or (self._limit.remaining is not None and self._policy.is_over)
        return is_due and not self._limit.is_recorded

    def _values(self) -> dict[str, Any]:
        remaining = self._limit.remaining
        return {
            "checkpoint": self._call.checkpoint(),
            "wake": self._wake,
            "timeout": None if remaining is None else max(remaining, 0.0),
            "takes_outcome": False,
        }

    def _note(self, answer: Answer) -> bool:
        """Note the answer to a `RecordWait`; return whether the wait goes on."""
        if answer.verdict is not Verdict.DONE:
            self._limit.is_recorded = True
        if answer.verdict is Verdict.FOUND:
            self._timed_out = answer.checkpoint
        return answer.verdict is Verdict.WAITING


class _AsyncEndWait(EndWait):
    async def poll(self, is_expected: bool) -> tuple[Checkpoint | None] | None:
        run = self._run
        while True:
            if self._timed_out is not None:
                return (self._timed_out,)
            if await reads.apatiently(run, self._has_ended):
                return (None,)
            if self._is_over():
                self._note(await run.asubmit(RecordWait, self._call, **self._values()))
                continue
            for workflow_id in self._awaited_ids:
                if await run.host.arun_awaited(run, workflow_id):
                    break
            else:
                return None

    async def pause(self) -> float:
        if self._policy.must_lend and await places.alend(self._run):
            return 0.0
        remaining = self._limit.remaining
        seconds = self._policy.next_pause(remaining)
        if self._must_record(seconds):
            answer = await self._run.asubmit(RecordWait, self._call, **self._values())
            if not self._note(answer):
                # It has just ended, or the time is up.
                return 0.0
        if seconds is None:
            self._run.suspend(self._wake, self._call.step_number, remaining)
        return max(seconds, 0.0)

    async def resume(self) -> None:
        self._run.check_in_wait()


def find_left(run: Run, workflow_ids: Sequence[str]) -> list[str]:
    """Return those of the workflows that an awaiting run has no outcome of."""
    left = run.host.store.reader.find_unfinished(workflow_ids)
    return [workflow.workflow_id for workflow in left]


def _has_ended(run: Run, workflow_id: str) -> bool:
    return not find_left(run, [workflow_id])


def read_text(run: Run, workflow_ids: Sequence[str]) -> str | None:
    """Return the outcomes as text; None if a cancelled workflow has just been resumed."""
    found = run.host.store.reader.read_outcomes(workflow_ids)
    for workflow_id in workflow_ids:
        if workflow_id not in found:
            raise WorkflowDoesNotExist(workflow_id)
    if any(outcome.status in ACTIVE for outcome in found.values()):
        return None
    return outcomes.dump(workflow_ids, [found[workflow_id] for workflow_id in workflow_ids])
