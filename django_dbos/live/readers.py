"""Readers: who asks for a workflow's data, with a session or a token; and why one is refused."""

from __future__ import annotations

import logging
from collections import Counter
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import AnonymousUser

from django_dbos.conf import get_settings
from django_dbos.telemetry.rare_warnings import RareWarning

logger = logging.getLogger("django_dbos.live")
_too_many_sockets = RareWarning(
    logger, "Another socket of user %r is refused: %d are open in this process"
)


class Reason(StrEnum):
    """Why a reader is refused. Transports answer each in their own way."""

    NOT_LOGGED_IN = "not logged in"
    """Nobody is logged in, and there is no token, or one that isn't ours."""
    EXPIRED = "expired"
    """The token's time is over."""
    FORBIDDEN = "forbidden"
    """There is no permission, or no such workflow: neither the answer nor its time says which."""
    GONE = "gone"
    """The id is another workflow's now, or that of the same one after a rewind. The reader may read
    it, and has to begin anew: what they have isn't of it."""
    TOO_MANY = "too many"
    """The user reads too much at once, or a page sends too much."""


class Refused(Exception):
    """The reader may not read, or no longer."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(reason)


class Reader:
    """Someone who asks for data: a user, whose session may have made them known; or a token.

    A token decides alone, also where a user is logged in.

    Args:
        user: The user; None is nobody.
        session: The session of the request, if there is one. It is read again with each check.
        token: A text of `stream_token` or `event_token`.
    """

    __slots__ = ("_has_session", "session", "token", "user")

    def __init__(self, user: Any = None, session: Any = None, token: str | None = None) -> None:
        self.user: Any = AnonymousUser() if user is None else user
        self.token = token
        self.session = session
        self._has_session: bool | None = None

    @property
    def has_session(self) -> bool:
        """True if the session authenticates the user, and not, for example, a header."""
        return bool(self._has_session)

    def read_session(self) -> None:
        """Find out `has_session`. The first call may query the database."""
        if self._has_session is None:
            self._has_session = _is_logged_in(self.session, self.user)


def _is_logged_in(session: Any, user: Any) -> bool:
    if session is None or not user.is_authenticated:
        return False
    return bool(session.get(SESSION_KEY) == user._meta.pk.value_to_string(user))


_open: Counter[str] = Counter()


class Presence:
    """The count of an open socket, or an open response, among those of its user.

    Only those of this process count. Anonymous users and holders of tokens can't be distinguished,
    so theirs aren't limited. close() ends it, and so does the end of a `with` block.

    Raises:
        Refused: The user has DBOS["SOCKETS_PER_USER"] open already.
    """

    __slots__ = ("_name",)

    def __init__(self, reader: Reader) -> None:
        self._name: str | None = None
        limit = get_settings().sockets_per_user
        if limit is None or reader.token is not None or not reader.user.is_authenticated:
            return
        name = str(reader.user.pk)
        if _open[name] >= limit:
            _too_many_sockets.warn(name, limit)
            raise Refused(Reason.TOO_MANY)
        _open[name] += 1
        self._name = name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Count it no longer."""
        name, self._name = self._name, None
        if name is not None:
            _open[name] -= 1
            if not _open[name]:
                del _open[name]
