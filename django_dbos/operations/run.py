"""A run, which is one attempt at one workflow.

An operation takes a position (`begin`) and writes its outcome (`submit`, `post`), or returns the
outcome that an earlier run recorded there. `runner` calls the workflow function; `completion`
writes how that ended.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import SyncToAsync, async_to_sync

from django_dbos.core.records import Write
from django_dbos.exceptions import NondeterminismError
from django_dbos.interruptions import HistoryUnusable
from django_dbos.operations import limits
from django_dbos.operations._sync.run_writes import RunWrites
from django_dbos.operations.run_base import BaseCall
from django_dbos.operations.run_writes import AsyncRunWrites
from django_dbos.operations.runtime import Host

if TYPE_CHECKING:
    from django_dbos.store.writer import Writer

T = TypeVar("T")

MAX_NAME_LENGTH = 255


class Call(BaseCall):
    """One operation of a run: its position, and the checkpoint that was found there."""

    __slots__ = ()

    run: Run


class Run(RunWrites, AsyncRunWrites):
    """One attempt at one workflow, made under a claim."""

    host: Host[Run]

    def begin(self, operation: str, step_name: str, fingerprint: str | None = None) -> Call:
        """Take the next position for an operation; refuse it where it can't be recorded."""
        self.check()
        self.check_caller(operation)
        step_number = self.history.next_step_number()
        try:
            found = self.history.find(step_number, step_name, fingerprint)
        except NondeterminismError as error:
            self.stop(HistoryUnusable(error))
        if found is None:
            limits.check_steps(self, self.history.steps)
        return Call(self, step_number, step_name, found, fingerprint)

    def check_caller(self, operation: str) -> None:
        """Refuse an operation inside a transaction, or on another thread than the run's."""
        if self.loop is None:
            self.host.store.refuse_in_atomic(operation)
        if threading.get_ident() != self.thread_id:
            raise RuntimeError(
                f"{operation}() was called on another thread than workflow {self.workflow_id!r} "
                "runs on. Call it from the workflow itself: threads have no order to replay."
            )

    # Only sync code

    def write_with(self, writer: Writer, kind: type[Write], **values: Any) -> None:
        """Write through another writer than the host's, and wait."""
        self.check_answer(writer.write(self.fenced(kind, **values)), None)

    # Threads of async runs

    def on_loop(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Do an async operation for code that an async run has sent to a thread."""
        assert self.loop is not None

        async def perform() -> T:
            return await operation()

        if getattr(SyncToAsync.threadlocal, "main_event_loop", None) is self.loop:
            # A thread of sync_to_async(), which sync code that the operation calls may need.
            return async_to_sync(perform)()
        return asyncio.run_coroutine_threadsafe(perform(), self.loop).result()


def operation_name(operation: str, argument: str | None = None) -> str:
    """Return the step name of one of the engine's own operations."""
    name = f"dbos.{operation}" if argument is None else f"dbos.{operation}({argument})"
    return name[:MAX_NAME_LENGTH]
