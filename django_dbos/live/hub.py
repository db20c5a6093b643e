"""The hub of an event loop: it answers the looks of all feeds, and keeps the feeds fresh.

Notifications make feeds stale, and those look for their waiting readers. All looks that come up
during one call are the next call. A timer, one for all, looks for the change whose notification was
lost, and checks the readers whose permission is to be checked again.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine, Hashable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, cast

from django_dbos.conf import get_settings
from django_dbos.live.access import Access
from django_dbos.live.feed import Feed
from django_dbos.live.looks import Answer, Look, answer_all
from django_dbos.live.threads import in_thread
from django_dbos.store import get_store
from django_dbos.store.pubsub import Watch

logger = logging.getLogger("django_dbos.live")

F = TypeVar("F", bound=Feed)

# The factor by which the timer is slower while notifications of other processes arrive. It then
# only covers a process that died between its commit and its notification.
RELAXED = 10
# The number of looks that one call answers.
MAX_LOOKS = 200
# The share of an interval by which the timer may be early, so that many are due at once; and the
# shortest and the longest time between two rounds, in seconds.
TOLERANCE = 1 / 6
SHORTEST, LONGEST = 0.02, 5.0


class _FeedWatch(Watch):
    """A watch whose notifications go to the hub."""

    def __init__(self, hub: Hub, feed: Feed) -> None:
        super().__init__(get_store().wakeups, feed.keys)
        self._hub = hub
        self._feed = feed

    def _notify(self) -> None:
        self._hub.note_change(self._feed)


class Hub:
    """The feeds of one event loop, and the tasks that serve them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._feeds: dict[Hashable, tuple[Feed, _FeedWatch]] = {}
        self._asked: list[tuple[Look, asyncio.Future[Answer]]] = []
        self._answering: asyncio.Task[None] | None = None
        self._rounds: asyncio.Task[None] | None = None
        self._lock = threading.Lock()
        self._changed: set[Feed] = set()
        self._guarded: dict[asyncio.Future[None], Access] = {}
        self._is_failing = False

    # Looks

    def ask(self, look: Look) -> asyncio.Future[Answer]:
        """Return the answer to come."""
        future: asyncio.Future[Answer] = self._loop.create_future()
        # The asker may have gone when an error comes.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._asked.append((look, future))
        if self._answering is None:
            self._answering = self._start(self._answer_all())
        return future

    async def _answer_all(self) -> None:
        try:
            while self._asked:
                asked = self._asked[:MAX_LOOKS]
                del self._asked[:MAX_LOOKS]
                try:
                    await self._answer(asked)
                finally:
                    for _, future in asked:
                        future.cancel()
        finally:
            self._answering = None
            _let_go(self)

    async def _answer(self, asked: list[tuple[Look, asyncio.Future[Answer]]]) -> None:
        answers = await in_thread(answer_all, [look for look, _ in asked])
        for (_, future), answer in zip(asked, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)
                self._is_failing = False

    def note_failure(self, error: BaseException) -> None:
        """Log the first of several consecutive failures."""
        if not self._is_failing:
            logger.warning("The database is unavailable; live pages wait for it: %r", error)
        self._is_failing = True

    # Feeds

    @contextmanager
    def feed(self, make: Callable[..., F], *identity: Hashable) -> Iterator[F]:
        """Read from a feed, with the readers of the same data, for the length of a block."""
        name = (make, *identity)
        if name not in self._feeds:
            self._open(name, make(self, *identity))
        found, watch = self._feeds[name]
        feed = cast(F, found)
        feed.welcome()
        try:
            yield feed
        finally:
            feed.readers -= 1
            if not feed.readers:
                del self._feeds[name]
                watch.__exit__(None, None, None)
            if not self._feeds and self._rounds is not None:
                self._rounds.cancel()
                self._rounds = None
            _let_go(self)

    def _open(self, name: Hashable, feed: Feed) -> None:
        watch = _FeedWatch(self, feed)
        # Before the first look, so that no change is missed (rule 77).
        watch.__enter__()
        self._feeds[name] = feed, watch
        if self._rounds is None:
            self._rounds = self._start(self._make_rounds())

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

    async def wait(self, feed: Feed, access: Access) -> None:
        """Wait until a feed has news; raise Refused if the reader loses its permission."""
        waiter = feed.new_waiter()
        self._guarded[waiter] = access
        try:
            await waiter
        finally:
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
                self._poll(pause - step)
                await self._check_readers(step)
            except Exception:
                logger.exception("A round of the live pages failed")

    def _poll(self, pause: float) -> None:
        due = time.monotonic() - pause
        for feed, _ in list(self._feeds.values()):
            if feed.is_awaited and feed.looked_at <= due:
                feed.rest()
                feed.note_change()

    async def _check_readers(self, step: float) -> None:
        due = [item for item in self._guarded.items() if item[1].time_left <= step]
        checks = (access.recheck() for _, access in due)
        outcomes = await asyncio.gather(*checks, return_exceptions=True)
        for (waiter, _), outcome in zip(due, outcomes, strict=True):
            if isinstance(outcome, BaseException) and not waiter.done():
                waiter.set_exception(outcome)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # In a context of its own: that of a request ends with it.
        return self._loop.create_task(work, context=contextvars.Context())

    @property
    def is_idle(self) -> bool:
        """True if nobody reads, and nothing is asked."""
        return not (self._feeds or self._asked or self._answering)


_hubs: dict[asyncio.AbstractEventLoop, Hub] = {}


def get_hub() -> Hub:
    """Return the hub of the running event loop."""
    loop = asyncio.get_running_loop()
    return _hubs.setdefault(loop, Hub(loop))


def _let_go(hub: Hub) -> None:
    if hub.is_idle:
        _hubs.pop(hub._loop, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_hubs.clear)
