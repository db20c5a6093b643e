"""Messages from pages to workflows: who may send them, and once each.

The default is to refuse. That a workflow is the user's own isn't enough, unlike for reading: it may
wait for the approval of somebody else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.db import close_old_connections

from django_dbos.conf import get_can_send
from django_dbos.core import names
from django_dbos.core.records import NewMessage
from django_dbos.exceptions import WorkflowDoesNotExist
from django_dbos.live import rates
from django_dbos.live.access import wait_for_step
from django_dbos.live.batching import ask
from django_dbos.live.outages import is_outage
from django_dbos.live.permissions import Question, read_facts
from django_dbos.live.readers import Reader, Reason, Refused
from django_dbos.live.threads import in_thread
from django_dbos.models import Workflow
from django_dbos.operations.messages import new_message
from django_dbos.store import get_store
from django_dbos.telemetry import concealing
from django_dbos.telemetry.rare_warnings import RareWarning

logger = logging.getLogger("django_dbos.live")
_too_many_of_user = RareWarning(logger, "A message of user %r is refused: there are too many")
_too_many_of_visitors = RareWarning(
    logger, "A visitor's message to %r is refused: there are too many"
)

# The permission of those who may send to every workflow.
SENDING = "django_dbos.send_message"
# The longest idempotency key of a page, in characters.
MAX_KEY = 128


async def send_message(
    reader: Reader,
    workflow_id: str,
    message: Any,
    *,
    topic: str | None = None,
    idempotency_key: str | None = None,
    is_again: bool = False,
) -> None:
    """Send a message of a page to a workflow.

    Sending is allowed to superusers, holders of `django_dbos.send_message`, and users for whom
    DBOS["CAN_SEND"] returns true. A workflow that doesn't exist is refused to all of them.

    Args:
        reader: Who sends. A token opens nothing here.
        workflow_id: The receiver.
        message: A JSON value.
        topic: The topic; None for none.
        idempotency_key: Of this user's messages with the same key the receiver gets one. Other
            users' keys, and those that the project's code sends with, are others.
        is_again: The user is read again, or found to have logged out.

    Raises:
        Refused: The user may not send, or there is no such workflow; or a user whom only
            DBOS["CAN_SEND"] allows to send has sent too much, or anonymous visitors have to this
            workflow, in this process.
        ValueError, TypeError: The id, the topic or the key is invalid.
        SerializationError: The message can't be stored; PayloadTooLarge if it is too large.
    """
    if idempotency_key is not None:
        key = names.check_text(idempotency_key, label="An idempotency key", max_length=MAX_KEY)
        idempotency_key = f"page:{reader.user.pk or ''}:{key}"
    new = new_message(workflow_id, message, topic, idempotency_key)
    await _check(reader, new, is_again)
    try:
        await sync_to_async(_send)(new)
    except WorkflowDoesNotExist:
        raise _refusal(reader) from None


async def _check(reader: Reader, new: NewMessage, is_again: bool) -> None:
    began = time.monotonic()
    rule = _rule()
    if reader.token is not None or not (rule or reader.user.is_authenticated):
        raise _refusal(reader)
    if not reader.user.is_authenticated and not rates.of_visitors.take(new.workflow_id):
        _too_many_of_visitors.warn(new.workflow_id)
        raise Refused(Reason.TOO_MANY)
    question = Question(reader, new.workflow_id, rule is not None, is_again)
    workflow = (await ask(read_facts, question)).workflow
    user = reader.user
    may_send = await in_thread(_may_send, user)
    if not may_send and user.is_authenticated and not rates.of_users.take(str(user.pk)):
        _too_many_of_user.warn(user.pk)
        raise Refused(Reason.TOO_MANY)
    if workflow is None or not (may_send or await _is_allowed(rule, user, workflow, new)):
        if rule is not None:
            await wait_for_step(began)
        raise _refusal(reader)


def _may_send(user: Any) -> bool:
    return bool(user.is_authenticated and user.is_active and user.has_perm(SENDING))


async def _is_allowed(
    rule: Callable[..., Any] | None, user: Any, workflow: Workflow, new: NewMessage
) -> bool:
    if rule is None:
        return False
    try:
        call = rule if iscoroutinefunction(rule) else sync_to_async(rule)
        return bool(await call(user, workflow, new.topic or None))
    except Exception as error:
        if is_outage(error):
            raise
        logger.error(
            "DBOS['CAN_SEND'] raised an error; a message to workflow %r is refused",
            new.workflow_id,
            exc_info=concealing.shown(str(workflow.name), error),
        )
        return False


def _rule() -> Callable[..., Any] | None:
    try:
        return get_can_send()
    except ImproperlyConfigured:
        logger.exception("DBOS['CAN_SEND'] is invalid, so it lets nobody send")
        return None


def _refusal(reader: Reader) -> Refused:
    is_known = reader.user.is_authenticated
    return Refused(Reason.FORBIDDEN if is_known else Reason.NOT_LOGGED_IN)


def _send(new: NewMessage) -> None:
    # A socket has no request at whose beginning and end Django would do this.
    close_old_connections()
    try:
        get_store().send_messages([new])
    finally:
        close_old_connections()
