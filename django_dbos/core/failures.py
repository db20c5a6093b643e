"""Which of a workflow's steps it has failed at."""

from __future__ import annotations

from collections.abc import Sequence

from django_dbos.core.frozen import dataclass
from django_dbos.core.records import State

# The errors that waits raise; of these their checkpoints have no text.
RAISED_BY_WAITS = {
    State.TIMED_OUT: "WaitTimeout",
    State.AWAITED_CANCELLED: "WorkflowCancelled",
    State.AWAITED_EXCEEDED: "MaxRecoveryAttemptsExceeded",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A recorded failure of a step, or of a wait."""

    step_number: int
    record_order: int
    state: State
    error: tuple[str, str] | None = None
    """The class path and the message of its exception; None of a wait's."""

    def is_in(self, ending: tuple[str, str], traceback: str) -> bool:
        """Return whether an exception is this failure, or shows it among its causes."""
        if self.error is None:
            name = RAISED_BY_WAITS[self.state]
            return ending[0].endswith(name) or f"{name}: " in traceback
        if self.error == ending:
            return True
        path, message = self.error
        shown = f"{path.removeprefix('builtins.')}: {message}" if message else path
        return shown in traceback


def failed_step(
    failures: Sequence[Failure],
    *,
    last_record_order: int,
    ending: tuple[str, str] | None,
    traceback: str = "",
) -> int | None:
    """Return the number of the step whose failure ended the workflow; None if none did.

    It is the last one whose exception ended the workflow, itself or as a cause. If there is none,
    it is the last outcome of all, if that is a failure: the code may have raised another exception
    for it. A failure that the code has handled, and after which it went on, is neither.

    Args:
        failures: All failures in the history.
        last_record_order: The record order of the last outcome.
        ending: The class path and message of the workflow's own error.
        traceback: Its traceback, with those of its causes.
    """
    ordered = sorted(failures, key=lambda failure: failure.record_order)
    if ending is not None:
        for failure in reversed(ordered):
            if failure.is_in(ending, traceback):
                return failure.step_number
    if ordered and ordered[-1].record_order == last_record_order:
        return ordered[-1].step_number
    return None
