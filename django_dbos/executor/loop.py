"""Loop: a thread that calls its `tick` again and again, until it is stopped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import connections

from django_dbos.core.backoff import Backoff
from django_dbos.store import errors
from django_dbos.store.sessions import translated_errors
from django_dbos.telemetry import concealing

logger = logging.getLogger("django_dbos.executor")

# The first and the longest pause in seconds after errors in a row; the pause after a lock's.
BACKOFF, LOCK_PAUSE = (0.1, 2.0), 0.1


class Loop:
    """A thread that calls `tick`, which returns the seconds until the next call; None: until woken.

    An error doesn't end the thread: it is logged, `on_error` is called, and the next call comes
    after a pause that grows to 2 s.
    """

    def __init__(
        self,
        name: str,
        tick: Callable[[], float | None],
        *,
        on_error: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        self._tick = tick
        self._on_error = on_error
        self._on_end = on_end
        self._wake = threading.Event()
        self._is_stopping = False
        self._backoff = Backoff(*BACKOFF)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Call `tick` now, on its own thread; from any thread."""
        if not self._wake.is_set():
            self._wake.set()

    @property
    def is_stopping(self) -> bool:
        """True once the loop is to end; a long call of `tick` returns then."""
        return self._is_stopping

    def stop(self, timeout: float | None = None) -> None:
        """Let the call in progress finish, then end the thread."""
        self._is_stopping = True
        self._wake.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        try:
            while not self._is_stopping:
                # Before the call, so that a wake-up during it leads to another one.
                self._wake.clear()
                pause = self._call()
                # Opened by a receiver of a signal, for example; the next call opens another one.
                connections.close_all()
                if not self._is_stopping:
                    self._wake.wait(pause)
        finally:
            self._on_end()
            connections.close_all()

    def _call(self) -> float | None:
        try:
            with translated_errors():
                pause = self._tick()
        except errors.LockTimeout as error:
            # Another transaction holds a row: no fault of the connection.
            logger.info("%s waits for a lock: %r", self._thread.name, error)
            return LOCK_PAUSE
        except errors.Unavailable as error:
            if not self._backoff.delay:
                logger.warning("%s: the database is unavailable: %r", self._thread.name, error)
        except Exception as error:
            logger.error(
                "%s failed, and goes on",
                self._thread.name,
                exc_info=concealing.shown("", error),
            )
        else:
            if self._backoff.delay:
                logger.info("%s: the database is back", self._thread.name)
            self._backoff.reset()
            return pause
        self._on_error()
        return self._backoff.grow()
