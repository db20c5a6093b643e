"""Permission to read a workflow's streams and events from a page. The default is to refuse.

Permissions are checked when a page begins to read and again while it does, since they can be
revoked, accounts deactivated, sessions and tokens ended. All refusals are cheap and alike: they
neither reveal whether an id exists nor make the server read the workflow's values.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, NoReturn
from uuid import UUID

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.exceptions import ImproperlyConfigured

from django_dbos.conf import get_can_read, get_settings
from django_dbos.live import offsets, tokens
from django_dbos.live.batching import ask_in_turn
from django_dbos.live.outages import is_outage
from django_dbos.live.permissions import Facts, Question, read_facts
from django_dbos.live.readers import Reader, Reason, Refused
from django_dbos.telemetry import concealing

logger = logging.getLogger("django_dbos.live")

# Before it sends data, a reader checks again after this share of the recheck interval.
SENDING = 1 / 6
# The answer to a question that a rule decides comes at a multiple of this many seconds when it is a
# refusal: the rule is asked for existing workflows only, and its time would reveal them.
REFUSAL_STEP = 0.1
# The facts that readers keep where no rule is to be asked about the workflow.
PRIVILEGED, NOBODY = Facts(None, True), Facts(None, False)


class Access:
    """The permissions of one reader on one workflow."""

    # There are thousands, one for each socket.
    __slots__ = (
        "_checked_at",
        "_facts",
        "_grant",
        "_has_sent",
        "_key",
        "_kind",
        "_rule",
        "_token",
        "_verdicts",
        "reader",
        "workflow_id",
    )

    def __init__(self, reader: Reader, workflow_id: str, kind: str, key: str | None) -> None:
        self.reader = reader
        self.workflow_id = workflow_id
        self._kind = kind
        self._key = key
        self._token: UUID | None = None
        self._grant: tokens.Token | None = None
        self._checked_at = 0.0
        self._has_sent = False
        self._facts = NOBODY
        self._rule: Callable[..., Any] | None = None
        self._verdicts: dict[str, bool] | None = None

    @property
    def token(self) -> UUID | None:
        """The workflow's token, which differs from that of a later workflow with the same id."""
        return self._token

    @property
    def tag(self) -> str:
        """The tag of the workflow, as in offsets, once the access was checked."""
        assert self._token is not None
        return offsets.tag_of(self._token)

    @property
    def refusal(self) -> Refused:
        """The refusal of a reader who lacks permission, or whose workflow doesn't exist."""
        is_known = self.reader.token is not None or self.reader.user.is_authenticated
        return Refused(Reason.FORBIDDEN if is_known else Reason.NOT_LOGGED_IN)

    def check_tag(self, tag: str | None) -> None:
        """Raise Refused if a reader has begun with another workflow; None is one that just begins.

        Args:
            tag: The workflow's, as in offsets.
        """
        if self._token is not None and tag not in (None, self.tag):
            raise Refused(Reason.GONE)

    async def refuse(self) -> NoReturn:
        """Raise Refused for a workflow that is no longer there: as for a new reader, or GONE."""
        await self.recheck()
        raise self.refusal

    async def check(self, *, is_again: bool = False) -> None:
        """Raise Refused unless the reader may read.

        Where the id is another workflow's now, the reason is GONE if the reader may read that one.

        Reading is allowed to superusers, holders of `django_dbos.view_workflow` and
        `django_dbos.view_payload`, the workflow's own user, and users for whom DBOS["CAN_READ"]
        returns true; and to every holder of a token. A workflow that doesn't exist is
        refused to all of them.

        Args:
            is_again: The user is read again, or found to have logged out.
        """
        began = time.monotonic()
        self._verdicts = None
        self._rule = None
        if self.reader.token is not None:
            self._grant = self._read_token(self.reader.token)
        else:
            self._rule = _rule()
            if self._rule is None and not self.reader.user.is_authenticated:
                raise self.refusal
        question = Question(self.reader, self.workflow_id, self._rule is not None, is_again)
        facts = self._facts = await ask_in_turn(read_facts, question)
        if not await self._is_allowed():
            if self._rule is not None:
                await wait_for_step(began)
            raise self.refusal
        assert facts.workflow is not None
        if self._token not in (None, facts.workflow.token):
            raise Refused(Reason.GONE)
        self._token = facts.workflow.token
        if self._rule is None:
            # Thousands of readers needn't keep it.
            self._facts = PRIVILEGED if facts.is_privileged else NOBODY
        self._checked_at = began
        self._has_sent = False

    async def check_when_due(self) -> None:
        """Make the first check, or repeat it if that is due; raise Refused."""
        if self._token is None:
            await self.check()
        else:
            await self.check_again()

    async def check_again(self, *, is_sending: bool = False) -> None:
        """Repeat the check, once it is due, with the current session and user.

        It is due earlier if data is about to be sent than on an idle socket.

        Args:
            is_sending: Data is about to be sent.

        Raises:
            Refused: The reader may no longer read.
        """
        if self._grant is not None and self._grant.is_expired:
            raise Refused(Reason.EXPIRED)
        self._has_sent |= is_sending
        interval = get_settings().recheck
        if interval is None:
            return
        if time.monotonic() - self._checked_at >= interval * (SENDING if is_sending else 1):
            await self.recheck()

    async def recheck(self) -> None:
        """Repeat the check now, with the current session and user; raise Refused."""
        await self.check(is_again=True)

    @property
    def time_left(self) -> float:
        """The seconds until the next check; a reader that sends data needs one earlier."""
        interval = get_settings().recheck
        left = float("inf")
        if interval is not None:
            share = SENDING if self._has_sent else 1
            left = self._checked_at + interval * share - time.monotonic()
        return left if self._grant is None else min(left, self._grant.expires_at - time.time())

    async def allowed(self, keys: Iterable[str]) -> list[str]:
        """Return the keys that the reader may read."""
        if self._facts.is_privileged or self._key is not None:
            return list(keys)
        return [key for key in keys if await self._allows(key)]

    async def _is_allowed(self) -> bool:
        workflow = self._facts.workflow
        if workflow is None:
            return False
        if self._grant is not None:
            return workflow.token == self._grant.workflow_token and self._is_granted(self._key)
        return self._facts.is_privileged or await self._is_allowed_by_rule(self._key)

    def _is_granted(self, key: str | None) -> bool:
        return self._grant is not None and self._grant.allows(self.workflow_id, self._kind, key)

    async def _allows(self, key: str) -> bool:
        if self._grant is not None:
            return self._is_granted(key)
        if self._verdicts is None:
            self._verdicts = {}
        if key not in self._verdicts:
            self._verdicts[key] = await self._is_allowed_by_rule(key)
        return self._verdicts[key]

    def _read_token(self, text: str) -> tokens.Token:
        try:
            return tokens.read(text)
        except tokens.ExpiredToken:
            raise Refused(Reason.EXPIRED) from None
        except tokens.InvalidToken:
            raise Refused(Reason.NOT_LOGGED_IN) from None

    async def _is_allowed_by_rule(self, key: str | None) -> bool:
        rule, workflow = self._rule, self._facts.workflow
        if rule is None:
            return False
        try:
            call = rule if iscoroutinefunction(rule) else sync_to_async(rule)
            return bool(await call(self.reader.user, workflow, self._kind, key))
        except Exception as error:
            if is_outage(error):
                # Nobody is refused for ever by what passes.
                raise
            logger.error(
                "DBOS['CAN_READ'] raised an error; access to workflow %r is refused",
                self.workflow_id,
                exc_info=concealing.shown("" if workflow is None else workflow.name, error),
            )
            return False


def _rule() -> Callable[..., Any] | None:
    try:
        return get_can_read()
    except ImproperlyConfigured:
        logger.exception("DBOS['CAN_READ'] is invalid, so it grants access to nobody")
        return None


async def wait_for_step(began: float) -> None:
    """Wait until a multiple of REFUSAL_STEP has passed since a time.monotonic()."""
    passed = time.monotonic() - began
    await asyncio.sleep(REFUSAL_STEP - passed % REFUSAL_STEP)
