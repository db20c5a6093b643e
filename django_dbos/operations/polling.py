"""The one loop of every wait: poll, pause until a notification or a timer, and poll again.

Operations of workflows wait in it (`waits`, `stream_readers`), and so do the engine's own reads
during an outage (`reads`), calls from outside of workflows (`client`), and websockets.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

from django_dbos.operations.runtime import HostedRun
from django_dbos.store.pubsub import Watch

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class AsyncWait(Protocol[T_co]):
    """The subject of a wait, and the work between two polls."""

    async def poll(self, is_expected: bool) -> tuple[T_co] | None:
        """Return the awaited value in a tuple; None while there is none.

        `is_expected` is set after a notification, which makes a value likely.
        """

    async def pause(self) -> float | None:
        """Return the seconds until the next poll; None once the wait's time is up."""

    def blocking(self) -> AbstractContextManager[None]:
        """Return a context in which the caller blocks until the next poll."""
        return nullcontext()

    async def resume(self) -> None:
        """Prepare the next poll, or raise the error that ends the wait."""


async def auntil(
    watch: Watch, wait: AsyncWait[T], *, has_polled: bool = False, is_expected: bool = False
) -> tuple[T] | None:
    """Poll until there is a value; return it in a tuple, or None once the wait's time is up.

    The caller has entered the watch: a notification between two polls is never missed. A caller
    that `has_polled` itself, in vain, begins with a pause.
    """
    found = None if has_polled else await wait.poll(is_expected)
    while found is None:
        seconds = await wait.pause()
        if seconds is None:
            return None
        with wait.blocking():
            is_expected = await watch.await_(seconds)
        await wait.resume()
        found = await wait.poll(is_expected)
    return found


class BasePause:
    """A pause of a run that keeps its slot; an interruption of the run ends it."""

    def __init__(self, run: HostedRun, seconds: float) -> None:
        self._run = run
        self._until = time.monotonic() + seconds

    def blocking(self) -> AbstractContextManager[None]:
        """Return a context in which the caller blocks until the next poll."""
        return nullcontext()

    def _remaining(self) -> float:
        return self._until - time.monotonic()

    def _poll(self) -> tuple[None] | None:
        self._run.check()
        return (None,) if self._remaining() <= 0 else None


class AsyncPause(BasePause):
    """A pause of a run that keeps its slot; an interruption of the run ends it."""

    async def poll(self, is_expected: bool) -> tuple[None] | None:
        """Return a tuple once the time has passed."""
        return self._poll()

    async def pause(self) -> float:
        """Return the seconds that are left."""
        return self._remaining()

    async def resume(self) -> None:
        """Do nothing: the next poll checks the run."""
