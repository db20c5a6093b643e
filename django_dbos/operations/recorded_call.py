"""Read or change other workflows from workflow code: once, and what that said is recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django_dbos import serializers
from django_dbos.core.records import RecordStep
from django_dbos.exceptions import DbosError
from django_dbos.operations import reads
from django_dbos.operations.run import Run

T = TypeVar("T")


def perform(run: Run, operation: str, step_name: str, do: Callable[[], T]) -> T:
    """Do it, and record its answer; or return what an earlier run was answered."""
    call = run.begin(operation, step_name)
    if call.found is not None:
        return run.outcome(call.found)  # type: ignore[no-any-return]
    run.ensure_claim()
    try:
        value = reads.patiently(run, do)
    except DbosError as error:
        run.fail(call, error)
    output = serializers.dumps(value, label=f"What {call.what} read")
    answer = run.submit(RecordStep, call, checkpoint=call.checkpoint(output=output))
    return value if answer.checkpoint is None else run.outcome(answer.checkpoint)


async def aperform(run: Run, operation: str, step_name: str, do: Callable[[], T]) -> T:
    """See perform()."""
    call = run.begin(operation, step_name)
    if call.found is not None:
        await run.turn(call.found)
        return await run.aoutcome(call.found)  # type: ignore[no-any-return]
    await run.aensure_claim()
    try:
        value = await reads.apatiently(run, do)
    except DbosError as error:
        await run.afail(call, error)
    output = serializers.dumps(value, label=f"What {call.what} read")
    answer = await run.asubmit(RecordStep, call, checkpoint=call.checkpoint(output=output))
    return value if answer.checkpoint is None else await run.aoutcome(answer.checkpoint)
