"""Who may read a workflow's streams and events from a browser: nobody, unless a rule says so.

What is asked when a socket opens is asked again while it is open: permissions are taken away,
accounts are closed, people log out. Refusals cost little and are alike: a stranger learns neither
that an id exists nor makes the server read what the workflow holds.
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

# The part of the time between two questions after which it is asked again before something is sent.
SENDING = 1 / 6

NOT_LOGGED_IN, FORBIDDEN, TOO_MANY = 4401, 4403, 4429


class Refused(Exception):
    """The socket's user may not read, or not any more; `code` is what to close with."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(code)


class Access:
    """What the user of one socket may read of one workflow."""

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
        """Tells the workflow that was asked for from a later one with its id."""
        return self._token

    @property
    def refusal(self) -> Refused:
        """What somebody hears who may not read, or asks for what there isn't."""
        return Refused(FORBIDDEN if self._user.is_authenticated else NOT_LOGGED_IN)

    async def check(self) -> None:
        """Raise Refused unless the user may read.

        Superusers, holders of `django_dbos.view_workflow`, the workflow's own user, and whom
        DBOS["CAN_READ"] allows. A workflow that doesn't exist may be read by nobody.
        """
        self._asked_at = time.monotonic()
        self._verdicts: dict[str, bool] = {}
        self._rule = _rule()
        if self._rule is None and not self._user.is_authenticated:
            raise self.refusal
        self._workflow, self._is_privileged = await database_sync_to_async(self._look)()
        if self._workflow is None or self._token not in (None, self._workflow.token):
            raise self.refusal
        self._token = self._workflow.token
        if not self._is_privileged and not await self._asks_project(self._key):
            raise self.refusal

    async def check_again(self, *, is_sending: bool = False) -> None:
        """The same once its time has come: with the session and the user as they are now.

        That is earlier where something is to be sent than where a socket is idle.
        """
        interval = get_settings().recheck
        if interval is None:
            return
        if time.monotonic() - self._asked_at >= interval * (SENDING if is_sending else 1):
            self._user = await self._reread()
            await self.check()

    @property
    def time_left(self) -> float:
        """Seconds until the question is asked again."""
        interval = get_settings().recheck
        if interval is None:
            return float("inf")
        return self._asked_at + interval - time.monotonic()

    async def allowed(self, keys: Iterable[str]) -> list[str]:
        """Those of the keys that may be read by who may ask for all."""
        if self._is_privileged or self._key is not None:
            return list(keys)
        return [key for key in keys if await self._allows(key)]

    async def _allows(self, key: str) -> bool:
        if key not in self._verdicts:
            self._verdicts[key] = await self._asks_project(key)
        return self._verdicts[key]

    def _look(self) -> tuple[Workflow | None, bool]:
        # Both questions are asked in any case: an unknown id is refused no faster than a known one.
        user = self._user
        if self._has_session is None:
            self._has_session = _is_of(self._scope.get("session"), user)
        found = _small(Workflow.objects.using(get_settings().database), self._rule is not None)
        workflow = found.filter(workflow_id=self._workflow_id).first()
        is_active = bool(user.is_authenticated and user.is_active)
        may_view = is_active and bool(user.has_perm("django_dbos.view_workflow"))
        is_own = is_active and workflow is not None and workflow.user_id == str(user.pk)
        return workflow, may_view or is_own

    async def _reread(self) -> Any:
        """The user as the database knows them by now; nobody, once they have logged out."""
        if not self._user.is_authenticated:
            return self._user
        if not self._has_session:
            return await database_sync_to_async(_read)(self._user)
        session = self._scope["session"]
        asked: Any = {"session": session.__class__(session.session_key)}
        return await get_user(asked)

    async def _asks_project(self, key: str | None) -> bool:
        rule = self._rule
        if rule is None:
            return False
        try:
            ask = rule if iscoroutinefunction(rule) else database_sync_to_async(rule)
            return bool(await ask(self._user, self._workflow, self._kind, key))
        except Exception:
            logger.exception("DBOS['CAN_READ'] raised an error; %r isn't shown", self._workflow_id)
            return False


def _rule() -> Callable[..., Any] | None:
    try:
        return get_can_read()
    except ImproperlyConfigured:
        logger.exception("DBOS['CAN_READ'] can't be used, and allows nobody")
        return None


def _small(workflows: Any, for_rule: bool) -> Any:
    """Without what may be megabytes; a rule of the project's may ask for all else."""
    if not for_rule:
        return workflows.only("workflow_id", "token", "user_id")
    fields = Workflow._meta.concrete_fields
    return workflows.defer(*(one.name for one in fields if isinstance(one, models.TextField)))


def _is_of(session: Any, user: Any) -> bool:
    """Whether it is the session that says who the user is, and not a token, say."""
    if session is None or not user.is_authenticated:
        return False
    return bool(session.get(SESSION_KEY) == user._meta.pk.value_to_string(user))


def _read(user: Any) -> Any:
    found = user._meta.model._base_manager.filter(pk=user.pk).first()
    return found if found is not None and found.is_active else AnonymousUser()


_open: Counter[str] = Counter()


@contextmanager
def one_more_socket(user: Any) -> Iterator[None]:
    """Count a socket for the length of a block; raises Refused where the user has too many.

    Of this process; people who aren't logged in can't be told apart, and aren't counted.
    """
    limit = get_settings().sockets_per_user
    if limit is None or user is None or not user.is_authenticated:
        yield
        return
    name = str(user.pk)
    if _open[name] >= limit:
        logger.warning("User %r has %d sockets open in this process, and gets no more", name, limit)
        raise Refused(TOO_MANY)
    _open[name] += 1
    try:
        yield
    finally:
        _open[name] -= 1
        if not _open[name]:
            del _open[name]
