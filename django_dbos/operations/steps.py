"""Run a step: replay the recorded outcome, or attempt the step and record the outcome."""

from __future__ import annotations

from typing import Any

from django_dbos import serializers, telemetry
from django_dbos.exceptions import DbosError, EncryptionKeyMissing
from django_dbos.operations.atomic_steps import arun_atomic, refuse_in_transaction
from django_dbos.operations.attempts import aattempt
from django_dbos.operations.ordering import Branches
from django_dbos.operations.recorder import Recorder
from django_dbos.operations.recording import arecord, arecord_error
from django_dbos.operations.retries import apause_until_due, aretry
from django_dbos.operations.run import Call, Run
from django_dbos.operations.step_definitions import StepDefinition


async def arun_step(
    run: Run, step: StepDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Return the step's value, of this run or an earlier one, or raise its error."""
    if step.is_atomic and run.loop is None:
        refuse_in_transaction(run, step.name, step.using)
    fingerprint = None if run.branches is None else _fingerprint(run.branches, args, kwargs)
    call = run.begin(step.name, step.name, fingerprint)
    if call.found is not None:
        await run.turn(call.found)
        return await run.aoutcome(call.found)
    with telemetry.around("stepping", call):
        return await _anew(call, step, args, kwargs)


async def _anew(
    call: Call, step: StepDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Attempt a step that isn't recorded, until its outcome is."""
    run, recorder = call.run, Recorder(call, step)
    if call.has_waited:
        await apause_until_due(recorder)
    if step.is_atomic:
        return await arun_atomic(recorder, args, kwargs)
    while True:
        try:
            value = await aattempt(recorder, args, kwargs)
            checkpoint = recorder.returned(value)
        except EncryptionKeyMissing as error:
            run.await_key(error)
        except (Exception, SystemExit) as error:
            if recorder.is_last(error):
                return await arecord_error(recorder, error)
            found = await aretry(recorder, error)
            if found is not None:
                return await run.aoutcome(found)
        else:
            return await arecord(recorder, checkpoint, value)


def _fingerprint(branches: Branches, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Return a digest of the arguments, which distinguishes the calls of concurrent branches.

    None while there is one branch, and for arguments that can't be serialized.
    """
    if not branches.is_concurrent:
        return None
    try:
        return serializers.fingerprint_of([args, kwargs])
    except DbosError:
        return None
