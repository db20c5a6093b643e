"""Feed: the base of what readers of the same data on one event loop share."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from typing import Any, Protocol
from uuid import UUID

from django_dbos.live.batching import ask
from django_dbos.live.frames import End
from django_dbos.live.looks import Answer, Look, answer_all
from django_dbos.store.errors import LockTimeout, Unavailable


class Host(Protocol):
    """The hub, as its feeds see it."""

    def note_failure(self, error: BaseException) -> None:
        """Log that looks fail; the timer tries again."""

    def note_success(self) -> None:
        """Note that looks don't fail."""


class Feed(ABC):
    """Data of one workflow, looked at once for all of its readers.

    A notification makes it stale. It asks for a look before it says that there is nothing new, and
    is clean from then on: a notification during the look makes it stale again (rule 77).
    """

    # There are thousands, where each reader has a workflow of their own.
    __slots__ = (
        "_end",
        "_host",
        "_is_stale",
        "_key",
        "_looks",
        "_more_waiters",
        "_token",
        "_waiter",
        "_workflow_id",
        "looked_at",
        "readers",
    )

    def __init__(self, host: Host, workflow_id: str, token: UUID | None, key: str | None) -> None:
        self._host = host
        self._workflow_id = workflow_id
        self._token = token
        self._key = key
        self._is_stale = True
        self._end: End | None = None
        # Most feeds have one reader: a set for each would take 200 bytes.
        self._waiter: asyncio.Future[None] | None = None
        self._more_waiters: set[asyncio.Future[None]] | None = None
        self._looks: dict[Hashable, asyncio.Future[Answer]] = {}
        self.readers = 0
        self.looked_at = 0.0

    @property
    def identity(self) -> tuple[Hashable, ...]:
        """The arguments that it was made with, besides its host."""
        return self._workflow_id, self._token, self._key

    @property
    @abstractmethod
    def keys(self) -> tuple[str, ...]:
        """The keys under which its changes are notified."""

    @abstractmethod
    def _look_for_news(self) -> None:
        """Ask for what the waiting readers don't have yet."""

    @property
    def is_awaited(self) -> bool:
        """True if a reader waits for news."""
        return self._waiter is not None or bool(self._more_waiters)

    @property
    def is_stale(self) -> bool:
        """True if the data may have changed since it was looked at."""
        return self._is_stale

    def note_change(self) -> None:
        """Note that the data may have changed; look at once if a reader waits."""
        self._is_stale = True
        if self.is_awaited:
            self._look_for_news()

    def welcome(self) -> None:
        """Count a new reader, for whom there is a look: what the others were told may have changed.

        A workflow that had ended may have been resumed.
        """
        self.readers += 1
        self._is_stale = True

    @abstractmethod
    def rest(self) -> None:
        """Forget what only readers that are behind could use; they read again."""

    def new_waiter(self) -> asyncio.Future[None]:
        """Return a future that is resolved by news; the caller discards it."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._waiter is None:
            self._waiter = waiter
        elif self._more_waiters is None:
            self._more_waiters = {waiter}
        else:
            self._more_waiters.add(waiter)
        return waiter

    def discard(self, waiter: asyncio.Future[None]) -> None:
        """Forget a future of new_waiter()."""
        if waiter is self._waiter:
            self._waiter = None
        elif self._more_waiters is not None:
            self._more_waiters.discard(waiter)

    def _ask(
        self, identity: Hashable, look: Look, take: Callable[[Any], None]
    ) -> asyncio.Future[Answer]:
        """Ask for a look, unless the same one is under way; `take` gets the answer first."""
        outcome = self._looks.get(identity)
        if outcome is None:
            self.looked_at = time.monotonic()
            # Not the answer's own future: that is done before the feed has taken the answer.
            outcome = self._looks[identity] = asyncio.get_running_loop().create_future()
            # The askers may have gone when an error comes.
            outcome.add_done_callback(lambda done: done.cancelled() or done.exception())
            asked: asyncio.Future[Answer] = ask(answer_all, look)
            asked.add_done_callback(lambda done: self._take(identity, done, take))
        return outcome

    def _take(
        self, identity: Hashable, done: asyncio.Future[Answer], take: Callable[[Any], None]
    ) -> None:
        outcome = self._looks.pop(identity)
        if not self._looks:
            # A dict keeps the room of what it had.
            self._looks = {}
        if done.cancelled():
            self._is_stale = True
            outcome.cancel()
        elif error := done.exception():
            self._is_stale = True
            outcome.set_exception(error)
            self._fail(error)
        else:
            self._host.note_success()
            take(done.result())
            outcome.set_result(done.result())
            if self._is_stale and self.is_awaited:
                self._look_for_news()

    def _wake(self) -> None:
        for waiter in self._take_waiters():
            waiter.set_result(None)

    def _take_waiters(self) -> list[asyncio.Future[None]]:
        """Return those that still wait, and forget them."""
        waiters = [self._waiter, *(self._more_waiters or ())]
        self._waiter = self._more_waiters = None
        return [waiter for waiter in waiters if waiter is not None and not waiter.done()]

    def _fail(self, error: BaseException) -> None:
        """End the waits by an error that won't go away; leave an outage to the timer."""
        if not is_lasting(error):
            self._host.note_failure(error)
            return
        for waiter in self._take_waiters():
            waiter.set_exception(error)


def is_lasting(error: BaseException) -> bool:
    """Return whether a later look would fail in the same way."""
    return not isinstance(error, Unavailable | LockTimeout)
