"""The hub of an event loop: it keeps the feeds, and keeps them fresh.

Notifications make feeds stale, and those look for their waiting readers. A timer, one for all,
looks for the change whose notification was lost, and checks the readers whose permission is to be
checked again.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import TypeVar, cast

from django_dbos.conf import get_settings
from django_dbos.live.access import Access
from django_dbos.live.feed import Feed
from django_dbos.live.outages import OUTAGE
from django_dbos.store import get_store
from django_dbos.store.pubsub import Watch
from django_dbos.telemetry import concealing

logger = logging.getLogger("django_dbos.live")

F = TypeVar("F", bound=Feed)

# The factor by which the timer is slower while notifications of other processes arrive. It then
# only covers a process that died between its commit and its notification.
RELAXED = 10
# The share of an interval by which the timer may be early, so that many are due at once; and the
# shortest and the longest time between two rounds, in seconds.
TOLERANCE = 1 / 6
SHORTEST, LONGEST = 0.02, 5.0


class _FeedWatch(Watch):
    """A watch whose notifications go to the hub.

    Only the first one starts the source: whether it may asks for a connection of Django's, which
    each task would keep as long as it lives.
    """

    __slots__ = ("_hub", "feed")

    def __init__(self, hub: Hub, feed: Feed, *, is_first: bool) -> None:
        super().__init__(get_store().wakeups, feed.keys, starts_source=is_first)
        self._hub = hub
        self.feed = feed

    def _notify(self) -> None:
        self._hub.note_change(self.feed)


class Hub:
    """The feeds of one event loop, and the tasks that serve them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._feeds: dict[Hashable, _FeedWatch] = {}
        self._rounds: asyncio.Task[None] | None = None
        self._lock = threading.Lock()
        self._changed: set[Feed] = set()
        self._guarded: dict[asyncio.Future[None], Access] = {}
        self._is_failing = False

    def note_failure(self, error: BaseException) -> None:
        """Log the first of several consecutive failures."""
        if not self._is_failing:
            logger.warning("The database is unavailable; live pages wait for it: %r", error)
        self._is_failing = True

    def note_success(self) -> None:
        """Note that the next failure is another outage's."""
        self._is_failing = False

    # Feeds

    def join(self, make: Callable[..., F], *identity: Hashable) -> F:
        """Return the feed of some data, which its readers share; each of them leaves it once."""
        name = (make, *identity)
        if name not in self._feeds:
            self._open(name, make(self, *identity))
        feed = cast(F, self._feeds[name].feed)
        feed.welcome()
        return feed

    def leave(self, feed: Feed) -> None:
        """Undo one join()."""
        feed.readers -= 1
        if not feed.readers:
            self._feeds.pop((type(feed), *feed.identity)).__exit__(None, None, None)
        if not self._feeds:
            self._rest()

    def _rest(self) -> None:
        if self._rounds is not None:
            self._rounds.cancel()
            self._rounds = None
        _hubs.pop(self._loop, None)

    def _open(self, name: Hashable, feed: Feed) -> None:
        watch = _FeedWatch(self, feed, is_first=not self._feeds)
        # Before the first look, so that no change is missed (rule 77).
        watch.__enter__()
        self._feeds[name] = watch
        if self._rounds is None:
            # In a context of its own: that of a request ends with it.
            context = contextvars.Context()
            self._rounds = self._loop.create_task(self._make_rounds(), context=context)

    def note_change(self, feed: Feed) -> None:
        """Tell a feed, from any thread, that its data may have changed."""
        with self._lock:
            is_first = not self._changed
            self._changed.add(feed)
        if is_first:
            # Nothing waits in a closed loop.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._pass_on)

    def _pass_on(self) -> None:
        with self._lock:
            changed, self._changed = self._changed, set()
        for feed in changed:
            feed.note_change()

    def begin_wait(self, feed: Feed, access: Access) -> asyncio.Future[None] | None:
        """Return a future that news resolves, or to which a loss of permission is an error.

        Return None if there may be news already: a change while the reader did something else
        (rule 77). The caller ends the wait.
        """
        if feed.is_stale:
            return None
        waiter = feed.new_waiter()
        self._guarded[waiter] = access
        return waiter

    def end_wait(self, feed: Feed, waiter: asyncio.Future[None]) -> None:
        """Forget a future of begin_wait()."""
        feed.discard(waiter)
        del self._guarded[waiter]

    # Rounds

    async def _make_rounds(self) -> None:
        while True:
            settings = get_settings()
            relaxed = RELAXED if get_store().wakeups.is_listening else 1
            pause = settings.poll_interval * relaxed
            shortest = min(pause, pause if settings.recheck is None else settings.recheck)
            step = min(max(shortest * TOLERANCE, SHORTEST), LONGEST)
            await asyncio.sleep(step)
            try:
                get_store().wakeups.ensure_listening()
                self._poll(pause - step)
                await self._check_readers(step)
            except Exception as error:
                shown = concealing.shown("", error)
                logger.error("A round of the live pages failed", exc_info=shown)

    def _poll(self, pause: float) -> None:
        due = time.monotonic() - pause
        for feed in [watch.feed for watch in self._feeds.values()]:
            if feed.is_awaited and feed.looked_at <= due:
                feed.rest()
                feed.note_change()

    async def _check_readers(self, step: float) -> None:
        due = [item for item in self._guarded.items() if item[1].time_left <= step]
        checks = (access.recheck() for _, access in due)
        outcomes = await asyncio.gather(*checks, return_exceptions=True)
        for (waiter, _), outcome in zip(due, outcomes, strict=True):
            # During an outage nothing can be sent, and before that there is another check.
            if isinstance(outcome, OUTAGE) or not isinstance(outcome, BaseException):
                continue
            if not waiter.done():
                waiter.set_exception(outcome)


_hubs: dict[asyncio.AbstractEventLoop, Hub] = {}


def get_hub() -> Hub:
    """Return the hub of the running event loop."""
    loop = asyncio.get_running_loop()
    return _hubs.setdefault(loop, Hub(loop))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_hubs.clear)
