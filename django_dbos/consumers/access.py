"""Who may read a workflow's streams and events from a browser: nobody, unless a rule says so."""

from __future__ import annotations

import logging
from typing import Any

from asgiref.sync import iscoroutinefunction
from channels.db import database_sync_to_async

from django_dbos.conf import get_can_read, get_settings
from django_dbos.models import Workflow

logger = logging.getLogger("django_dbos.consumers")


async def may_read(user: Any, workflow_id: str, kind: str, key: str | None) -> bool:
    """Whether a user may read a stream or an event (`kind`); without a key, all of them.

    Superusers, holders of `django_dbos.view_workflow`, the workflow's own user, and whom
    DBOS["CAN_READ"] allows. A workflow that doesn't exist may be read by nobody.
    """
    workflow, is_allowed = await database_sync_to_async(_look)(user, workflow_id)
    if workflow is None:
        return False
    return is_allowed or await _asks_project(user, workflow, kind, key)


def _look(user: Any, workflow_id: str) -> tuple[Workflow | None, bool]:
    # Both questions are asked in any case: an unknown id is refused no faster than a known one.
    workflows = Workflow.objects.using(get_settings().database)
    workflow = workflows.filter(workflow_id=workflow_id).first()
    is_privileged = bool(user.is_active and user.has_perm("django_dbos.view_workflow"))
    is_own = workflow is not None and user.is_authenticated and workflow.user_id == str(user.pk)
    return workflow, is_privileged or is_own


async def _asks_project(user: Any, workflow: Workflow, kind: str, key: str | None) -> bool:
    try:
        can_read = get_can_read()
        if can_read is None:
            return False
        ask = can_read if iscoroutinefunction(can_read) else database_sync_to_async(can_read)
        return bool(await ask(user, workflow, kind, key))
    except Exception:
        logger.exception("DBOS['CAN_READ'] raised an error; %r isn't shown", workflow.workflow_id)
        return False
