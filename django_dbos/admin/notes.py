"""The reason why a workflow isn't running: from its row, its queue, and the live executors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.translation import gettext, ngettext

from django_dbos.admin.base import rows_of
from django_dbos.admin.values import instant
from django_dbos.core import names, registry
from django_dbos.core.queue_reasons import Reason
from django_dbos.core.records import WakeKind, form_of_topic
from django_dbos.core.recovery import SUSPECT_ATTEMPTS
from django_dbos.core.status import Status
from django_dbos.models import Executor, Workflow
from django_dbos.operations import queues
from django_dbos.store import get_store

MAX_REASON = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A live worker. Its `queue_names` are None if it serves all queues."""

    executor_id: str
    slots: int
    queue_names: list[str] | None
    workflow_names: list[str] | None
    """The workflow functions that it has registered; None if its row doesn't list them."""

    def serves(self, queue_name: str) -> bool:
        """Return whether the worker claims workflows from the queue."""
        return self.queue_names is None or queue_name in self.queue_names

    @property
    def queues(self) -> Sequence[str]:
        """The queues that it serves by name."""
        return self.queue_names or ()

    def lists(self, name: str) -> bool:
        """Return whether its row lists the function."""
        return name in (self.workflow_names or ())

    def may_know(self, name: str, version: str | None = None) -> bool:
        """Return whether the worker has registered the function, or doesn't list its functions."""
        listed = self.workflow_names
        return listed is None or registry.is_listed(name, version, listed)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveExecutors:
    """The executors whose heartbeat is within their lease, by the database's clock."""

    ids: frozenset[str]
    workers: tuple[Worker, ...]
    """Those of the executors that claim workflows from queues."""

    @classmethod
    def read(cls) -> LiveExecutors:
        """Read the executors: one query on a small table."""
        executors: Any = rows_of(Executor)
        rows = [row for row in executors.judged() if row.is_live]
        return cls(
            ids=frozenset(str(row.executor_id) for row in rows),
            workers=tuple(
                Worker(
                    executor_id=str(row.executor_id),
                    slots=row.concurrency,
                    queue_names=row.queue_names,
                    workflow_names=row.workflow_names,
                )
                for row in rows
                if not row.is_inline
            ),
        )

    def of_queue(self, queue_name: str) -> list[Worker]:
        """Return the workers that serve the queue."""
        return [worker for worker in self.workers if worker.serves(queue_name)]

    def slots_of_queue(self, queue_name: str) -> dict[str, int]:
        """Return the slots of the workers that serve the queue, by their ids."""
        return {worker.executor_id: worker.slots for worker in self.of_queue(queue_name)}

    def named_queues(self) -> set[str]:
        """Return the queues that workers serve by name."""
        return {name for worker in self.workers for name in worker.queues}

    def known_names(self) -> set[str]:
        """Return the workflow functions that workers have registered."""
        return {
            name
            for worker in self.workers
            for name in registry.without_versions(worker.workflow_names or ())
        }


def read_queue_reasons(
    workflows: Sequence[Workflow], executors: LiveExecutors
) -> dict[str, list[Reason]]:
    """Return by id why enqueued workflows aren't running, apart from a lack of workers."""
    return queues.explain(get_store(), workflows, executors.slots_of_queue, _to_second)


def explain(
    workflow: Workflow,
    executors: LiveExecutors,
    error: str | None = None,
    queue_reasons: Sequence[Reason] = (),
) -> str:
    """Return the reasons as sentences, or "" if the workflow runs or has succeeded.

    The error is that of outcome(): its class, with the message if the user may see it.
    """
    if workflow.is_quarantined:
        return _join(
            gettext("Quarantined by the engine; resume it after fixing the cause."),
            _first_line(error),
        )
    if workflow.status == Status.ERROR:
        return _first_line(error)
    if workflow.status == Status.MAX_RECOVERY_ATTEMPTS_EXCEEDED:
        return gettext(
            "Given up: several workers in a row died while running it. Resume it after fixing the "
            "cause."
        )
    if not workflow.is_active:
        return ""
    of_queue = [gettext(reason.template) % reason.values for reason in queue_reasons]
    return _join(
        _waiting(workflow), _suspicion(workflow), *of_queue, _worker_of(workflow, executors)
    )


def finality(workflow: Workflow) -> str:
    """Return advice on a failed workflow, or "" for others."""
    if workflow.status != Status.ERROR or workflow.is_quarantined:
        return ""
    return gettext(
        "It doesn't run again by itself. Once the cause is fixed, Retry runs it from the step that "
        "failed."
    )


def _to_second(value: datetime) -> str:
    return instant(value).partition(".")[0]


def _join(*reasons: str) -> str:
    return " ".join(reason for reason in reasons if reason)


def _first_line(error: str | None) -> str:
    if error is None:
        return ""
    path, colon, message = error.strip().partition(": ")
    text = f"{path.rpartition('.')[2]}{colon}{message}"
    line = text.partition("\n")[0]
    return line if line == text and len(line) <= MAX_REASON else f"{line[:MAX_REASON]}…"


def _waiting(workflow: Workflow) -> str:
    if workflow.status == Status.DELAYED:
        return gettext("Starts at %s.") % instant(workflow.due_at)
    if workflow.status != Status.WAITING:
        return ""
    if workflow.wake_kind == WakeKind.SLEEP:
        return gettext("Sleeping until %s.") % instant(workflow.due_at)
    if workflow.wake_kind == WakeKind.RETRY:
        return gettext("A step has failed; its next attempt is at %s.") % instant(workflow.due_at)
    if workflow.wake_kind == WakeKind.RETRY_AFTER:
        told = {"seconds": workflow.wake_name, "instant": instant(workflow.due_at)}
        return gettext("A step was told to try again in %(seconds)s s, at %(instant)s.") % told
    if workflow.wake_kind == WakeKind.KEY:
        text = gettext(
            "A value is encrypted with key '%s', which its last worker didn't have. It goes on "
            "once a worker has the key: add it to DBOS['ENCRYPTION'] of all workers."
        )
        return text % str(workflow.wake_name or "")
    awaited = _awaited(workflow)
    if workflow.due_at is None:
        return gettext("Waiting for %s.") % awaited
    return gettext("Waiting for %(awaited)s, until %(deadline)s at the latest.") % {
        "awaited": awaited,
        "deadline": instant(workflow.due_at),
    }


def _awaited(workflow: Workflow) -> str:
    name, other = str(workflow.wake_name or ""), str(workflow.wake_workflow_id or "")
    match workflow.wake_kind:
        case WakeKind.MESSAGE if form := form_of_topic(name):
            return gettext("an answer to form '%s'") % form
        case WakeKind.MESSAGE if name:
            return gettext("a message on topic '%s'") % name
        case WakeKind.MESSAGE:
            return gettext("a message without a topic")
        case WakeKind.EVENT:
            return gettext("event '%(name)s' of workflow '%(id)s'") % {"name": name, "id": other}
        case WakeKind.RESULT if not workflow.claim_number:
            # It never ran: it is held behind another one.
            return gettext("its turn, after workflow '%s'") % other
        case WakeKind.RESULT:
            return gettext("the result of workflow '%s'") % other
        case WakeKind.STREAM:
            stream = {"name": name, "id": other}
            return gettext("an entry of stream '%(name)s' of workflow '%(id)s'") % stream
        case WakeKind.ANY:
            return name
    return gettext("something")


def _suspicion(workflow: Workflow) -> str:
    dead = workflow.recovery_attempts
    if not dead:
        return ""
    text = ngettext("%d worker died while running it.", "%d workers died while running it.", dead)
    if dead < SUSPECT_ATTEMPTS:
        return text % dead
    return _join(text % dead, gettext("It is a suspect; only one suspect runs at a time."))


def _worker_of(workflow: Workflow, executors: LiveExecutors) -> str:
    if workflow.status == Status.PENDING:
        if workflow.executor_id in executors.ids:
            return ""
        return gettext("Its worker has stopped sending heartbeats; another worker will recover it.")
    queue_name, name = str(workflow.queue_name), str(workflow.name)
    workers = executors.of_queue(queue_name)
    if not workers:
        return gettext("No live worker serves queue '%s': run manage.py dbos_worker.") % queue_name
    if any(worker.may_know(name, workflow.version) for worker in workers):
        return ""
    if any(worker.may_know(name) for worker in workers):
        return gettext(
            "No live worker of queue '%(queue)s' knows version '%(version)s' of its function: keep "
            "that code beside the current one, decorated with .version('%(version)s')."
        ) % {"queue": queue_name, "version": workflow.version}
    missing = (
        gettext(
            "No live worker of queue '%s' has its function: deploy the code, or give a renamed "
            "function its old name, @workflow(name=…)."
        )
        % queue_name
    )
    return _join(missing, _similar(name, executors))


def _similar(name: str, executors: LiveExecutors) -> str:
    """Return where there is a function of this name, or else of one that it may stand for."""
    others = sorted(
        {queue for worker in executors.workers if worker.lists(name) for queue in worker.queues}
    )
    if others:
        return gettext("Workers of other queues have it: %s.") % ", ".join(others)
    similar = names.closest(name, sorted(executors.known_names()))
    return gettext("A worker has one that is named '%s'.") % similar if similar else ""
