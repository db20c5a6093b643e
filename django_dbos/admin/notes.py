"""Why a workflow isn't running, as far as its row and the executors' rows tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext, ngettext

from django_dbos.admin.base import rows_of
from django_dbos.admin.values import instant, plain_error
from django_dbos.core import registry
from django_dbos.core.records import WakeKind
from django_dbos.core.status import Status
from django_dbos.models import SUSPECT_ATTEMPTS, Executor, Workflow

MAX_REASON = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveExecutors:
    """The executors that were heard of within their lease, by the database's clock."""

    ids: frozenset[str]
    queue_names: tuple[list[str] | None, ...]
    """What the workers among them listen to; None is every queue."""

    @classmethod
    def read(cls) -> LiveExecutors:
        """Ask the database: one query over a small table."""
        executors: Any = rows_of(Executor)
        rows = [row for row in executors.judged() if row.is_live]
        return cls(
            ids=frozenset(str(row.executor_id) for row in rows),
            queue_names=tuple(row.queue_names for row in rows if not row.is_inline),
        )

    def listen_to(self, queue_name: str) -> bool:
        """Whether any of them takes workflows from the queue."""
        return any(names is None or queue_name in names for names in self.queue_names)

    def named_queues(self) -> set[str]:
        """The queues that a worker was given by name."""
        return {name for names in self.queue_names for name in names or ()}


def explain(workflow: Workflow, executors: LiveExecutors, error: str | None = None) -> str:
    """The reasons, as sentences; empty if it runs or is done."""
    if workflow.is_set_aside:
        return _set_aside(error)
    if workflow.status == Status.MAX_RECOVERY_ATTEMPTS_EXCEEDED:
        return gettext("Given up: its executors died one after the other. Resume it after a fix.")
    if not workflow.is_active:
        return ""
    return " ".join(reason for reason in _reasons(workflow, executors) if reason)


def _reasons(workflow: Workflow, executors: LiveExecutors) -> list[str]:
    return [
        _waiting(workflow),
        _suspicion(workflow),
        _unknown_name(workflow),
        _missing_executor(workflow, executors),
    ]


def _set_aside(error: str | None) -> str:
    advice = gettext("Set aside by the engine; resume it after a fix.")
    if error is None:
        return advice
    reason = plain_error(error).text
    if len(reason) > MAX_REASON:
        reason = f"{reason[:MAX_REASON]}…"
    return f"{advice} {reason}"


def _waiting(workflow: Workflow) -> str:
    if workflow.status == Status.DELAYED:
        return gettext("It starts at %s.") % instant(workflow.due_at)
    if workflow.status != Status.WAITING:
        return ""
    what = _awaited(workflow)
    if workflow.due_at is None:
        return gettext("It waits for %s.") % what
    return gettext("It waits for %(what)s, until %(when)s at the latest.") % {
        "what": what,
        "when": instant(workflow.due_at),
    }


def _awaited(workflow: Workflow) -> str:
    name, other = str(workflow.wake_name or ""), str(workflow.wake_workflow_id or "")
    match workflow.wake_kind:
        case WakeKind.SLEEP:
            return gettext("the end of a sleep")
        case WakeKind.MESSAGE if name:
            return gettext("a message on topic '%s'") % name
        case WakeKind.MESSAGE:
            return gettext("a message without a topic")
        case WakeKind.EVENT:
            return gettext("event '%(name)s' of workflow '%(id)s'") % {"name": name, "id": other}
        case WakeKind.RESULT:
            return gettext("the result of workflow '%s'") % other
        case WakeKind.STREAM:
            return gettext("stream '%(name)s' of workflow '%(id)s'") % {"name": name, "id": other}
    return gettext("something")


def _suspicion(workflow: Workflow) -> str:
    dead = workflow.recovery_attempts
    if not dead:
        return ""
    told = ngettext("%d executor has died with it.", "%d executors have died with it.", dead) % dead
    if dead < SUSPECT_ATTEMPTS:
        return told
    return f"{told} {gettext('It is a suspect, and is run when no other suspect is.')}"


def _unknown_name(workflow: Workflow) -> str:
    if workflow.name in registry.workflows:
        return ""
    return gettext("Its function isn't known in this process; another worker may know it.")


def _missing_executor(workflow: Workflow, executors: LiveExecutors) -> str:
    if workflow.status == Status.PENDING:
        if workflow.executor_id in executors.ids:
            return ""
        return gettext("Its executor is silent; another one will take it over.")
    if executors.listen_to(str(workflow.queue_name)):
        return ""
    return gettext("No live executor listens to its queue: run manage.py dbos_worker.")
