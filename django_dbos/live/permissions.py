"""The facts for permissions: the users and the workflows of many readers, read at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import models

from django_dbos.conf import get_settings
from django_dbos.live.readers import Reader
from django_dbos.live.users import reread_all
from django_dbos.models import Workflow

# The permissions of those who may read everything.
VIEWING = ("django_dbos.view_workflow", "django_dbos.view_payload")


@dataclass(frozen=True, slots=True)
class Question:
    """The things to read for the permission of one reader."""

    reader: Reader
    workflow_id: str
    for_rule: bool
    """True if a project's rule gets the workflow."""
    is_again: bool
    """True if the reader's user is to be read again."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The workflow, without its values, and whether the user may read it without a rule."""

    workflow: Workflow | None
    is_privileged: bool


def read_facts(questions: list[Question]) -> Sequence[Facts | BaseException]:
    """Read the facts on a thread that may use the ORM.

    For an unknown workflow the same is read as for one that exists, so that its refusal doesn't
    come faster.
    """
    reread_all([question.reader for question in questions if question.is_again])
    found = {for_rule: _read_workflows(questions, for_rule) for for_rule in (False, True)}
    return [_facts(one, found[one.for_rule].get(one.workflow_id)) for one in questions]


def _facts(question: Question, workflow: Workflow | None) -> Facts | BaseException:
    if question.reader.token is not None:
        return Facts(workflow, False)
    try:
        question.reader.read_session()
        user = question.reader.user
        is_active = bool(user.is_authenticated and user.is_active)
        is_own = is_active and workflow is not None and workflow.user_id == str(user.pk)
        # Only a refusal must take as long for a workflow that exists as for one that doesn't.
        return Facts(workflow, is_own or (is_active and bool(user.has_perms(VIEWING))))
    except Exception as error:
        return error


def _read_workflows(questions: Sequence[Question], for_rule: bool) -> dict[str, Workflow]:
    ids = {one.workflow_id for one in questions if one.for_rule is for_rule}
    if not ids:
        return {}
    workflows = Workflow.objects.using(get_settings().database).filter(workflow_id__in=ids)
    return {row.workflow_id: row for row in _without_values(workflows, for_rule)}


def _without_values(workflows: Any, for_rule: bool) -> Any:
    """Defer the columns that may hold megabytes; a project's rule may read all others."""
    if not for_rule:
        return workflows.only("workflow_id", "token", "user_id")
    fields = Workflow._meta.concrete_fields
    return workflows.defer(*(field.name for field in fields if isinstance(field, models.TextField)))
