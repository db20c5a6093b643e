"""The permission to start a workflow, which its function asks of the user of the start.

It is asked where a workflow is started by code: outside, and again for a child, whose user is its
parent's unless it has its own. A schedule has no user, and what continues a workflow (a recovery,
continue_as_new()) starts none: there nobody is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from django_dbos.core import registry
from django_dbos.core.records import NewWorkflow
from django_dbos.exceptions import NotPermitted
from django_dbos.operations import reads
from django_dbos.operations.run import Call
from django_dbos.operations.users import find_user


def check(workflows: Sequence[NewWorkflow]) -> None:
    """Raise NotPermitted if the user of one of these starts lacks the permission."""
    if (error := _refusal(workflows)) is not None:
        raise error


async def acheck_children(call: Call, workflows: Sequence[NewWorkflow]) -> None:
    """Raise NotPermitted, recorded, if the user of one of these children lacks the permission.

    An error of an authentication backend is recorded, too: workflow code may handle it, and a
    replay, when the backend answers again, has to go the same way.
    """
    if not any(map(_permission, workflows)):
        return
    run = call.run
    own = [
        new if new.user_id is not None else replace(new, user_id=run.claim.user_id)
        for new in workflows
    ]
    error: Exception | None
    try:
        error = await reads.apatiently(run, partial(_refusal, own))
    except Exception as failure:
        error = failure
    if error is not None:
        await run.afail(call, error)


def _permission(new: NewWorkflow) -> str | None:
    definition = registry.workflows.get(new.name)
    return None if definition is None else definition.permission


def _refusal(workflows: Sequence[NewWorkflow]) -> NotPermitted | None:
    asked = {
        (new.name, new.user_id, permission) for new in workflows if (permission := _permission(new))
    }
    for name, user_id, permission in asked:
        user = find_user(user_id)
        is_known = user is not None and getattr(user, "is_active", True)
        if not is_known or not user.has_perm(permission):
            return NotPermitted(name, permission, user_id)
    return None
