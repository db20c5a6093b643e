"""The recorder of a step: its attempts so far, and its outcome as a checkpoint."""

from __future__ import annotations

import time
import traceback
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from django_dbos import serializers
from django_dbos.core.records import Checkpoint, State, Wake, WakeKind
from django_dbos.operations import retry_after
from django_dbos.operations.context import StepScope
from django_dbos.operations.retry_after import RetryAfter
from django_dbos.operations.run import Call
from django_dbos.operations.step_definitions import StepDefinition

# The errors of the last MAX_ERRORS failed attempts are kept, each cut after MAX_ERROR characters.
MAX_ERRORS, MAX_ERROR = 100, 1_000


class Recorder:
    """The attempts at one call of a step, and their errors."""

    def __init__(self, call: Call, step: StepDefinition) -> None:
        self.call = call
        self.step = step
        self.attempt = 1
        """The number of this attempt, or of the next one; the first is 1."""
        self.errors: list[dict[str, Any]] = []
        """The errors of earlier attempts."""
        if (before := call.wait) is not None:
            self.attempt = before.attempts + 1
            self.errors = call.run.read_here(serializers.load_attempts, before.attempt_errors)
        self._began = self._attempt_began = time.perf_counter()
        self._has_left = False

    @property
    def duration(self) -> float:
        """Seconds since the first attempt began."""
        return time.perf_counter() - self._began

    def scope(self) -> StepScope:
        """Return the scope of the code of this attempt, which begins now."""
        self._attempt_began = time.perf_counter()
        return StepScope(
            step_number=self.call.step_number,
            step_name=self.step.name,
            attempt=self.attempt,
            max_attempts=self.step.max_attempts,
        )

    def is_last(self, error: BaseException) -> bool:
        """Return True if no attempt follows this one, which raised the error."""
        return retry_after.found_in(error) is None and self.step.is_last(self.attempt, error)

    @property
    def wake(self) -> Wake:
        """The wait for the next attempt."""
        seconds = self.errors[-1].get("retry_after") if self.errors else None
        if seconds is None:
            return Wake(kind=WakeKind.RETRY)
        return Wake(kind=WakeKind.RETRY_AFTER, name=f"{seconds:g}")

    def returned(self, value: Any) -> Checkpoint:
        """Return the checkpoint of a value.

        Raises:
            SerializationError: The value can't be stored; PayloadTooLarge if it is too large.
        """
        return self._checkpoint(
            output=serializers.dumps(value, label=lambda: f"The result of {self.call.label}")
        )

    def failed(self, error: BaseException, delay: float) -> Checkpoint:
        """Return the checkpoint of a failed attempt that another one follows after a delay."""
        self._note(error, delay=round(delay, 3))
        checkpoint = replace(self._checkpoint(), state=State.WAITING)
        self.attempt += 1
        return checkpoint

    def told_to_wait(self, error: RetryAfter) -> Checkpoint:
        """Return the checkpoint of an attempt that doesn't count."""
        self._append({"error": str(error), "retry_after": error.seconds})
        return replace(self._checkpoint(), state=State.WAITING, attempts=self.attempt - 1)

    def raised(self, error: BaseException) -> tuple[Checkpoint, BaseException]:
        """Return the checkpoint of an error, and the error as a replay will raise it."""
        if self.errors:
            self._note(error)
        if self.attempt > 1 and isinstance(error, Exception):
            error.add_note(f"Step {self.step.name!r} failed in each of {self.attempt} attempts.")
        text = serializers.dump_error(error)
        return self._checkpoint(error=text), serializers.round_trip_error(error, text)

    def announce(self, checkpoint: Checkpoint | None = None) -> None:
        """Have later outcomes of an async run wait for this one, which a thread records.

        The first call comes before the outcome has its record order, so that none gets in between.
        """
        if (branches := self.call.run.branches) is None:
            return
        branches.expect(self.call.step_number, 0 if checkpoint is None else checkpoint.record_order)
        if self._has_left:
            # Checked last, since it may just have become True.
            self.retract()

    def retract(self) -> int:
        """Have no outcome wait for this one any more; return its record order, or 0."""
        branches = self.call.run.branches
        return 0 if branches is None else branches.expected(self.call.step_number)

    def leave(self) -> int:
        """Announce nothing from here on: the branch continues, or was cancelled beside its thread.

        Returns the record order, as retract() does.
        """
        self._has_left = True
        return self.retract()

    def _note(self, error: BaseException, **delay: float) -> None:
        text = "".join(traceback.format_exception_only(error)).strip()
        self._append({"error": text[:MAX_ERROR], **delay})

    def _append(self, entry: dict[str, Any]) -> None:
        ended_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        took = round(time.perf_counter() - self._attempt_began, 3)
        self.errors.append({"attempt": self.attempt, **entry, "at": ended_at, "seconds": took})
        del self.errors[:-MAX_ERRORS]

    def _checkpoint(self, **outcome: Any) -> Checkpoint:
        return self.call.checkpoint(
            attempts=self.attempt,
            attempt_errors=serializers.dump_attempts(self.errors),
            duration=self.duration,
            **outcome,
        )
