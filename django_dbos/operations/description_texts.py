"""Descriptions in words: `str(handle.describe())`, a paragraph for a person."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django_dbos.core.status import ACTIVE, Status

# The WorkflowDescription of `describing`, whose path is in histories: it stays there.
WorkflowDescription = Any


def text_of(about: WorkflowDescription) -> str:
    """Return where a workflow is and why, its steps and children, and what comes next."""
    return "\n".join(_sentences(about))


def _sentences(about: WorkflowDescription) -> Iterator[str]:
    yield f"Workflow {about.workflow_id!r} ({about.name}) {_state(about)}."
    yield " ".join(_origin(about))
    if about.why_not_running is not None:
        yield about.why_not_running
    if about.recovery_attempts:
        yield f"{_deaths(about.recovery_attempts)} died while running it."
    yield " ".join(_steps(about))
    if about.children:
        kinds = ", ".join(f"{count} {status}" for status, count in sorted(about.children.items()))
        yield f"It has started {_count(sum(about.children.values()), 'workflow')}: {kinds}."
    if about.error is not None:
        yield f"Its error is {about.error}"
    yield f"Next: {_next(about)}"


def _state(about: WorkflowDescription) -> str:
    if about.is_quarantined:
        return f"was quarantined at {_instant(about.finished_at)}"
    match about.status:
        case Status.ENQUEUED:
            return f"is in queue {about.queue_name!r}"
        case Status.DELAYED:
            return f"is delayed until {_instant(about.due_at)}"
        case Status.PENDING:
            return f"runs in worker {about.executor_id!r}"
        case Status.WAITING:
            until = (
                "" if about.due_at is None else f", until {_instant(about.due_at)} at the latest"
            )
            return f"waits for {about.waits_for}{until}"
        case Status.SUCCESS:
            return f"succeeded at {_instant(about.finished_at)}"
        case Status.ERROR:
            return f"failed at {_instant(about.finished_at)}"
        case Status.CANCELLED:
            return f"was cancelled at {_instant(about.finished_at)}"
    return f"was given up at {_instant(about.finished_at)}"


def _origin(about: WorkflowDescription) -> Iterator[str]:
    by = "" if about.user_id is None else f" for user {about.user_id!r}"
    of = "" if about.parent_id is None else f" by workflow {about.parent_id!r}"
    yield f"It was created at {_instant(about.created_at)}{by}{of},"
    key = "" if about.partition_key is None else f", partition key {about.partition_key!r}"
    queue = f"in queue {about.queue_name!r} with priority {about.priority}{key},"
    if about.started_at is None:
        yield f"{queue} and hasn't begun."
    else:
        yield f"{queue} and first began at {_instant(about.started_at)}."
    if about.run_number > 1:
        yield f"This is its run {about.run_number}: it has continued as new."


def _steps(about: WorkflowDescription) -> Iterator[str]:
    if not about.steps:
        yield "No step is recorded."
        return
    yield f"{_count(about.steps, 'step')} {'is' if about.steps == 1 else 'are'} recorded,"
    yield f"the last one is {about.last_step}."
    if about.failed_attempts:
        yield f"It has failed in {_count(about.failed_attempts, 'attempt')} so far."


def _next(about: WorkflowDescription) -> str:
    if about.status in ACTIVE:
        ends = (
            ""
            if about.deadline_at is None
            else f" It is cancelled at {_instant(about.deadline_at)}, unless it has ended."
        )
        return f"{_continuation(about)}{ends}"
    if about.is_quarantined:
        return "nothing, until resume() after a fix: it then goes on from its recorded steps."
    if about.status in (Status.CANCELLED, Status.MAX_RECOVERY_ATTEMPTS_EXCEEDED):
        return "nothing; resume() lets it go on from its recorded steps."
    return "nothing; it has ended."


def _continuation(about: WorkflowDescription) -> str:
    if about.missing_key is not None:
        return (
            f"it goes on once a worker has key {about.missing_key!r} in DBOS['ENCRYPTION']['KEYS']."
        )
    match about.status:
        case Status.ENQUEUED if about.started_at is None:
            return "a worker of its queue claims it, and it begins."
        case Status.ENQUEUED:
            return "a worker of its queue claims it, and it goes on after its recorded steps."
        case Status.DELAYED:
            return f"it joins queue {about.queue_name!r} then; run_now() starts it at once."
        case Status.WAITING if about.due_at is None:
            return "it goes on when that has come; there is no other limit."
        case Status.WAITING:
            return "it goes on when that has come, or at that time."
    return "it goes on by itself; if its worker dies, another one continues it."


def _deaths(number: int) -> str:
    return "A worker" if number == 1 else f"{number} workers in a row"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _instant(value: datetime | None) -> str:
    return "an unknown time" if value is None else value.isoformat(" ", "seconds")
