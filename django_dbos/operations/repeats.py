"""Repeats of an atomic step after errors that are not its own; they don't count as attempts."""

from __future__ import annotations

import logging
import random

from django_dbos.core.records import Write, run_key
from django_dbos.operations._sync.polling import Pause, until
from django_dbos.operations._sync.reads import patiently
from django_dbos.operations.atomic_transactions import StepTransaction
from django_dbos.operations.recorder import Recorder
from django_dbos.store import errors
from django_dbos.store.meanings import Step
from django_dbos.telemetry import concealing

logger = logging.getLogger("django_dbos.executor")

# The first and the longest pause before a repeat, in seconds.
FIRST_REPEAT, LAST_REPEAT = 0.01, 2.0
# The number of lost sessions in a row that is tolerated while the database answers in between.
FORGIVEN_LOSSES = 10
# The least runs of a step whose transaction was too long for the server: the process may have
# been stopped meanwhile.
LEAST_RUNS = 2


class Repeats:
    """The repeats of one step, and the meaning of its errors."""

    def __init__(self, recorder: Recorder, step_transaction: StepTransaction) -> None:
        self._recorder = recorder
        self._call = recorder.call
        self._run = recorder.call.run
        self._transaction = step_transaction
        self._delay = FIRST_REPEAT
        self._losses = 0

    def is_forgiven(self, error: BaseException) -> bool:
        """Return True if the step is repeated without counting an attempt."""
        meaning = self._transaction.meaning(error)
        if meaning is None:
            return False
        if isinstance(error, errors.LockTimeout):
            # The engine's own statement: another transaction holds the workflow's row.
            return True
        if meaning.step is Step.REPEAT_AT_FIRST:
            # Once there was a session, the step may have caused its loss.
            self._losses += self._transaction.is_connected
            patiently(self._run, self._transaction.ping)
            return self._losses <= FORGIVEN_LOSSES
        return meaning.step is Step.REPEAT

    def is_last(self, error: BaseException) -> bool:
        """Return True if no attempt follows the one that raised this error."""
        recorder, meaning = self._recorder, self._transaction.meaning(error)
        if meaning is not None and meaning.step is Step.COUNT_TWICE:
            runs = max(recorder.step.max_attempts, LEAST_RUNS)
            return recorder.attempt >= runs
        return recorder.is_last(error)

    def wait(self, error: BaseException) -> None:
        """Pause before a repeat, then confirm the claim."""
        run = self._run
        logger.warning(
            "%s is repeated without counting an attempt: %r",
            self._call.label,
            concealing.shown(run.definition.name, error),
            extra=run.log_fields,
        )
        pause = Pause(run, self._delay * random.uniform(0.5, 1.0))
        self._delay = min(self._delay * 2, LAST_REPEAT)
        with run.host.store.wakeups.watch(run_key(run.workflow_id)) as watch:
            until(watch, pause)
        run.submit(Write, None)
