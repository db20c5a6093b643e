"""Publish and subscribe: waiters watch keys, and notifications of those keys wake them.

A notification carries a key, never data: a woken waiter reads the rows. Within a process `notify`
is enough. Between processes PostgreSQL's LISTEN brings the keys. Without LISTEN (switched off, or
behind a transaction pooler) every waiter polls on a timer of its own; on SQLite a listener watches
the file. A lost notification costs time, never correctness.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import Protocol, Self

from django_dbos.core.durations import LONGEST_WAIT
from django_dbos.core.records import Lane, queue_key

logger = logging.getLogger("django_dbos.store")

# The key that wakes every waiter, after a connection was lost.
EVERYTHING = "*"

_is_muted: ContextVar[bool] = ContextVar("dbos_is_muted", default=False)


# Callbacks for the lanes that were enqueued in, None if they aren't known; and for changed keys.
LaneListener = Callable[[list[Lane] | None], None]
KeyListener = Callable[[list[str]], None]


class Source(Protocol):
    """The source of other processes' notifications."""

    @property
    def is_connected(self) -> bool:
        """True if a notification that is sent now would arrive."""

    def start(self, wakeups: Wakeups) -> None:
        """Start, unless it has started."""

    def rest(self, wakeups: Wakeups) -> None:
        """Note that the last watch has ended: it may stop, unless there is a new one."""

    def stop(self) -> None:
        """Stop, and close the connection."""


class Watch:
    """A waiter for keys: `with wakeups.watch(...) as watch: read; watch.wait(...)`.

    A notification after the `with` was entered is never missed: the next wait returns at once.
    """

    # A process that serves live pages has thousands.
    __slots__ = (
        "_gate",
        "_is_notified",
        "_lock",
        "_waiter",
        "_wakeups",
        "keys",
        "starts_source",
    )

    def __init__(
        self, wakeups: Wakeups, keys: tuple[str, ...], *, starts_source: bool = True
    ) -> None:
        self._wakeups = wakeups
        self.keys = keys
        self.starts_source = starts_source
        self._lock = threading.Lock()
        self._is_notified = False
        self._gate: threading.Lock | None = None
        """Locked during a wait: a third of an Event's time."""
        self._waiter: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None

    def __enter__(self) -> Self:
        self._wakeups._add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._wakeups._remove(self)

    def wait(self, timeout: float | None) -> bool:
        """Wait on this thread, for `timeout` seconds at most; return whether a key was notified."""
        with self._lock:
            if self._is_notified:
                self._is_notified = False
                return True
            gate = self._gate = threading.Lock()
            gate.acquire()
        gate.acquire(timeout=-1 if timeout is None else min(max(timeout, 0.0), LONGEST_WAIT))
        with self._lock:
            self._gate = None
            is_notified = self._is_notified
            self._is_notified = False
        return is_notified

    async def await_(self, timeout: float | None) -> bool:  # noqa: ASYNC109
        """See wait()."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._is_notified:
                self._is_notified = False
                return True
            future: asyncio.Future[None] = loop.create_future()
            self._waiter = (loop, future)
        try:
            await asyncio.wait((future,), timeout=timeout)
        finally:
            with self._lock:
                self._waiter = None
                is_notified = self._is_notified
                self._is_notified = False
            if not future.done():
                future.cancel()
        return is_notified

    def _notify(self) -> None:
        with self._lock:
            self._is_notified = True
            if self._gate is not None:
                self._gate.release()
                self._gate = None
            if self._waiter is None:
                return
            loop, future = self._waiter
            self._waiter = None
        # Nothing waits in a closed loop.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, future)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Wakeups:
    """The waiters of this process.

    Args:
        source: The source of other processes' notifications, if there is one.
        may_listen: Returns whether the calling thread may start the source.
    """

    def __init__(
        self, source: Source | None = None, *, may_listen: Callable[[], bool] = lambda: True
    ) -> None:
        self._lock = threading.Lock()
        # Most keys have one watch: a set for each would take 200 bytes.
        self._watches: dict[str, tuple[Watch, ...]] = {}
        self._source = source
        self._may_listen = may_listen
        self._users = 0
        self._lane_listeners: list[LaneListener] = []
        self._key_listeners: list[KeyListener] = []

    def watch(self, *keys: str) -> Watch:
        """Return a watch of these keys, which lasts as long as its `with` block."""
        return Watch(self, keys)

    def notify(self, keys: Iterable[str]) -> None:
        """Wake this process's watches of the keys."""
        keys = list(keys)
        for listener in list(self._key_listeners):
            listener(keys)
        self._wake(keys)

    def _wake(self, keys: Iterable[str]) -> None:
        woken: set[Watch] = set()
        with self._lock:
            for key in keys:
                if key == EVERYTHING:
                    woken.update(*self._watches.values())
                elif key in self._watches:
                    woken.update(self._watches[key])
        for watch in woken:
            watch._notify()

    def notify_lanes(self, lanes: Iterable[Lane]) -> None:
        """Notify this process's executors of lanes that were enqueued in, or have places again.

        Watches of the queues' keys are woken, too.
        """
        lanes = list(lanes)
        if lanes:
            for listener in list(self._lane_listeners):
                listener(lanes)
            self._wake({queue_key(lane.queue_name) for lane in lanes})

    def notify_everything(self) -> None:
        """Wake all waiters and executors: which notifications were missed isn't known."""
        for listener in list(self._lane_listeners):
            listener(None)
        self.notify([EVERYTHING])

    def add_key_listener(self, listener: KeyListener) -> None:
        """Call a function with all keys that are notified."""
        self._key_listeners.append(listener)

    def remove_key_listener(self, listener: KeyListener) -> None:
        """Undo `add_key_listener`."""
        self._key_listeners.remove(listener)

    def add_lane_listener(self, listener: LaneListener) -> None:
        """Call a function with the lanes that are enqueued in; with None if they aren't known."""
        self._lane_listeners.append(listener)

    def remove_lane_listener(self, listener: LaneListener) -> None:
        """Undo `add_lane_listener`."""
        self._lane_listeners.remove(listener)

    @property
    def is_used(self) -> bool:
        """True if notifications of other processes are wanted."""
        return bool(self._users or self._watches)

    @property
    def is_listening(self) -> bool:
        """True if notifications of other processes arrive; otherwise waiters poll on a timer."""
        return self._source is not None and self._source.is_connected

    @contextlib.contextmanager
    def muted(self) -> Iterator[None]:
        """Keep watches that are entered in the block from starting the source.

        So do tasks and threads that inherit the context. Inside a test's transaction no
        notification comes from other processes.
        """
        before = _is_muted.get()
        _is_muted.set(True)
        try:
            yield
        finally:
            _is_muted.set(before)

    def start_listening(self) -> None:
        """Keep the source of other processes' notifications running, watched or not."""
        with self._lock:
            self._users += 1
            self._start_source()

    def stop_listening(self) -> None:
        """Undo one `start_listening`."""
        with self._lock:
            self._users -= 1
        if not self.is_used:
            self.stop()

    def ensure_listening(self) -> None:
        """Start the source of other processes' notifications, unless it runs, for the watches."""
        with self._lock:
            if self.is_used:
                self._start_source()

    def stop(self) -> None:
        """Stop the source; the next watch starts it again."""
        if self._source is not None:
            self._source.stop()

    def _add(self, watch: Watch) -> None:
        with self._lock:
            for key in watch.keys:
                self._watches[key] = (*self._watches.get(key, ()), watch)
            if watch.starts_source:
                self._start_source()

    def _remove(self, watch: Watch) -> None:
        with self._lock:
            for key in watch.keys:
                others = tuple(one for one in self._watches.get(key, ()) if one is not watch)
                if others:
                    self._watches[key] = others
                else:
                    self._watches.pop(key, None)
        if self._source is not None and not self.is_used:
            self._source.rest(self)

    def _start_source(self) -> None:
        if self._source is None or _is_muted.get() or not self._may_listen():
            return
        try:
            self._source.start(self)
        except (OSError, RuntimeError) as error:
            # No descriptor or no thread left: the wait goes on, and ends by its timer.
            logger.warning("Not listening to the database, waiters poll on a timer: %r", error)
