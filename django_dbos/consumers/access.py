"""Permission to read a workflow's streams and events from a browser. The default is to refuse.

Permissions are checked when a socket opens and again while it is open, since they can be revoked,
accounts deactivated and sessions ended. All refusals are cheap and alike: they neither reveal
whether an id exists nor make the server read the workflow's values.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from asgiref.sync import iscoroutinefunction
from channels.auth import get_user
from channels.db import database_sync_to_async
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from django.db import models

from django_dbos.conf import get_can_read, get_settings
from django_dbos.models import Workflow

logger = logging.getLogger("django_dbos.consumers")

# Before it sends data, a socket checks again after this share of the recheck interval.
SENDING = 1 / 6

NOT_LOGGED_IN, FORBIDDEN, TOO_MANY = 4401, 4403, 4429


class Refused(Exception):
    """The socket's user may not read, or no longer. The socket is closed with ``code``."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(code)


class Access:
    """The permissions of one socket's user on one workflow."""

    def __init__(self, scope: Any, workflow_id: str, kind: str, key: str | None) -> None:
        self._scope = scope
        self._user: Any = scope.get("user") or AnonymousUser()
        self._workflow_id = workflow_id
        self._kind = kind
        self._key = key
        self._token: UUID | None = None
        self._has_session: bool | None = None

    @property
    def token(self) -> UUID | None:
        """The workflow's token, which differs from that of a later workflow with the same id."""
        return self._token

    @property
    def refusal(self) -> Refused:
        """The refusal of a user who lacks permission, or whose workflow doesn't exist."""
        return Refused(FORBIDDEN if self._user.is_authenticated else NOT_LOGGED_IN)

    async def check(self) -> None:
        """Raise Refused unless the user may read.

        Reading is allowed to superusers, holders of `django_dbos.view_workflow`, the workflow's own
        user, and users for whom DBOS["CAN_READ"] returns true. A workflow that doesn't exist is
        refused to all of them.
        """
        self._checked_at = time.monotonic()
        self._verdicts: dict[str, bool] = {}
        self._rule = _rule()
        if self._rule is None and not self._user.is_authenticated:
            raise self.refusal
        self._workflow, self._is_privileged = await database_sync_to_async(self._load)()
        if self._workflow is None or self._token not in (None, self._workflow.token):
            raise self.refusal
        self._token = self._workflow.token
        if not self._is_privileged and not await self._is_allowed_by_rule(self._key):
            raise self.refusal

    async def check_again(self, *, is_sending: bool = False) -> None:
        """Repeat the check, once it is due, with the current session and user.

        It is due earlier if data is about to be sent than on an idle socket.

        Args:
            is_sending: Data is about to be sent.

        Raises:
            Refused: The user may no longer read.
        """
        interval = get_settings().recheck
        if interval is None:
            return
        if time.monotonic() - self._checked_at >= interval * (SENDING if is_sending else 1):
            self._user = await self._reread()
            await self.check()

    @property
    def time_left(self) -> float:
        """The seconds until the next check."""
        interval = get_settings().recheck
        if interval is None:
            return float("inf")
        return self._checked_at + interval - time.monotonic()

    async def allowed(self, keys: Iterable[str]) -> list[str]:
        """Return the keys that the user may read."""
        if self._is_privileged or self._key is not None:
            return list(keys)
        return [key for key in keys if await self._allows(key)]

    async def _allows(self, key: str) -> bool:
        if key not in self._verdicts:
            self._verdicts[key] = await self._is_allowed_by_rule(key)
        return self._verdicts[key]

    def _load(self) -> tuple[Workflow | None, bool]:
        # Both queries run in any case, so that an unknown id isn't refused faster than a known one.
        user = self._user
        if self._has_session is None:
            self._has_session = _is_logged_in(self._scope.get("session"), user)
        found = _without_values(
            Workflow.objects.using(get_settings().database), self._rule is not None
        )
        workflow = found.filter(workflow_id=self._workflow_id).first()
        is_active = bool(user.is_authenticated and user.is_active)
        may_view = is_active and bool(user.has_perm("django_dbos.view_workflow"))
        is_own = is_active and workflow is not None and workflow.user_id == str(user.pk)
        return workflow, may_view or is_own

    async def _reread(self) -> Any:
        """Return the user with the current data, or an anonymous one after a logout."""
        if not self._user.is_authenticated:
            return self._user
        if not self._has_session:
            return await database_sync_to_async(_reload)(self._user)
        session = self._scope["session"]
        scope: Any = {"session": session.__class__(session.session_key)}
        return await get_user(scope)

    async def _is_allowed_by_rule(self, key: str | None) -> bool:
        rule = self._rule
        if rule is None:
            return False
        try:
            call = rule if iscoroutinefunction(rule) else database_sync_to_async(rule)
            return bool(await call(self._user, self._workflow, self._kind, key))
        except Exception:
            logger.exception(
                "DBOS['CAN_READ'] raised an error; access to workflow %r is refused",
                self._workflow_id,
            )
            return False


def _rule() -> Callable[..., Any] | None:
    try:
        return get_can_read()
    except ImproperlyConfigured:
        logger.exception("DBOS['CAN_READ'] is invalid, so it grants access to nobody")
        return None


def _without_values(workflows: Any, for_rule: bool) -> Any:
    """Defer the columns that may hold megabytes; a project's rule may read all others."""
    if not for_rule:
        return workflows.only("workflow_id", "token", "user_id")
    fields = Workflow._meta.concrete_fields
    return workflows.defer(*(field.name for field in fields if isinstance(field, models.TextField)))


def _is_logged_in(session: Any, user: Any) -> bool:
    """Return whether the session authenticates the user, and not, for example, a token."""
    if session is None or not user.is_authenticated:
        return False
    return bool(session.get(SESSION_KEY) == user._meta.pk.value_to_string(user))


def _reload(user: Any) -> Any:
    found = user._meta.model._base_manager.filter(pk=user.pk).first()
    return found if found is not None and found.is_active else AnonymousUser()


_open: Counter[str] = Counter()


@contextmanager
def one_more_socket(user: Any) -> Iterator[None]:
    """Count a socket for the length of a block.

    Only the sockets of this process count. Anonymous users can't be distinguished, so their sockets
    aren't limited.

    Raises:
        Refused: The user has DBOS["SOCKETS_PER_USER"] open already.
    """
    limit = get_settings().sockets_per_user
    if limit is None or user is None or not user.is_authenticated:
        yield
        return
    name = str(user.pk)
    if _open[name] >= limit:
        logger.warning(
            "Another socket of user %r is refused: %d are open in this process", name, limit
        )
        raise Refused(TOO_MANY)
    _open[name] += 1
    try:
        yield
    finally:
        _open[name] -= 1
        if not _open[name]:
            del _open[name]
