"""Forms: a workflow waits until a person has filled in a form, which may be days later.

The wait is one for a message on a topic of the form's own. Reminders divide it: each part ends with
a timeout, and a step then calls the hook. At the end the form's row is closed, which shows whether
an answer came first (CORRECTNESS rule 83).
"""

from __future__ import annotations

import logging
from typing import Any

from django_dbos import offloading, serializers
from django_dbos.core.records import Asked, Checkpoint, NewInquiry, State, Wake
from django_dbos.operations import (
    audiences,
    form_classes,
    reads,
    recorded_call,
    reminders,
    steps,
    waits,
)
from django_dbos.operations.form_requests import FormAnswer, FormRequest
from django_dbos.operations.run import Call, Run, operation_name
from django_dbos.operations.timeouts import default_or_raise, form_label
from django_dbos.telemetry import concealing

logger = logging.getLogger("django_dbos.executor")


async def await_for_form(run: Run, request: FormRequest, default: Any) -> Any:
    """Wait until the form is answered; return a FormAnswer."""
    asked_at = 0
    for number, limit in enumerate((*request.reminders, request.timeout), start=1):
        call = _begin(run, "await_for_form", request)
        asked_at = asked_at or call.step_number
        checkpoint = await _await_answer(call, request, asked_at, limit)
        if checkpoint.state is not State.TIMED_OUT:
            return FormAnswer(*await run.aoutcome(checkpoint))
        if number <= len(request.reminders):
            await _aremind(run, request, asked_at, number)
    return await _aclose(run, request, asked_at, default)


async def _await_answer(
    call: Call, request: FormRequest, asked_at: int, limit: float | None
) -> Checkpoint:
    """Wait until `limit` seconds have passed since the form was asked for."""
    run = call.run
    if call.found is not None:
        return await waits.await_(call, Wake.of_message(run.workflow_id, ""), limit)
    asked = await aask(call, request, asked_at)
    timeout = None if limit is None else max(limit - asked.age, 0.0)
    return await waits.await_(call, Wake.of_message(run.workflow_id, asked.topic), timeout)


async def aask(call: Call, request: FormRequest, asked_at: int, position: int = 0) -> Asked:
    """Return the row of the form, which is there for everyone who may answer it.

    It isn't recorded: the row is found again by its workflow and step, also by a replay, and a fork
    asks for a form of its own.
    """
    run = call.run
    new = NewInquiry(
        kind="form",
        step_number=asked_at,
        position=position,
        timeout=request.timeout,
        form_name=request.path,
        title=request.title or request.name,
        description=request.description,
        initial=request.initial,
        audience=request.audience,
    )

    def ask() -> Asked | None:
        if not call.has_waited:
            form_classes.make(request.path, serializers.loads(request.initial or "{}"))
            audiences.warn_of_unknown(request.audience, request.path, run.log_fields)
        return run.host.store.ask(run.claim, offloading.offloaded(new))

    try:
        asked = await reads.apatiently(run, ask)
    except Exception as error:
        # The form class is the project's, and may raise anything.
        await run.afail(call, error)
    if asked is None:
        await run.aensure_claim(always=True)
        raise RuntimeError(f"Form {request.path!r} of {call.label} has no row.")
    return asked


async def _aremind(run: Run, request: FormRequest, asked_at: int, number: int) -> None:
    """Call the hook in a step. Its error is logged and recorded, and the wait goes on."""
    is_replaying, hook = run.history.is_replaying, request.on_reminder
    step = reminders.step_of(run, hook, request.reminder_options, asked_at, request.name, number)
    try:
        await steps.arun_step(run, step, (), {})
    except Exception as error:
        if not is_replaying:
            logger.error(
                "Reminder %d of form %r failed", number, request.path,
                exc_info=concealing.shown(run.definition.name, error),
                extra=run.log_fields,
            )  # fmt: skip


async def _aclose(run: Run, request: FormRequest, asked_at: int, default: Any) -> Any:
    """Close the form; return the default, unless an answer has come just before."""
    if await aclose_forms(run, asked_at):
        # Its message was committed with it.
        call = _begin(run, "await_for_form", request)
        checkpoint = await _await_answer(call, request, asked_at, 0.0)
        if checkpoint.state is not State.TIMED_OUT:
            return FormAnswer(*await run.aoutcome(checkpoint))
    return default_or_raise(form_label(request.title or request.name), request.timeout, default)


async def aclose_forms(run: Run, asked_at: int) -> bool:
    """Close the forms that were asked for at a step; return whether one was answered before."""
    closed = await recorded_call.aperform(
        run, "close_form", lambda: run.host.store.close_inquiry(run.claim, asked_at)
    )
    return bool(closed)


def _begin(run: Run, operation: str, request: FormRequest) -> Call:
    """Take the next position for a part of the wait."""
    name = operation_name("wait_for_form", request.name)
    return run.begin(operation, name, request.fingerprint if run.is_concurrent else None)
