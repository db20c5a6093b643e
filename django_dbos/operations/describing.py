"""Describe a workflow: its status, the reason for it, and its times."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db.models import Count

from django_dbos import serializers
from django_dbos.core.queues import RESERVED
from django_dbos.core.records import WakeKind, form_of_topic
from django_dbos.core.status import Status
from django_dbos.exceptions import SerializationError, WorkflowDoesNotExist
from django_dbos.operations import description_texts, queues

if TYPE_CHECKING:
    from django_dbos.models import Workflow
    from django_dbos.store.base import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowDescription:
    """The state of a workflow, as `handle.describe()` returns it."""

    # Fields that later versions have added have defaults: histories hold descriptions without them.

    workflow_id: str
    name: str
    version: str | None = None
    """The version of the function that runs it; None if that has no versions."""
    status: Workflow.Status
    is_quarantined: bool
    """True if the engine stopped it, for the reason in `error`; `resume()` it after a fix."""
    why_not_running: str | None = None
    """The reasons why it is enqueued and doesn't run, such as "Queue 'mail' is at 10 of 10."; also
    of a PENDING workflow that has waited, and needs a place again. None if there are none."""
    queue_name: str
    partition_key: str | None = None
    priority: int
    deduplication_id: str | None
    unique_until: datetime | None = None
    """The time until which it keeps that id, even if it ends before."""
    debounce_key: str | None = None
    user_id: str | None
    attributes: dict[str, Any] | None
    parent_id: str | None
    forked_from: str | None = None
    """The workflow whose history it has got, up to `forked_at_step`."""
    forked_at_step: int | None = None
    """The first step of a fork that has run in it."""
    executor_id: str | None
    """The worker that runs it, while it is PENDING."""
    run_number: int = 1
    """1, and 1 more for each continue_as_new(); `PastRun` has the runs before."""
    recovery_attempts: int
    """The number of workers in a row that died running it, without progress."""
    waits_for: str | None
    """The awaited thing while it is WAITING: "message 'paid'", "sleep", "result of 'w'"."""
    due_at: datetime | None
    """The latest time of its next run: a delayed start, the end of a sleep, a wait's timeout."""
    deadline_at: datetime | None
    """The time at which it is cancelled, unless it has ended."""
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None
    """The class and message of the error that it raised; get_result() raises that error."""
    steps: int = 0
    """The number of recorded steps and operations of this run."""
    last_step: str | None = None
    """The name and number of the last one: "'shop.charge' (7)"."""
    failed_attempts: int = 0
    """The failed attempts at that step, while another one follows."""
    children: dict[str, int] | None = None
    """The numbers of the workflows that it has started, by their status; None if there are none."""
    missing_key: str | None = None
    """The key of DBOS["ENCRYPTION"] that it waits for, since its last worker didn't have it."""

    def __str__(self) -> str:
        return description_texts.text_of(self)


def describe(store: Store, workflow_id: str) -> WorkflowDescription:
    """Read a workflow's row, without input and output, and count its steps and children.

    Raises:
        WorkflowDoesNotExist: There is no such workflow.
    """
    # Not at the top: `import django_dbos` works before the apps are loaded.
    from django_dbos.models import Workflow

    found = Workflow.objects.using(store.alias).filter(workflow_id=workflow_id)
    row: Any = found.defer("input_text", "output_text").first()
    if row is None:
        raise WorkflowDoesNotExist(workflow_id)
    return WorkflowDescription(
        workflow_id=row.workflow_id,
        name=row.name,
        version=row.version or None,
        status=Workflow.Status(row.status),
        is_quarantined=row.is_quarantined,
        why_not_running=why_not_running(store, row),
        queue_name=row.queue_name,
        partition_key=row.partition_key or None,
        priority=row.priority,
        deduplication_id=row.deduplication_id,
        unique_until=row.unique_until,
        debounce_key=row.debounce_key,
        user_id=row.user_id,
        attributes=row.attributes,
        parent_id=row.parent_id,
        forked_from=row.forked_from,
        forked_at_step=row.forked_at_step,
        executor_id=row.executor_id,
        run_number=row.run_number,
        recovery_attempts=row.recovery_attempts,
        waits_for=awaited(row),
        due_at=row.due_at,
        deadline_at=row.deadline_at,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        error=_summary(row.error_text),
        missing_key=row.wake_name if row.wake_kind == WakeKind.KEY else None,
        **_progress(store, workflow_id),
    )


def _progress(store: Store, workflow_id: str) -> dict[str, Any]:
    """Return the fields that count steps, failed attempts and children."""
    from django_dbos.models import Checkpoint, Workflow

    steps = Checkpoint.objects.using(store.alias).filter(workflow_id=workflow_id)
    last: Any = steps.only("step_name", "state", "attempts").order_by("step_number").last()
    is_retried = last is not None and last.state == Checkpoint.State.WAITING
    begun = Workflow.objects.using(store.alias).filter(parent_id=workflow_id)
    children = begun.values_list("status").annotate(Count("pk")).order_by("status")
    return {
        "steps": 0 if last is None else steps.count(),
        "last_step": None if last is None else f"{last.step_name!r} ({last.step_number})",
        "failed_attempts": last.attempts if is_retried and last.attempt_errors_text else 0,
        "children": dict(children) or None,
    }


def awaited(row: Any) -> str | None:
    """Return what a waiting workflow waits for; None if it doesn't wait."""
    match row.wake_kind:
        case WakeKind.MESSAGE if form := form_of_topic(row.wake_name):
            return f"an answer to form {form!r}"
        case WakeKind.MESSAGE:
            return f"message {row.wake_name!r}" if row.wake_name else "message without a topic"
        case WakeKind.RESULT if not row.claim_number:
            # It never ran: it is held behind another one.
            return f"its turn after {row.wake_workflow_id!r}"
        case WakeKind.RESULT:
            return f"result of {row.wake_workflow_id!r}"
        case WakeKind.EVENT:
            return f"event {row.wake_name!r} of {row.wake_workflow_id!r}"
        case WakeKind.STREAM:
            return f"an entry of stream {row.wake_name!r} of {row.wake_workflow_id!r}"
        case WakeKind.RETRY_AFTER:
            return f"a step, which was told to try again in {row.wake_name} s"
        case WakeKind.KEY:
            return f"a worker with encryption key {row.wake_name!r}"
        case WakeKind.ANY:
            return str(row.wake_name)
    return row.wake_kind  # type: ignore[no-any-return]


def why_not_running(store: Store, row: Any) -> str | None:
    """Return the reasons why an enqueued workflow doesn't run; None if there are none.

    A run that has lent its place, and wants one again, doesn't run either.
    """
    if row.status == Status.PENDING and row.place == RESERVED:
        return f"It has waited, and goes on once queue {row.queue_name!r} has a place for it."
    if row.status != Status.ENQUEUED:
        return None
    workers = store.reader.find_workers(row.queue_name)
    slots = {str(worker.executor_id): worker.concurrency for worker in workers}
    found = queues.explain(store, [row], lambda name: slots, _instant)
    lines = [str(reason) for reason in found.get(row.workflow_id, ())]
    if unclaimed := store.reader.why_unclaimed(row.queue_name, row.name, row.version, workers):
        lines.append(f"{unclaimed[0].upper()}{unclaimed[1:]}.")
    return " ".join(lines) or None


def _instant(value: datetime) -> str:
    return value.isoformat(" ", "seconds")


def _summary(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        summary = serializers.summarize_error(text)
    except SerializationError as error:
        return str(error)
    return f"{summary.class_path.removeprefix('builtins:').replace(':', '.')}: {summary.message}"
