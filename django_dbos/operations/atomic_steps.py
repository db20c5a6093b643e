"""Run an atomic step, which commits its checkpoint in its own transaction.

On the workflow database the fence is that transaction's last statement; on another one it is the
primary key of the checkpoint there, of which a copy goes to the workflow database (CORRECTNESS
rules 12 and 27).
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from django.db import InterfaceError, OperationalError, connections, transaction

from django_dbos.core import context
from django_dbos.core.records import Checkpoint, Write
from django_dbos.exceptions import DbosError, HistoryUnusable
from django_dbos.operations.attempts import Recorder, pause, record, record_error
from django_dbos.operations.threads import perform_in_turn
from django_dbos.store import errors

# Seconds before an atomic step is repeated that failed through no fault of its own.
FIRST_REPEAT, LAST_REPEAT = 0.01, 2.0
# Serialization failures and deadlocks: the database asks for the transaction to be repeated.
REPEATABLE = frozenset({"40001", "40P01"})


class _NotRecorded(Exception):
    """Rolls an atomic step back whose checkpoint is there already, or whose claim is gone."""


def run_atomic(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    run = recorder.call.run
    run.flush()
    found = _recorded_elsewhere(recorder)
    if found is not None:
        record(recorder, found, None)
        return run.outcome(found)
    while True:
        try:
            value, checkpoint = _commit(recorder, args, kwargs)
        except (Exception, SystemExit) as error:
            if not recorder.step.is_last(recorder.attempt, error):
                pause(recorder)
                continue
            return record_error(recorder, error)
        if checkpoint is not None and _alias(recorder) != run.host.store.alias:
            record(recorder, checkpoint, value)
        return value


async def arun_atomic(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """In an async run: the whole of it on one thread, with its own connection."""
    branches = recorder.call.run.branches
    assert branches is not None
    try:
        return await perform_in_turn(recorder.call.run, run_atomic, recorder, args, kwargs)
    finally:
        # It was recorded from another thread: outcomes recorded later wait for this one.
        await branches.turn(branches.expected(recorder.call.step_number))


def _commit(
    recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, Checkpoint | None]:
    """Run the step in its transaction; return its value, and its checkpoint if it is new.

    What isn't the step's fault is repeated until it is decided, and is no attempt.
    """
    run, delay = recorder.call.run, FIRST_REPEAT
    while True:
        checkpoint = None
        # Not in the transaction: on SQLite that has the only write lock.
        run.ensure_claim(always=recorder.step.confirm)
        try:
            with transaction.atomic(using=_alias(recorder)):
                value = _attempt_atomic(recorder, args, kwargs)
                checkpoint = recorder.returned(value)
                if run.branches is not None:
                    run.branches.expect(checkpoint.step_number, checkpoint.record_order)
                _record_in_transaction(recorder, checkpoint)
            return value, checkpoint
        except _NotRecorded:
            run.submit(Write, None)
            return run.outcome(_adopted(recorder)), None
        except (OperationalError, InterfaceError) as error:
            if run.host.store.is_in_transaction() or not _is_repeatable(error, recorder):
                raise
            # Perhaps only the answer to COMMIT was lost: the checkpoint decides.
            connections[_alias(recorder)].close()
            found = checkpoint and _find_patiently(recorder)
            if found:
                return run.outcome(found), checkpoint
        time.sleep(delay)
        delay = min(delay * 2, LAST_REPEAT)
        run.check()
        run.submit(Write, None)


def _attempt_atomic(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    scope = replace(recorder.scope(), atomic_alias=_alias(recorder))
    with context.entered(recorder.call.run, scope):
        return recorder.call_function(args, kwargs)


def _alias(recorder: Recorder) -> str:
    return recorder.step.using or recorder.call.run.host.store.alias


def _record_in_transaction(recorder: Recorder, checkpoint: Checkpoint) -> None:
    """The fence: the last statement before COMMIT."""
    run, alias = recorder.call.run, _alias(recorder)
    store, claim = run.host.store, run.claim
    if alias == store.alias:
        is_new = store.record_atomic_step(run.host.executor_id, claim.claim_number, checkpoint)
    else:
        is_new = store.record_step_elsewhere(alias, claim.token, checkpoint)
    if not is_new:
        raise _NotRecorded


def _adopted(recorder: Recorder) -> Checkpoint:
    """What an earlier holder of the claim recorded here, once this run's own was refused."""
    run = recorder.call.run
    found = _find(recorder)
    if found is None:
        run.stop(HistoryUnusable(DbosError(f"{recorder.call.what} could not be recorded.")))
    return found


def _find(recorder: Recorder) -> Checkpoint | None:
    run, call = recorder.call.run, recorder.call
    if _alias(recorder) != run.host.store.alias:
        return _find_elsewhere(recorder)
    found = run.host.store.reader.read_checkpoint(run.workflow_id, call.step_number)
    if found is not None:
        run.history.check(found, call.step_name)
    return found


def _find_patiently(recorder: Recorder) -> Checkpoint | None:
    """Look until the database answers."""
    delay = FIRST_REPEAT
    while True:
        try:
            return _find(recorder)
        except (OperationalError, InterfaceError):
            connections[_alias(recorder)].close()
            recorder.call.run.check()
            time.sleep(delay)
            delay = min(delay * 2, LAST_REPEAT)


def _recorded_elsewhere(recorder: Recorder) -> Checkpoint | None:
    """What an earlier claim committed on another database, and died before copying."""
    run = recorder.call.run
    if _alias(recorder) == run.host.store.alias or not run.claim.has_history:
        return None
    return _find_elsewhere(recorder)


def _find_elsewhere(recorder: Recorder) -> Checkpoint | None:
    run, call = recorder.call.run, recorder.call
    found = run.host.store.read_step_elsewhere(_alias(recorder), run.claim.token, call.step_number)
    if found is None:
        return None
    checkpoint = replace(call.checkpoint(), step_name=found[0], output=found[1])
    run.history.check(checkpoint, call.step_name)
    return checkpoint


def _is_repeatable(error: Exception, recorder: Recorder) -> bool:
    if isinstance(error, errors.StoreError):
        return not isinstance(error, errors.BadStatement)
    connection = connections[_alias(recorder)]
    if connection.vendor == "sqlite":
        return "locked" in str(error) or "busy" in str(error)
    sqlstate = getattr(error.__cause__, "sqlstate", "")
    return sqlstate is None or sqlstate in REPEATABLE or sqlstate[:2] in ("08", "57")
