"""The interface between a run and its host, an executor or the caller of an inline workflow.

`HostedRun` is the interface between a run and its helpers, whose modules the run imports.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from django_dbos.core.records import Wake
from django_dbos.interruptions import RunInterrupted

if TYPE_CHECKING:
    from django_dbos.store.base import Store
    from django_dbos.store.sessions import Session
    from django_dbos.store.writer import Writer


R = TypeVar("R", contravariant=True)
T = TypeVar("T")


class Host(Protocol[R]):
    """Runs workflows, and decides how long a run may wait and which slots it uses."""

    @property
    def executor_id(self) -> str:
        """The id under which the host holds claims."""

    @property
    def store(self) -> Store:
        """The database."""

    @property
    def writer(self) -> Writer:
        """The writer of its runs."""

    @property
    def is_inline(self) -> bool:
        """True if the caller waits for the run, which is then never suspended."""

    @property
    def owns_connections(self) -> bool:
        """True if a run has Django's connections to itself; False if they are the caller's."""

    @property
    def takes_turns(self) -> bool:
        """True if all sync code must run on one thread, the only one with a test's transaction."""

    def run_awaited(self, run: R, workflow_id: str) -> bool:
        """Run a workflow that a run of this host awaits; return False if the host doesn't."""

    async def arun_awaited(self, run: R, workflow_id: str) -> bool:
        """See run_awaited()."""

    def refuse_wait(self, run: R, operation: str, wake: Wake, remaining: float | None) -> None:
        """End a run whose wait of `remaining` seconds (None: without limit) would hang."""

    def may_hold(self) -> bool:
        """Return whether a run that waits may keep its slot for a moment: other slots are free."""

    def reserve_slot(self, queue_name: str, workflow_name: str) -> bool:
        """Reserve a free slot for a child that is about to be started, if there is one.

        Once the start is committed the child runs in it; otherwise the writer returns the slot.
        """

    def may_end_later(self) -> bool:
        """Return whether a run may leave its slot before its end is written.

        The writer then calls `settled` once it is.
        """

    def settled(self, run: R) -> None:
        """Note that the end of such a run is written; called by the writer."""

    def without_slot(self, run: R) -> AbstractContextManager[None]:
        """Return a context in which a waiting run lends its slot; several branches may be in it."""

    def with_session(self, run: R, ask: Callable[[Session], T]) -> T:
        """Return the answer of `ask`, called with a session, once the database answers.

        An interruption of the run ends the wait for that.
        """

    async def awith_session(self, run: R, ask: Callable[[Session], T]) -> T:
        """See with_session()."""


class HostedRun(Protocol):
    """The part of a run that its helpers use."""

    workflow_id: str
    host: Host[Any]
    messages_sent: int
    events_set: int
    interruption: RunInterrupted | None

    @property
    def log_fields(self) -> dict[str, object]:
        """The extra fields of every log record about the run."""

    def check(self) -> None:
        """Raise the interruption that ends the run, if there is one."""

    def stop(self, reason: RunInterrupted) -> NoReturn:
        """End the run from its own code."""
