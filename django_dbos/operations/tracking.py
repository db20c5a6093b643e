"""The tasks of an async run: the loop's task factory assigns each new task to its creator's run."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any
from weakref import WeakKeyDictionary

from django_dbos.operations import context

_factories: WeakKeyDictionary[asyncio.AbstractEventLoop, _Factory] = WeakKeyDictionary()


class _Factory:
    """A loop's task factory, which adds the tasks that a run's code creates to its branches."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.users = 0

    def __call__(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, Any],
        **options: Any,
    ) -> asyncio.Task[Any]:
        if self.inner is not None:
            task = self.inner(loop, coroutine, **options)
        else:
            task = asyncio.Task(coroutine, loop=loop, **options)
        own: Context | None = options.get("context")
        scope = context.current() if own is None else own.run(context.current)
        if scope is not None and scope.step is None and scope.run.branches is not None:
            scope.run.branches.add(task)
        return task  # type: ignore[no-any-return]


@contextmanager
def tracked(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Add the tasks of this loop's runs to their branches as they are created, in this context."""
    if loop not in _factories:
        _factories[loop] = _Factory(loop.get_task_factory())
        loop.set_task_factory(_factories[loop])
    factory = _factories[loop]
    factory.users += 1
    try:
        yield
    finally:
        factory.users -= 1
        if factory.users == 0 and loop.get_task_factory() is factory:
            loop.set_task_factory(factory.inner)
            del _factories[loop]
