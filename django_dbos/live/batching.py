"""Batching: all questions of an event loop that come up during one call are the next call."""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from asgiref.sync import sync_to_async

from django_dbos.live.threads import in_thread

Q = TypeVar("Q")
A = TypeVar("A")

# The number of questions that one call answers.
MAX_QUESTIONS = 500

AnswerAll = Callable[[list[Q]], Sequence[A | BaseException | None]]


class Batcher(Generic[Q, A]):
    """Asks a function that answers many questions at once, on the thread for live data.

    An answer that is an exception is raised to its asker. A question that is answered by None is
    asked again, before all others; the first one of a call never is.
    """

    def __init__(self, answer_all: AnswerAll[Q, A]) -> None:
        self._loop = asyncio.get_running_loop()
        self._answer_all = answer_all
        self._asked: list[tuple[Q, asyncio.Future[A]]] = []
        self._task: asyncio.Task[None] | None = None

    def ask(self, question: Q) -> asyncio.Future[A]:
        """Return the answer to come."""
        future: asyncio.Future[A] = self._loop.create_future()
        # The asker may have gone when an error comes.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._asked.append((question, future))
        if self._task is None:
            # In a context of its own: that of a request ends with it.
            self._task = self._loop.create_task(self._run(), context=contextvars.Context())
        return future

    async def _run(self) -> None:
        try:
            while self._asked:
                asked = self._asked[:MAX_QUESTIONS]
                del self._asked[:MAX_QUESTIONS]
                await self._answer(asked)
        finally:
            self._task = None
            _batchers.pop((self._loop, self._answer_all), None)

    async def _answer(self, asked: list[tuple[Q, asyncio.Future[A]]]) -> None:
        try:
            answers = await in_thread(self._answer_all, [question for question, _ in asked])
        except Exception as error:
            answers = [error] * len(asked)
        except BaseException:
            for _, future in asked:
                future.cancel()
            raise
        pairs = list(zip(asked, answers, strict=True))
        self._asked[:0] = [question for question, answer in pairs if answer is None]
        for (_, future), answer in pairs:
            if answer is None or future.done():
                continue
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)


_batchers: dict[tuple[asyncio.AbstractEventLoop, Any], Batcher[Any, Any]] = {}


def ask(answer_all: AnswerAll[Q, A], question: Q) -> asyncio.Future[A]:
    """Ask a function that answers many questions at once; return the answer to come."""
    name = (asyncio.get_running_loop(), answer_all)
    if name not in _batchers:
        _batchers[name] = Batcher(answer_all)
    return _batchers[name].ask(question)


# True where one caller waits in async_to_sync(), who has a transaction of their own.
_is_alone: contextvars.ContextVar[bool] = contextvars.ContextVar("is_alone", default=False)


@contextmanager
def alone() -> Iterator[None]:
    """Have ask_in_turn() use the thread that waits in async_to_sync(), and its connection."""
    before = _is_alone.set(True)
    try:
        yield
    finally:
        _is_alone.reset(before)


async def ask_in_turn(answer_all: AnswerAll[Q, A], question: Q) -> A:
    """Return the answer of ask(); within alone() without others, on the caller's own thread."""
    if not _is_alone.get():
        return await ask(answer_all, question)
    (answer,) = await sync_to_async(answer_all)([question])
    if isinstance(answer, BaseException):
        raise answer
    assert answer is not None, "the first question of a call is answered"
    return answer


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_batchers.clear)
