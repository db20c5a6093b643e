"""Run an atomic step, which commits its checkpoint in its own transaction.

On the workflow database the fence is that transaction's last statement; on another one it is the
primary key of the checkpoint there, of which a copy goes to the workflow database (CORRECTNESS
rules 12 and 27). Before a run calls a step again, and before a failure is recorded, it is certain
that no earlier transaction of the step can still commit.
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import replace
from typing import Any

from django.db import Error, connections, transaction

from django_dbos.core import context
from django_dbos.core.records import Checkpoint, State, Write, run_key
from django_dbos.exceptions import (
    DbosError,
    HistoryUnusable,
    NondeterminismError,
    NotAllowedInAtomic,
    RunCancelled,
)
from django_dbos.operations.attempts import Recorder, record, record_error, record_failure
from django_dbos.operations.reads import patiently
from django_dbos.operations.retries import aretry, retry
from django_dbos.operations.run import Run
from django_dbos.operations.threads import perform_in_turn
from django_dbos.store import elsewhere, errors
from django_dbos.store.meanings import Meaning, Step
from django_dbos.store.sessions import is_of_testcase, translated_errors

logger = logging.getLogger("django_dbos.executor")

# Seconds before a step is repeated that failed through no fault of its own.
FIRST_REPEAT, LAST_REPEAT = 0.01, 2.0
# How often in a row a lost session is nobody's fault, while the database answers in between.
FORGIVEN_LOSSES = 10
# Runs of a step whose transaction took too long for the server: the process may have been stopped.
LEAST_RUNS = 2
# Looks at what a cancelled step has committed, for the history, while the database is away.
LAST_LOOKS = 6

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class _AnotherAttempt(Exception):
    """Brings a failed attempt's error from its thread to the loop."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class _NotRecorded(Exception):
    """Rolls an atomic step back whose checkpoint is there already, or whose claim is gone."""


def run_atomic(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what the step returned, now or in an earlier run; raise what it raised."""
    recorder.call.run.flush()
    return _AtomicStep(recorder, (args, kwargs)).perform()


async def arun_atomic(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """In an async run: the whole of it on one thread, with its own connection."""
    run = recorder.call.run
    branches = run.branches
    assert branches is not None
    try:
        while True:
            try:
                return await perform_in_turn(run, run_atomic, recorder, args, kwargs)
            except _AnotherAttempt as failed:
                recorded = await aretry(recorder, failed.error)
            if recorded is not None:
                return await run.aoutcome(recorded)
    finally:
        # It was recorded from another thread: outcomes recorded later wait for this one.
        await branches.turn(branches.expected(recorder.call.step_number))


def refuse_in_transaction(run: Run, name: str, alias: str | None) -> None:
    """Raise NotAllowedInAtomic where the step's own transaction would be a part of another one."""
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
        self._arguments = arguments
        self._call = recorder.call
        self._run = recorder.call.run
        self._store = self._run.host.store
        self._alias = recorder.step.using or self._store.alias
        self._is_elsewhere = self._alias != self._store.alias
        self._delay = FIRST_REPEAT
        self._losses = 0
        self._is_connected = self._has_erred = False
        """Whether the latest transaction had a connection, which has had an error."""
        self._backend: elsewhere.Backend | None = None
        """The session that it is, or was, in."""
        self._checkpoint: Checkpoint | None = None
        """What it has recorded: its COMMIT may have gone through."""

    def perform(self) -> Any:
        try:
            return self._perform()
        except RunCancelled:
            if self._is_elsewhere:
                self._keep_history_true()
            raise

    def _perform(self) -> Any:
        if self._is_elsewhere and self._run.claim.has_history:
            # An earlier claim may have committed it, and died before it was copied.
            found = patiently(self._run, self._find)
            if found is not None:
                return self._adopt(found)
        while True:
            try:
                return self._attempt()
            except (Exception, SystemExit) as error:
                if self._is_last(error):
                    return self._fail(error)
                if self._run.loop is not None:
                    # The next one is waited for on the loop, and not on this thread.
                    raise _AnotherAttempt(error) from error
                recorded = retry(self._recorder, error)
            if recorded is not None:
                return self._run.outcome(recorded)

    def _attempt(self) -> Any:
        """Make one attempt; what isn't the step's fault is repeated, and is none."""
        while True:
            # Not in the transaction: on SQLite that has the only write lock.
            self._run.ensure_claim(always=self._recorder.step.confirm)
            try:
                value = self._commit()
            except _NotRecorded:
                return self._adopt(self._recorded_by_another())
            except (Exception, SystemExit) as error:
                found = self._decide(error)
                if found is not None:
                    return self._adopt(found)
                if not self._is_forgiven(error):
                    raise
                self._wait(error)
            else:
                return self._copy(value)

    # The transaction

    def _commit(self) -> Any:
        self._checkpoint = self._backend = None
        self._is_connected = self._has_erred = False
        self._forget_old_errors()
        with transaction.atomic(using=self._alias):
            self._is_connected = True
            self._backend = elsewhere.backend_of(self._alias)
            try:
                value, checkpoint = self._run_function()
            except BaseException:
                # Here, since it is forgotten by the rollback.
                self._has_erred = connections[self._alias].errors_occurred
                raise
            self._checkpoint = checkpoint
        return value

    def _run_function(self) -> tuple[Any, Checkpoint]:
        value = self._call_function()
        checkpoint = self._recorder.returned(value)
        if self._run.branches is not None:
            self._run.branches.expect(checkpoint.step_number, checkpoint.record_order)
        self._record_in_transaction(checkpoint)
        return value, checkpoint

    def _forget_old_errors(self) -> None:
        """By the connection's mark it is known whether an error is of this database."""
        connection = connections[self._alias]
        if connection.errors_occurred:
            connection.close_if_unusable_or_obsolete()

    def _call_function(self) -> Any:
        scope = replace(self._recorder.scope(), atomic_alias=self._alias)
        with context.entered(self._run, scope):
            return self._recorder.call_function(*self._arguments)

    def _record_in_transaction(self, checkpoint: Checkpoint) -> None:
        """The fence: the last statement before COMMIT."""
        claim = self._run.claim
        if self._is_elsewhere:
            # No fence there knows of a cancel.
            if self._run.interruption is None:
                self._run.ensure_claim()
            self._run.check_in_step()
            is_new = elsewhere.record(self._alias, claim.token, checkpoint)
        else:
            executor_id = self._run.host.executor_id
            is_new = self._store.record_atomic_step(executor_id, claim.claim_number, checkpoint)
        if not is_new:
            raise _NotRecorded

    # What came of it

    def _decide(self, error: BaseException) -> Checkpoint | None:
        """What the transaction committed after all, once that is certain.

        Perhaps only the answer to COMMIT was lost, or what the step left to on_commit() failed.
        """
        connection = connections[self._alias]
        if self._checkpoint is None or connection.in_atomic_block:
            return None
        if self._is_of_database(error):
            connection.close()
            if self._backend is not None:
                backend = self._backend
                patiently(self._run, lambda: elsewhere.see_off(self._alias, backend))
        self._await_earlier(self._checkpoint)
        found = patiently(self._run, self._find)
        if found is not None:
            logger.warning(
                "%s is committed, although %r was raised then", self._call.what, error,
                exc_info=None if self._is_of_database(error) else error,
            )  # fmt: skip
        return found

    def _await_earlier(self, checkpoint: Checkpoint) -> None:
        """Wait until no transaction is under way that has recorded this step."""
        if self._is_elsewhere:
            token = self._run.claim.token
            patiently(self._run, lambda: elsewhere.await_earlier(self._alias, token, checkpoint))
        else:
            # Its fence has locked the workflow's row.
            self._run.submit(Write, None)

    def _recorded_by_another(self) -> Checkpoint:
        """What an earlier holder of the claim has recorded, once this run's own was refused."""
        self._run.submit(Write, None)
        found = patiently(self._run, self._find)
        if found is None:
            error = DbosError(f"{self._call.what} could not be recorded.")
            self._run.stop(HistoryUnusable(error))
        return found

    def _find(self) -> Checkpoint | None:
        """What is recorded of this step where its transactions are."""
        run, call = self._run, self._call
        if self._is_elsewhere:
            row = elsewhere.read(self._alias, run.claim.token, call.step_number)
            if row is None:
                return None
            found = replace(call.checkpoint(), step_name=row[0], output=row[1], error=row[2])
        else:
            recorded = self._store.reader.read_checkpoint(run.workflow_id, call.step_number)
            if recorded is None or recorded.state is State.WAITING:
                # What says when it is to be tried again is no outcome.
                return None
            found = recorded
        try:
            run.history.check(found, call.step_name)
        except NondeterminismError as error:
            run.stop(HistoryUnusable(error))
        return found

    def _adopt(self, found: Checkpoint) -> Any:
        if self._is_elsewhere:
            record(self._recorder, found, None)
        return self._run.outcome(found)

    def _copy(self, value: Any) -> Any:
        if self._is_elsewhere and self._checkpoint is not None:
            record(self._recorder, self._checkpoint, value)
        return value

    # What it means

    def _is_of_database(self, error: BaseException) -> bool:
        """Whether it is an error of the step's database, or of the engine's own statements."""
        if isinstance(error, errors.StoreError):
            return True
        is_here = self._has_erred or self._checkpoint is not None or not self._is_connected
        return is_here and (isinstance(error, Error) or errors.is_exhaustion(error))

    def _meaning(self, error: BaseException) -> Meaning | None:
        is_open = connections[self._alias].in_atomic_block
        return errors.meaning_of(error) if self._is_of_database(error) and not is_open else None

    def _is_forgiven(self, error: BaseException) -> bool:
        """Whether the step is repeated without counting an attempt."""
        meaning = self._meaning(error)
        if meaning is None:
            return False
        if isinstance(error, errors.LockTimeout):
            # Of the engine's own statement: somebody's transaction holds the workflow's row.
            return True
        if meaning.step is Step.REPEAT_AT_FIRST:
            # Once there was a session, it may be the step's doing that it was lost.
            self._losses += self._is_connected
            patiently(self._run, self._ask_for_nothing)
            return self._losses <= FORGIVEN_LOSSES
        return meaning.step is Step.REPEAT

    def _ask_for_nothing(self) -> None:
        with connections[self._alias].cursor() as cursor:
            cursor.execute("SELECT 1")

    def _is_last(self, error: BaseException) -> bool:
        recorder, meaning = self._recorder, self._meaning(error)
        if meaning is not None and meaning.step is Step.COUNT_TWICE:
            runs = max(recorder.step.max_attempts, LEAST_RUNS)
            return recorder.attempt >= runs
        return recorder.step.is_last(recorder.attempt, error)

    def _wait(self, error: BaseException) -> None:
        """Before a repeat: a pause, then a look at the claim."""
        run = self._run
        logger.warning("%s is repeated, which counts as no attempt: %r", self._call.what, error)
        until = time.monotonic() + self._delay * random.uniform(0.5, 1.0)
        self._delay = min(self._delay * 2, LAST_REPEAT)
        with run.host.store.wakeups.watch(run_key(run.workflow_id)) as watch:
            while (left := until - time.monotonic()) > 0:
                run.check()
                watch.wait(left)
        run.check()
        run.submit(Write, None)

    # How it ends

    def _fail(self, error: BaseException) -> Any:
        """Record that it failed: first elsewhere, so that no late COMMIT can make it untrue."""
        if not self._is_elsewhere:
            return record_error(self._recorder, error)
        checkpoint, as_raised = self._recorder.raised(error)
        token = self._run.claim.token
        try:
            is_new = patiently(self._run, lambda: elsewhere.record(self._alias, token, checkpoint))
        except errors.StoreError as refused:
            # Then nothing else can be recorded there either.
            logger.warning("%s can't be recorded on %r: %r", self._call.what, self._alias, refused)
            is_new = True
        if not is_new:
            return self._adopt(self._recorded_by_another())
        return record_failure(self._recorder, checkpoint, as_raised)

    def _keep_history_true(self) -> None:
        """After a cancel: what is committed elsewhere goes into the history all the same."""
        if connections[self._alias].in_atomic_block:
            return
        for delay in (0.0, *(FIRST_REPEAT * 4**power for power in range(LAST_LOOKS))):
            time.sleep(delay)
            try:
                with translated_errors():
                    self._copy_for_history()
            except errors.StoreError as error:
                connections[self._alias].close()
                logger.warning(
                    "It isn't known whether %s was committed on %r before its workflow was "
                    "cancelled; resume() will find out: %r",
                    self._call.what, self._alias, error,
                )  # fmt: skip
            else:
                return

    def _copy_for_history(self) -> None:
        token = self._run.claim.token
        if self._checkpoint is not None:
            elsewhere.await_earlier(self._alias, token, self._checkpoint)
        found = self._find()
        if found is not None:
            self._store.record_for_history(token, found)
