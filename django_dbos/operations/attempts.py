"""What both kinds of steps are made of: the definition, the attempts, and how they are recorded."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from django_dbos import serializers
from django_dbos.core.backoff import delay_before_attempt
from django_dbos.core.records import Checkpoint, RecordStep, State
from django_dbos.exceptions import (
    ModelInstanceGone,
    PayloadTooLarge,
    SerializationError,
    UnknownTypeInHistory,
)
from django_dbos.interruptions import RunInterrupted
from django_dbos.operations.context import StepScope
from django_dbos.operations.raised import is_foreign, stand_in
from django_dbos.operations.run import Call

# Of how many failed attempts the errors are kept, the last ones, and how much of each.
MAX_ERRORS, MAX_ERROR = 100, 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDefinition:
    """A step function, and what its decorator said of it. Durations are seconds."""

    name: str
    function: Callable[..., Any]
    is_async: bool
    max_attempts: int = 1
    interval: float = 1.0
    backoff: float = 2.0
    max_interval: float = 3600.0
    jitter: float = 0.0
    retry_on: tuple[type[Exception], ...] | Callable[[Exception], object] = (Exception,)
    timeout: float | None = None
    is_atomic: bool = False
    confirm: bool = False
    using: str | None = None

    def delay_before(self, attempt: int) -> float:
        """Seconds to wait before an attempt; the first is 1."""
        return delay_before_attempt(
            attempt,
            interval=self.interval,
            backoff=self.backoff,
            max_interval=self.max_interval,
            jitter=self.jitter,
        )

    def is_last(self, attempt: int, error: BaseException) -> bool:
        """Whether an attempt that raised this error isn't followed by another."""
        if attempt >= self.max_attempts or not self._may_retry(error):
            return True
        if isinstance(error, UnknownTypeInHistory | ModelInstanceGone):
            return False
        # What can't be stored is known once the work is done: to do it again can't help.
        return isinstance(error, SerializationError | PayloadTooLarge)

    def _may_retry(self, error: BaseException) -> bool:
        if isinstance(self.retry_on, tuple):
            return isinstance(error, self.retry_on)
        return isinstance(error, Exception) and bool(self.retry_on(error))


class Recorder:
    """What a step came to: its value or error as it will be recorded, and how it got there."""

    def __init__(self, call: Call, step: StepDefinition) -> None:
        self.call = call
        self.step = step
        self.attempt = 1
        """Which attempt this is, or the next one."""
        self.errors: list[dict[str, Any]] = []
        """What earlier ones failed with."""
        if (before := call.wait) is not None:
            self.attempt = before.attempts + 1
            self.errors = json.loads(before.attempt_errors or "[]")
        self._began = time.perf_counter()
        self._has_left = False

    @property
    def duration(self) -> float:
        """Seconds since the first attempt began."""
        return time.perf_counter() - self._began

    def scope(self) -> StepScope:
        """Where the code of this attempt is."""
        return StepScope(
            step_number=self.call.step_number,
            step_name=self.step.name,
            attempt=self.attempt,
            max_attempts=self.step.max_attempts,
        )

    def call_function(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the step's sync function; what is no Exception comes as one, unless it's foreign."""
        try:
            return self.step.function(*args, **kwargs)
        except (Exception, RunInterrupted):
            raise
        except BaseException as error:
            self._raise_other(error)

    async def acall_function(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See call_function()."""
        try:
            return await self.step.function(*args, **kwargs)
        except (Exception, RunInterrupted, GeneratorExit):
            # The last one comes to a coroutine that is closed.
            raise
        except BaseException as error:
            self._raise_other(error)

    def _raise_other(self, error: BaseException) -> NoReturn:
        run = self.call.run
        # A task that is left by a SystemExit stops its whole loop.
        is_plain_exit = isinstance(error, SystemExit) and run.loop is None
        if is_plain_exit or is_foreign(run, error, is_coroutine=self.step.is_async):
            raise error
        raise stand_in(f"Step {self.step.name!r}", error) from error

    def returned(self, value: Any) -> Checkpoint:
        """The checkpoint of a value; raises what says why it can't be stored."""
        return self._checkpoint(
            output=serializers.dumps(value, label=f"The result of {self.call.what}")
        )

    def failed(self, error: BaseException) -> Checkpoint:
        """The checkpoint of an attempt that failed, and isn't the last one."""
        self._note(error)
        checkpoint = replace(self._checkpoint(), state=State.WAITING)
        self.attempt += 1
        return checkpoint

    def raised(self, error: BaseException) -> tuple[Checkpoint, BaseException]:
        """The checkpoint of an error, and the error as a replay will raise it."""
        if self.attempt > 1:
            self._note(error)
            if isinstance(error, Exception):
                error.add_note(
                    f"Step {self.step.name!r} failed in each of {self.attempt} attempts."
                )
        text = serializers.dump_error(error)
        return self._checkpoint(error=text), serializers.round_trip_error(error, text)

    def announce(self, checkpoint: Checkpoint | None = None) -> None:
        """An async run's outcome is recorded from a thread: later ones wait for it.

        Said once before it has its place in the order, so that none comes in between.
        """
        if (branches := self.call.run.branches) is None:
            return
        branches.expect(self.call.step_number, 0 if checkpoint is None else checkpoint.record_order)
        if self._has_left:
            # Looked at last: it may just have become so.
            self.retract()

    def retract(self) -> int:
        """Nobody waits for it any more; return its place in the order, if it has one."""
        branches = self.call.run.branches
        return 0 if branches is None else branches.expected(self.call.step_number)

    def leave(self) -> int:
        """The branch that called it goes on, or was cancelled while its thread works on.

        Nothing is announced from here on. Returns what retract() does.
        """
        self._has_left = True
        return self.retract()

    def _note(self, error: BaseException) -> None:
        text = "".join(traceback.format_exception_only(error)).strip()
        self.errors.append({"attempt": self.attempt, "error": text[:MAX_ERROR]})
        del self.errors[:-MAX_ERRORS]

    def _checkpoint(self, **outcome: Any) -> Checkpoint:
        return self.call.checkpoint(
            attempts=self.attempt,
            attempt_errors=json.dumps(self.errors) if self.errors else None,
            duration=self.duration,
            **outcome,
        )


def record(recorder: Recorder, checkpoint: Checkpoint, value: Any) -> Any:
    recorder.announce(checkpoint)
    run, size = recorder.call.run, len(checkpoint.output or "")
    answer = run.submit(RecordStep, recorder.call, checkpoint=checkpoint, size=size)
    # A checkpoint that is there already was recorded by whoever had the claim: it is adopted.
    return value if answer.checkpoint is None else run.outcome(answer.checkpoint)


async def arecord(recorder: Recorder, checkpoint: Checkpoint, value: Any) -> Any:
    run, size = recorder.call.run, len(checkpoint.output or "")
    answer = await run.asubmit(RecordStep, recorder.call, checkpoint=checkpoint, size=size)
    return value if answer.checkpoint is None else await run.aoutcome(answer.checkpoint)


def record_error(recorder: Recorder, error: BaseException) -> Any:
    recorder.announce()
    return record_failure(recorder, *recorder.raised(error))


def record_failure(recorder: Recorder, checkpoint: Checkpoint, error: BaseException) -> Any:
    recorder.announce(checkpoint)
    run = recorder.call.run
    answer = run.submit(RecordStep, recorder.call, checkpoint=checkpoint)
    if answer.checkpoint is not None:
        return run.outcome(answer.checkpoint)
    raise error


async def arecord_error(recorder: Recorder, error: BaseException) -> Any:
    checkpoint, error = recorder.raised(error)
    run = recorder.call.run
    answer = await run.asubmit(RecordStep, recorder.call, checkpoint=checkpoint)
    if answer.checkpoint is not None:
        return await run.aoutcome(answer.checkpoint)
    raise error
