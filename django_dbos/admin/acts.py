"""The actions on workflows: what each needs, does and says.

The list, the page and the background workflow for many rows carry them out in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_dbos.admin.act import Act, Answers, Options
from django_dbos.admin.act_forms import MessageText, QueueChoice, StartTime
from django_dbos.admin.base import MAX_COUNTED, rows_of
from django_dbos.admin.section import Label
from django_dbos.admin.values import instant
from django_dbos.core.durations import LAST_YEAR
from django_dbos.core.status import ACTIVE, RESUMABLE, Status
from django_dbos.models import Workflow
from django_dbos.operations import queues
from django_dbos.operations.messages import new_message
from django_dbos.operations.options import check_run_after
from django_dbos.store import get_store


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


def _log_start(options: Options) -> str:
    run_after = options["run_after"]
    if run_after.year >= LAST_YEAR - 1:
        return gettext("Held until somebody runs it.")
    return gettext("Start changed to %s.") % instant(run_after)


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
ACTS = {
    act.name: act
    for act in (CANCEL, CANCEL_WITH_CHILDREN, RESUME, RESUME_IN_QUEUE, CHANGE_START, SEND_MESSAGE)
}


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
