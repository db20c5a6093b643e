"""The actions on workflows: what each needs, does and says.

The list, the page and the background workflow for many rows carry them out in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from uuid import UUID, uuid5

from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_dbos.admin.act import Act, Answers, Options
from django_dbos.admin.act_forms import (
    AttributesText,
    ForkPoint,
    MessageText,
    QueueChoice,
    RewindPoint,
    StartTime,
    WithChildren,
)
from django_dbos.admin.asking import SEEN
from django_dbos.admin.base import MAX_COUNTED, rows_of
from django_dbos.admin.section import Label
from django_dbos.admin.values import instant
from django_dbos.core.durations import LAST_YEAR
from django_dbos.core.status import ACTIVE, FINISHED, RESUMABLE, Status
from django_dbos.exceptions import (
    ChangeRefused,
    DuplicateWorkflow,
    WorkflowDoesNotExist,
    WorkflowIdConflict,
)
from django_dbos.handles import each
from django_dbos.models import Workflow
from django_dbos.operations import attributes, queues
from django_dbos.operations.forking import make_fork, request_of
from django_dbos.operations.messages import new_message
from django_dbos.operations.options import check_run_after
from django_dbos.store import get_store
from django_dbos.store.history_checks import Seen


def _cancel(workflow_ids: Sequence[str], options: Options) -> Answers:
    return dict(get_store().cancel_workflows(workflow_ids))


def _cancel_with_children(workflow_ids: Sequence[str], options: Options) -> Answers:
    return dict(get_store().cancel_workflows(workflow_ids, children=True))


def _resume(workflow_ids: Sequence[str], options: Options) -> Answers:
    return dict(get_store().resume_workflows(workflow_ids))


def _resume_in_queue(workflow_ids: Sequence[str], options: Options) -> Answers:
    store, queue_name, answers = get_store(), str(options["queue_name"]), Answers()
    for workflow_id in queues.unfit_for_move(store, queue_name, workflow_ids):
        answers[workflow_id] = gettext("the queue needs a partition key")
    fit = [workflow_id for workflow_id in workflow_ids if workflow_id not in answers]
    return answers | store.resume_workflows(fit, queue_name=queue_name)


def _change_start(workflow_ids: Sequence[str], options: Options) -> Answers:
    run_after = check_run_after(options["run_after"])
    store = get_store()
    return {found: store.set_run_after(found, run_after) for found in workflow_ids}


def _send(workflow_ids: Sequence[str], options: Options) -> Answers:
    active = rows_of(Workflow).filter(workflow_id__in=workflow_ids, status__in=sorted(ACTIVE))
    receivers = set(active.values_list("workflow_id", flat=True))
    message, topic, key = (options[name] for name in ("message", "topic", "idempotency_key"))
    get_store().send_messages(
        [new_message(found, message, topic, key) for found in workflow_ids if found in receivers]
    )
    return {found: found in receivers for found in workflow_ids}


def _retry(workflow_ids: Sequence[str], options: Options) -> Answers:
    retry, seen = get_store().retry_workflow, _seen(options)
    return _answers(each(lambda found: retry(found, seen=seen.get(found)), workflow_ids))


def _fork(workflow_ids: Sequence[str], options: Options) -> Answers:
    step, queue_name = options["step"], options["queue_name"]
    given = {"queue_name": queue_name} if queue_name else {}
    form_id = UUID(options["form_id"])

    def fork(workflow_id: str) -> None:
        # One that the same form makes again has the same id.
        fork_id = str(uuid5(form_id, workflow_id))
        request = request_of(
            workflow_id,
            step,
            from_failure=step is None,
            args=None,
            kwargs=None,
            options={**given, "workflow_id": fork_id},
        )
        try:
            make_fork(request)
        except (DuplicateWorkflow, WorkflowIdConflict) as error:
            reason = gettext("This form was sent before.")
            raise ChangeRefused(workflow_id, "fork", reason) from error

    return _answers(each(fork, workflow_ids))


def _rewind(workflow_ids: Sequence[str], options: Options) -> Answers:
    change, seen = get_store().rewind_workflow, _seen(options)
    step, children = int(options["step"]), bool(options["children"])

    def rewind(workflow_id: str) -> None:
        change(workflow_id, step, children=children, seen=seen.get(workflow_id))

    return _answers(each(rewind, workflow_ids))


def _delete(workflow_ids: Sequence[str], options: Options) -> Answers:
    remove, seen = get_store().delete_workflow, _seen(options)
    children = bool(options["children"])

    def delete(workflow_id: str) -> None:
        remove(workflow_id, children=children, seen=seen.get(workflow_id))

    return _answers(each(delete, workflow_ids))


def _seen(options: Options) -> Mapping[str, Seen]:
    """Return the states in which the page which asked has shown the workflows, if there was one."""
    found: Mapping[str, Seen] = options.get(SEEN, {})
    return found


def _answers(refusals: Mapping[str, str | None]) -> Answers:
    return {found: True if why is None else why for found, why in refusals.items()}


def _log_fork(options: Options) -> str:
    step: int | None = options["step"]
    if step is None:
        return gettext("Forked from the step that failed.")
    return gettext("Forked from step %d.") % step


def _set_attributes(workflow_ids: Sequence[str], options: Options) -> Answers:
    answers = Answers()
    for found in workflow_ids:
        with suppress(WorkflowDoesNotExist):
            attributes.set_attributes(found, options["attributes"], merge=options["merge"])
            answers[found] = True
    return {found: answers.get(found, False) for found in workflow_ids}


def _log_start(options: Options) -> str:
    run_after = options["run_after"]
    if run_after.year >= LAST_YEAR - 1:
        return gettext("Held until somebody runs it.")
    return gettext("Start changed to %s.") % instant(run_after)


def _log_attributes(options: Options) -> str:
    # Their values may be personal data, which a log entry would show to everybody.
    names = ", ".join(sorted(options["attributes"])) or gettext("none")
    return gettext("Changed attributes: %s.") % names


def _log_message(options: Options) -> str:
    topic: str | None = options["topic"]
    if not topic:
        return gettext("Sent a message without a topic.")
    return gettext("Sent a message on topic '%s'.") % topic


def _resume_label(status: str) -> Label:
    return _("Run now") if status == Status.DELAYED else _("Resume")


def _already_finished(count: int) -> str:
    return ngettext("%d had already finished", "%d had already finished", count) % count


def _stays_finished(count: int) -> str:
    text = ngettext(
        "%d has already finished and stays as it is.",
        "%d have already finished and stay as they are.",
        count,
    )
    return text % count


def _cant_be_resumed(count: int) -> str:
    return ngettext("%d can't be resumed", "%d can't be resumed", count) % count


def _stays_as_it_is(count: int) -> str:
    text = ngettext(
        "%d can't be resumed and stays as it is.",
        "%d can't be resumed and stay as they are.",
        count,
    )
    return text % count


def _will_be_cancelled(count: int) -> str:
    text = ngettext(
        "%d active workflow will be cancelled.", "%d active workflows will be cancelled.", count
    )
    return text % count


def _will_be_resumed(count: int) -> str:
    return ngettext("%d workflow will be resumed.", "%d workflows will be resumed.", count) % count


def _cancelled(count: int) -> str:
    return ngettext("%d cancelled", "%d cancelled", count) % count


def _resumed(count: int) -> str:
    return ngettext("%d resumed", "%d resumed", count) % count


CANCEL = Act(
    name="cancel",
    permission="cancel_workflow",
    button=lambda status: _("Cancel"),
    title=_("Cancel workflows"),
    question=_will_be_cancelled,
    pointless=_("None of these workflows is active, so there is nothing to cancel."),
    left=_stays_finished,
    note=_("Running steps finish before a workflow stops. A cancelled workflow can be resumed."),
    done=_cancelled,
    unchanged=_already_finished,
    confirm=_("Yes, cancel"),
    log=lambda options: gettext("Cancelled."),
    change=_cancel,
    statuses=ACTIVE,
)
CANCEL_WITH_CHILDREN = Act(
    name="cancel_with_children",
    permission="cancel_workflow",
    button=lambda status: _("Cancel with children"),
    title=_("Cancel workflows and their children"),
    question=_will_be_cancelled,
    pointless=CANCEL.pointless,
    left=_stays_finished,
    note=_(
        "Their children are cancelled too, at any depth. Running steps finish before a workflow "
        "stops. A cancelled workflow can be resumed."
    ),
    done=lambda count: gettext("%s, their children are cancelled too") % _cancelled(count),
    unchanged=_already_finished,
    confirm=_("Yes, cancel"),
    log=lambda options: gettext("Cancelled, with its children."),
    change=_cancel_with_children,
    statuses=ACTIVE,
)
RESUME = Act(
    name="resume",
    permission="resume_workflow",
    button=_resume_label,
    title=_("Resume workflows"),
    question=_will_be_resumed,
    pointless=_("None of these workflows can be resumed."),
    left=_stays_as_it_is,
    note=_("They continue after their last recorded steps. Delayed ones start at once."),
    done=_resumed,
    unchanged=_cant_be_resumed,
    confirm=_("Yes, resume"),
    log=lambda options: gettext("Resumed."),
    change=_resume,
    statuses=RESUMABLE,
    is_for_quarantined=True,
    asks_first=False,
)
RESUME_IN_QUEUE = Act(
    name="resume_in_queue",
    permission="resume_workflow",
    button=lambda status: _("Resume in another queue"),
    title=_("Resume workflows in another queue"),
    question=_will_be_resumed,
    pointless=RESUME.pointless,
    left=_stays_as_it_is,
    note=RESUME.note,
    done=_resumed,
    unchanged=_cant_be_resumed,
    confirm=_("Resume in this queue"),
    log=lambda options: gettext("Resumed in queue '%s'.") % options["queue_name"],
    change=_resume_in_queue,
    statuses=RESUMABLE,
    is_for_quarantined=True,
    form_class=QueueChoice,
)
CHANGE_START = Act(
    name="change_start",
    permission="reschedule_workflow",
    button=lambda status: _("Change its start"),
    title=_("Change when workflows start"),
    question=lambda count: (
        ngettext(
            "The start of %d delayed workflow will change.",
            "The start of %d delayed workflows will change.",
            count,
        )
        % count
    ),
    pointless=_("None of these workflows is delayed."),
    left=lambda count: (
        ngettext(
            "%d isn't delayed and stays as it is.", "%d aren't delayed and stay as they are.", count
        )
        % count
    ),
    done=lambda count: (
        ngettext("the start of %d workflow changed", "the start of %d workflows changed", count)
        % count
    ),
    unchanged=lambda count: ngettext("%d isn't delayed", "%d aren't delayed", count) % count,
    confirm=_("Change the start"),
    log=_log_start,
    change=_change_start,
    statuses={Status.DELAYED},
    form_class=StartTime,
)
SEND_MESSAGE = Act(
    name="send_message",
    permission="send_message",
    button=lambda status: _("Send a message"),
    title=_("Send a message to workflows"),
    question=lambda count: (
        ngettext(
            "%d active workflow will get the message.",
            "%d active workflows will get the message.",
            count,
        )
        % count
    ),
    pointless=_("None of these workflows is active, so none could receive a message."),
    left=lambda count: (
        ngettext(
            "%d has already finished and gets none.",
            "%d have already finished and get none.",
            count,
        )
        % count
    ),
    done=lambda count: ngettext("%d message sent", "%d messages sent", count) % count,
    unchanged=_already_finished,
    confirm=_("Send"),
    log=_log_message,
    change=_send,
    statuses=ACTIVE,
    form_class=MessageText,
)
RETRY = Act(
    name="retry",
    permission="retry_workflow",
    button=lambda status: _("Retry"),
    title=_("Retry workflows"),
    question=lambda count: (
        ngettext("%d workflow will be retried.", "%d workflows will be retried.", count) % count
    ),
    pointless=_("None of these workflows has failed."),
    left=lambda count: (
        ngettext(
            "%d hasn't failed and stays as it is.", "%d haven't failed and stay as they are.", count
        )
        % count
    ),
    note=_(
        "Each runs again from the step that failed; what it recorded from there on is deleted. If "
        "its code raised an error of its own, it continues after its last step."
    ),
    done=lambda count: ngettext("%d retried", "%d retried", count) % count,
    unchanged=lambda count: ngettext("%d can't be retried", "%d can't be retried", count) % count,
    confirm=_("Yes, retry"),
    log=lambda options: gettext("Retried."),
    change=_retry,
    statuses={Status.ERROR, Status.MAX_RECOVERY_ATTEMPTS_EXCEEDED},
    is_for_quarantined=True,
    is_of_moment=True,
)
FORK = Act(
    name="fork",
    permission="fork_workflow",
    button=lambda status: _("Fork"),
    title=_("Fork workflows"),
    question=lambda count: (
        ngettext("%d workflow will be forked.", "%d workflows will be forked.", count) % count
    ),
    pointless=_("There is no workflow to fork."),
    left=lambda count: "",
    note=_(
        "A fork is a new workflow. It gets the recorded steps before the one that is given, and "
        "runs on from there. The original stays as it is."
    ),
    done=lambda count: ngettext("%d forked", "%d forked", count) % count,
    unchanged=lambda count: ngettext("%d can't be forked", "%d can't be forked", count) % count,
    confirm=_("Yes, fork"),
    log=_log_fork,
    change=_fork,
    statuses=frozenset(Status),
    form_class=ForkPoint,
)
REWIND = Act(
    name="rewind",
    permission="rewind_workflow",
    button=lambda status: _("Rewind"),
    title=_("Rewind workflows"),
    question=lambda count: (
        ngettext("%d workflow will be rewound.", "%d workflows will be rewound.", count) % count
    ),
    pointless=_("None of these workflows can be rewound: they run, or haven't begun."),
    left=lambda count: (
        ngettext(
            "%d runs or hasn't begun, and stays as it is.",
            "%d run or haven't begun, and stay as they are.",
            count,
        )
        % count
    ),
    note=_(
        "The step and all later ones are deleted, with their events and stream entries, and run "
        "again. What they did elsewhere stays: mails, payments, messages to other workflows."
    ),
    done=lambda count: ngettext("%d rewound", "%d rewound", count) % count,
    unchanged=lambda count: ngettext("%d can't be rewound", "%d can't be rewound", count) % count,
    confirm=_("Yes, rewind"),
    log=lambda options: gettext("Rewound to step %d.") % options["step"],
    change=_rewind,
    statuses=frozenset(Status) - {Status.DELAYED, Status.PENDING},
    form_class=RewindPoint,
    is_of_moment=True,
)
DELETE = Act(
    name="delete_workflow",
    permission="delete_workflow",
    button=lambda status: _("Delete"),
    title=_("Delete workflows"),
    question=lambda count: (
        ngettext(
            "%d finished workflow will be deleted.",
            "%d finished workflows will be deleted.",
            count,
        )
        % count
    ),
    pointless=_("None of these workflows has finished, so none can be deleted."),
    left=lambda count: (
        ngettext(
            "%d hasn't finished and stays as it is.",
            "%d haven't finished and stay as they are.",
            count,
        )
        % count
    ),
    note=_("Their steps, messages, events and streams are deleted, too. This can't be undone."),
    done=lambda count: ngettext("%d deleted", "%d deleted", count) % count,
    unchanged=lambda count: ngettext("%d can't be deleted", "%d can't be deleted", count) % count,
    confirm=_("Yes, delete"),
    log=lambda options: gettext("Deleted."),
    change=_delete,
    statuses=FINISHED,
    form_class=WithChildren,
    removes=True,
    is_of_moment=True,
)
SET_ATTRIBUTES = Act(
    name="set_attributes",
    permission="change_attributes",
    button=lambda status: _("Change attributes"),
    title=_("Change the attributes of workflows"),
    question=lambda count: (
        ngettext(
            "The attributes of %d workflow will change.",
            "The attributes of %d workflows will change.",
            count,
        )
        % count
    ),
    pointless=_("No workflow is chosen."),
    left=lambda count: "",
    done=lambda count: (
        ngettext(
            "the attributes of %d workflow changed", "the attributes of %d workflows changed", count
        )
        % count
    ),
    unchanged=lambda count: ngettext("%d is gone", "%d are gone", count) % count,
    confirm=_("Change the attributes"),
    log=_log_attributes,
    change=_set_attributes,
    statuses=frozenset(Status),
    form_class=AttributesText,
)
ACTS = {
    act.name: act
    for act in (
        CANCEL,
        CANCEL_WITH_CHILDREN,
        RESUME,
        RESUME_IN_QUEUE,
        RETRY,
        FORK,
        REWIND,
        DELETE,
        CHANGE_START,
        SEND_MESSAGE,
        SET_ATTRIBUTES,
    )
}
# Those that a step of the page offers, for itself.
ACTS_ON_STEPS = (FORK, REWIND)


def note_on_children(act: Act, workflow_id: str) -> str:
    """Return a sentence on the fate of a workflow's active children if it is cancelled."""
    if act not in (CANCEL, CANCEL_WITH_CHILDREN):
        return ""
    found = rows_of(Workflow).filter(parent_id=workflow_id, status__in=sorted(ACTIVE))
    count = found[:MAX_COUNTED].count()
    if not count:
        return ""
    if act is CANCEL:
        text = ngettext("Its %d active child continues.", "Its %d active children continue.", count)
    else:
        text = ngettext(
            "Its %d active child is cancelled too, with all of its own children.",
            "Its %d active children are cancelled too, with all of their own children.",
            count,
        )
    return text % count
