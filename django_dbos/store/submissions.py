"""Submissions: queued writes, and the threads, loops and callbacks that wait for their answers."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Sequence

from django_dbos.core.records import Answer, Write
from django_dbos.store.writer import Callback

# The first and the longest delay in seconds of a write that another session's lock keeps out; the
# delay doubles each time.
FIRST_DEFERRAL, LAST_DEFERRAL = 0.01, 0.5
# The writer wakes this many of the threads that a batch answers, since it has the next batch to
# write; each of them first wakes another. All at once they would only contend for the interpreter.
WOKEN_AT_ONCE = 8


class Submission:
    """A queued write, and the thread, future or callback that waits for its answer."""

    __slots__ = (
        "answer", "callback", "future", "gate", "is_repeat", "loop", "next", "tries", "write",
    )  # fmt: skip

    def __init__(self, write: Write, callback: Callback | None = None) -> None:
        self.write = write
        self.callback = callback
        self.gate: threading.Lock | None = None
        """Locked until there is an answer: a third of an Event's time."""
        self.next: Submission | None = None
        """The next waiter in the wake-up chain."""
        self.loop: asyncio.AbstractEventLoop | None = None
        self.future: asyncio.Future[Answer] | None = None
        self.answer: Answer | None = None
        self.is_repeat = False
        """True if the write may have been committed already: the answer to a COMMIT was lost."""
        self.tries = 0


class DeferredWrites:
    """Holds the writes of one workflow that another session's lock keeps out, in their order."""

    __slots__ = ("due", "is_alone", "submissions")

    def __init__(self) -> None:
        self.submissions: list[Submission] = []
        self.due = 0.0
        self.is_alone = False
        """True if a batch would have to wait for the lock: then these go in one of their own."""

    def add(self, submission: Submission, *, is_alone: bool) -> None:
        """Add a write, and postpone all of them by its back-off."""
        deferral = min(FIRST_DEFERRAL * 2**submission.tries, LAST_DEFERRAL)
        submission.tries = min(submission.tries + 1, 10)
        self.submissions.append(submission)
        self.due = max(self.due, time.monotonic() + deferral)
        self.is_alone = self.is_alone or is_alone


def deliver(submissions: Sequence[Submission]) -> None:
    """Give answers to callbacks, and wake loops and threads: each loop once for all of its runs."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Submission]] = {}
    blocked: list[Submission] = []
    for submission in submissions:
        if submission.callback is not None:
            assert submission.answer is not None
            submission.callback(submission.answer)
        if submission.loop is not None:
            by_loop.setdefault(submission.loop, []).append(submission)
        elif submission.gate is not None:
            blocked.append(submission)
    for submission, following in zip(blocked, blocked[WOKEN_AT_ONCE:], strict=False):
        submission.next = following
    for submission in blocked[:WOKEN_AT_ONCE]:
        wake(submission)
    for loop, answered in by_loop.items():
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, answered)


def wake(submission: Submission | None) -> None:
    """Wake the thread that waits for a submission."""
    if submission is not None and submission.gate is not None:
        submission.gate.release()


def _resolve(submissions: list[Submission]) -> None:
    for submission in submissions:
        if submission.future is not None and not submission.future.done():
            assert submission.answer is not None
            submission.future.set_result(submission.answer)
