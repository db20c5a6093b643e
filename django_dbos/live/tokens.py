"""Signed tokens, by which pages without a session read a workflow's streams and events.

A token names one workflow, by its id and by the token in its row, so that it doesn't open a later
workflow with the same id; a kind, keys, and the time at which it expires. It is signed with
SECRET_KEY; SECRET_KEY_FALLBACKS are accepted.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.core import signing

from django_dbos.core import durations, names
from django_dbos.operations.entry import aperform, perform
from django_dbos.store import get_store

SALT = "django_dbos.live.tokens"
HOUR = timedelta(hours=1)
# A token goes into addresses, which servers and proxies limit.
MAX_KEYS, MAX_LENGTH = 50, 4096
STREAM, EVENT = "stream", "event"


class InvalidToken(Exception):
    """The text isn't a token that this site has signed."""


class ExpiredToken(InvalidToken):
    """The token was valid until its time was over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """The content of a token."""

    workflow_id: str
    workflow_token: UUID
    kind: str
    keys: tuple[str, ...] | None
    expires_at: float
    """Seconds since the epoch."""

    def allows(self, workflow_id: str, kind: str, key: str | None) -> bool:
        """Return whether it may read a key; None asks for the right to read some events."""
        if (workflow_id, kind) != (self.workflow_id, self.kind):
            return False
        return key is None or self.keys is None or key in self.keys

    @property
    def is_expired(self) -> bool:
        """True if its time is over."""
        return time.time() >= self.expires_at


def stream_token(
    workflow_id: str, keys: Iterable[str] | None = None, max_age: float | timedelta = HOUR
) -> str:
    """Return a signed token with which anyone can read a workflow's streams until it expires.

    Pages pass it as `?token=…` to the websocket, or over HTTP as a bearer token. It grants nothing
    else. In workflow code the token is recorded, and a replay returns the same one.

    Args:
        workflow_id: The workflow.
        keys: The streams that it opens, 50 at most; None opens all of them.
        max_age: The time until it expires, in seconds or as a timedelta. Default: an hour.

    Raises:
        WorkflowDoesNotExist: There is no such workflow.
        ValueError: A key is invalid, there are none or too many, or `max_age` is 0.

    Example:
        token = dbos.stream_token("order-7", keys=["progress"], max_age=timedelta(minutes=10))
    """
    content = _content(STREAM, workflow_id, keys, max_age)
    return perform("stream_token", lambda: _sign(*content))


async def astream_token(
    workflow_id: str, keys: Iterable[str] | None = None, max_age: float | timedelta = HOUR
) -> str:
    """See stream_token()."""
    content = _content(STREAM, workflow_id, keys, max_age)
    return await aperform("stream_token", lambda: _sign(*content))


def event_token(
    workflow_id: str, keys: Iterable[str] | None = None, max_age: float | timedelta = HOUR
) -> str:
    """Return a signed token with which anyone can read a workflow's events until it expires.

    A page that follows all events with it receives those of the token's keys.

    Args:
        workflow_id: The workflow.
        keys: The events that it opens, 50 at most; None opens all of them.
        max_age: The time until it expires, in seconds or as a timedelta. Default: an hour.

    Raises:
        WorkflowDoesNotExist: There is no such workflow.
        ValueError: A key is invalid, there are none or too many, or `max_age` is 0.

    Example:
        token = dbos.event_token("order-7", keys=["status"])
    """
    content = _content(EVENT, workflow_id, keys, max_age)
    return perform("event_token", lambda: _sign(*content))


async def aevent_token(
    workflow_id: str, keys: Iterable[str] | None = None, max_age: float | timedelta = HOUR
) -> str:
    """See event_token()."""
    content = _content(EVENT, workflow_id, keys, max_age)
    return await aperform("event_token", lambda: _sign(*content))


def read(text: str) -> Token:
    """Return the content of a token; raise InvalidToken, or ExpiredToken if its time is over."""
    if len(text) > MAX_LENGTH:
        raise InvalidToken
    try:
        content = signing.loads(text, salt=SALT)
        token = Token(
            workflow_id=content["w"],
            workflow_token=UUID(hex=content["t"]),
            kind=content["k"],
            keys=None if content["n"] is None else tuple(content["n"]),
            expires_at=content["e"],
        )
    except (signing.BadSignature, ValueError, LookupError, TypeError) as error:
        raise InvalidToken from error
    if token.is_expired:
        raise ExpiredToken
    return token


def _content(
    kind: str, workflow_id: str, keys: Iterable[str] | None, max_age: float | timedelta
) -> tuple[str, str, list[str] | None, float]:
    if isinstance(keys, str):
        raise TypeError(f"keys must be a list of keys, not the str {keys!r}. Write [{keys!r}].")
    found = None if keys is None else [names.check_key(key) for key in keys]
    if found is not None and not 0 < len(found) <= MAX_KEYS:
        raise ValueError(
            f"keys must have between 1 and {MAX_KEYS} keys, but has {len(found)}. None opens all."
        )
    seconds = durations.to_seconds(max_age, label="max_age")
    if seconds == 0:
        raise ValueError("max_age must be more than 0: such a token would open nothing.")
    return kind, names.check_workflow_id(workflow_id), found, seconds


def _sign(kind: str, workflow_id: str, keys: list[str] | None, seconds: float) -> str:
    content = {
        "w": workflow_id,
        "t": get_store().reader.get_workflow(workflow_id).token.hex,
        "k": kind,
        "n": keys,
        "e": int(time.time() + seconds + 1),
    }
    text = signing.dumps(content, salt=SALT, compress=True)
    if len(text) > MAX_LENGTH:
        raise ValueError(
            f"The keys are too long together: the token would have {len(text)} characters, more "
            f"than the {MAX_LENGTH} that are read. Name fewer keys, or None for all."
        )
    return text
