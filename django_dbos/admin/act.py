"""The actions on workflows, and how each is carried out on some of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.contrib.admin.models import CHANGE, DELETION, LogEntry

from django_dbos.admin.act_forms import ActForm
from django_dbos.admin.base import status_label
from django_dbos.admin.section import Label
from django_dbos.exceptions import DbosError
from django_dbos.models import Workflow

Options = Mapping[str, Any]
Answers = dict[str, bool | str]
"""By workflow id, whether it was changed; a text is the reason why not."""


@dataclass(slots=True)
class Results:
    """The results of an action: how many workflows were changed, and which weren't, and why."""

    done: int = 0
    unchanged: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """An action on workflows.

    Attributes:
        name: Its name in addresses.
        permission: The codename of the permission that it needs.
        button: The label of its button on a workflow's page, by the workflow's status.
        title: The title of the page that asks before.
        question: Returns what will be done with that many workflows.
        pointless: The sentence for no workflow at all.
        left: Returns why that many workflows stay as they are.
        done: Returns that a number of workflows were changed, without a full stop.
        unchanged: Returns that a number of them weren't, and why.
        confirm: The label of the button that confirms.
        log: Returns the entry in the history, from the options.
        change: Changes workflows by their ids.
        statuses: The statuses of the workflows that it applies to.
        is_for_quarantined: It applies to quarantined workflows, too.
        form_class: The form of its options.
        note: A sentence on what follows, on the page that asks before.
        asks_first: It is confirmed, also without a form.
        removes: It deletes the workflows: their pages are gone afterwards.
        is_of_moment: It isn't done to workflows that have changed since the page which asked was
            shown, by another operator for example, or by the same form sent before.
    """

    name: str
    permission: str
    button: Callable[[str], Label]
    title: Label
    question: Callable[[int], str]
    pointless: Label
    left: Callable[[int], str]
    done: Callable[[int], str]
    unchanged: Callable[[int], str]
    confirm: Label
    log: Callable[[Options], str]
    change: Callable[[Sequence[str], Options], Answers]
    statuses: Collection[str]
    is_for_quarantined: bool = False
    form_class: type[ActForm] = field(default=ActForm)
    note: Label = ""
    asks_first: bool = True
    removes: bool = False
    is_of_moment: bool = False

    def applies(self, status: str, is_quarantined: bool) -> bool:
        """Return whether a workflow with this status can be changed."""
        return status in self.statuses or (self.is_for_quarantined and is_quarantined)


def carry_out(act: Act, workflow_ids: Sequence[str], options: Options) -> Answers:
    """Change workflows; one by one if one of them is refused, so that the others are changed."""
    try:
        return act.change(workflow_ids, options)
    except (DbosError, ValueError) as error:
        if len(workflow_ids) == 1:
            return {workflow_ids[0]: str(error)}
    answers = Answers()
    for workflow_id in workflow_ids:
        answers |= carry_out(act, [workflow_id], options)
    return answers


def change_batch(
    results: Results, act: Act, options: Options, workflows: list[Workflow], user_pk: Any
) -> None:
    """Change workflows, log the changes, and add the results."""
    if not workflows:
        return
    answers = carry_out(act, [str(workflow.workflow_id) for workflow in workflows], options)
    changed = []
    for workflow in workflows:
        answer = answers[str(workflow.workflow_id)]
        if answer is True:
            changed.append(workflow)
        else:
            could = act.applies(str(workflow.status), bool(workflow.is_quarantined))
            why = answer if answer and could else status_label(workflow)
            results.unchanged.append((str(workflow.workflow_id), why))
    if changed:
        flag = DELETION if act.removes else CHANGE
        LogEntry.objects.log_actions(user_pk, changed, flag, act.log(options))
    results.done += len(changed)
