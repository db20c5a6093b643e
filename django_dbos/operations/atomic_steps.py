"""Run an atomic step, which commits its checkpoint in its own transaction.

On the workflow database the fence is that transaction's last statement; on another one it is the
primary key of the checkpoint there, of which a copy goes to the workflow database (CORRECTNESS
rules 12 and 27). Before a run calls a step again, and before a failure is recorded, no earlier
transaction of the step can commit any more.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

from django.db import Error, connections

from django_dbos import telemetry
from django_dbos.core.records import Checkpoint
from django_dbos.exceptions import EncryptionKeyMissing, NotAllowedInAtomic
from django_dbos.interruptions import RunCancelled
from django_dbos.operations import places
from django_dbos.operations._sync.reads import patiently
from django_dbos.operations._sync.recording import record, record_failure
from django_dbos.operations._sync.retries import retry
from django_dbos.operations.atomic_transactions import Arguments, NotRecorded, StepTransaction
from django_dbos.operations.recorder import Recorder
from django_dbos.operations.repeats import Repeats
from django_dbos.operations.retries import aretry
from django_dbos.operations.run import Run
from django_dbos.operations.threads import perform_in_turn
from django_dbos.store.sessions import is_of_testcase, translated_errors
from django_dbos.telemetry import concealing

logger = logging.getLogger("django_dbos.executor")

# Tries to copy the outcome of a cancelled step to the history while the database is away, and
# the first pause between them in seconds.
LAST_LOOKS, FIRST_PAUSE = 6, 0.01


class _AnotherAttempt(Exception):
    """Carries a failed attempt's error from its thread to the loop."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


def run_atomic(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the step's value, of this run or an earlier one, or raise its error."""
    recorder.call.run.flush()
    return _AtomicStep(recorder, (args, kwargs)).perform()


async def arun_atomic(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run all of an atomic step on one thread, with its own connection, in an async run."""
    run = recorder.call.run
    branches = run.branches
    assert branches is not None
    try:
        while True:
            try:
                with run.attempting():
                    await places.aregain(run)
                    return await perform_in_turn(run, run_atomic, recorder, args, kwargs)
            except _AnotherAttempt as failed:
                recorded = await aretry(recorder, failed.error)
            if recorded is not None:
                return await run.aoutcome(recorded)
    finally:
        # Another thread has recorded the step, and later outcomes wait for this one.
        await branches.turn(recorder.leave())


def refuse_in_transaction(run: Run, name: str, alias: str | None) -> None:
    """Raise NotAllowedInAtomic if the step's transaction would be a part of another one."""
    connection = connections[alias or run.host.store.alias]
    blocks = connection.atomic_blocks
    is_manual = not connection.in_atomic_block and not connection.autocommit
    is_open = bool(blocks) and not is_of_testcase(blocks[-1])
    if is_open or (is_manual and connection.connection is not None):
        raise NotAllowedInAtomic(name, connection.alias)


class _AtomicStep:
    """One call of an atomic step."""

    def __init__(self, recorder: Recorder, arguments: Arguments) -> None:
        self._recorder = recorder
        self._call = recorder.call
        self._run = recorder.call.run
        self._transaction = StepTransaction(recorder, arguments)
        self._is_elsewhere = self._transaction.is_elsewhere
        self._repeats = Repeats(recorder, self._transaction)
        self._value: Any = None
        """The value that the function returned."""

    def perform(self) -> Any:
        try:
            return self._perform()
        except RunCancelled:
            if self._is_elsewhere:
                self._keep_history_true()
            raise

    def _perform(self) -> Any:
        found = None
        if self._is_elsewhere and self._run.claim.has_history:
            # An earlier claim may have committed it, and died before it was copied.
            found = patiently(self._run, self._transaction.find)
        while found is None:
            try:
                found = self._attempt()
            except EncryptionKeyMissing as error:
                self._run.await_key(error)
            except (Exception, SystemExit) as error:
                if self._repeats.is_last(error):
                    return self._fail(error)
                if self._run.loop is not None:
                    # The wait for the next attempt is on the loop, not on this thread.
                    raise _AnotherAttempt(error) from error
                recorded = retry(self._recorder, error)
            else:
                break
            if recorded is not None:
                return self._run.outcome(recorded)
        return self._copy() if found is None else self._adopt(found)

    def _attempt(self) -> Checkpoint | None:
        """Make one attempt; repeat it after errors that aren't the step's fault.

        Returns the checkpoint to adopt instead of the function's value; None for the value.
        """
        while True:
            # Outside the transaction, which on SQLite has the only write lock.
            self._run.ensure_claim(always=self._recorder.step.confirm)
            try:
                self._value = self._transaction.commit()
            except NotRecorded:
                return self._transaction.recorded_by_another()
            except (Exception, SystemExit) as error:
                found = self._transaction.decide(error)
                if found is not None:
                    return found
                self._recorder.retract()
                if not self._repeats.is_forgiven(error):
                    raise
                self._repeats.wait(error)
            else:
                return None

    def _copy(self) -> Any:
        if self._is_elsewhere and self._transaction.checkpoint is not None:
            return self._record(self._transaction.checkpoint, self._value)
        if self._transaction.checkpoint is not None:
            telemetry.step_recorded(self._call, self._transaction.checkpoint)
        return self._value

    def _adopt(self, found: Checkpoint) -> Any:
        if self._is_elsewhere:
            self._recorder.announce()
            found = replace(found, record_order=self._run.history.next_record_order())
            self._record(found, None)
        return self._run.outcome(found)

    def _record(self, checkpoint: Checkpoint, value: Any) -> Any:
        self._recorder.announce(checkpoint)
        return record(self._recorder, checkpoint, value)

    def _fail(self, error: BaseException) -> Any:
        """Record the failure: first elsewhere, so that no late COMMIT can contradict it."""
        self._recorder.announce()
        checkpoint, as_raised = self._recorder.raised(error)
        if self._is_elsewhere and not self._is_recorded_elsewhere(checkpoint):
            return self._adopt(self._transaction.recorded_by_another())
        self._recorder.announce(checkpoint)
        return record_failure(self._recorder, checkpoint, as_raised)

    def _is_recorded_elsewhere(self, checkpoint: Checkpoint) -> bool:
        """Record a failure on the step's database; return False if it already has an outcome."""
        try:
            return self._transaction.record_apart(checkpoint)
        except Error as refused:
            # Then no late COMMIT can be recorded there either.
            logger.warning(
                "The failure of %s can't be recorded on the step's database: %r",
                self._call.label,
                concealing.shown(self._run.definition.name, refused),
                extra=self._call.run.log_fields,
            )
            return True

    def _keep_history_true(self) -> None:
        """Copy to the history, after a cancel, the outcome that is committed elsewhere."""
        if self._transaction.is_in_another:
            return
        for delay in (0.0, *(FIRST_PAUSE * 4**power for power in range(LAST_LOOKS))):
            time.sleep(delay)
            try:
                with translated_errors():
                    self._transaction.copy_for_history()
            except Error as error:
                self._transaction.close()
                logger.warning(
                    "It is unknown whether %s was committed on %r before its workflow was "
                    "cancelled; resume() will find out: %r",
                    self._call.label, self._transaction.alias,
                    concealing.shown(self._run.definition.name, error),
                    extra=self._call.run.log_fields,
                )  # fmt: skip
            else:
                return
