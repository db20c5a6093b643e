"""What a run needs of whoever runs it: the executor, or the caller of an inline workflow.

And what the helpers of a run, which it calls itself, need of it: its class stands above both.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from django_dbos.core.records import Wake
from django_dbos.interruptions import RunInterrupted

if TYPE_CHECKING:
    from django_dbos.store.base import Store
    from django_dbos.store.writer import Writer


R = TypeVar("R", contravariant=True)


class Host(Protocol[R]):
    """Runs workflows."""

    @property
    def executor_id(self) -> str:
        """The id under which it holds claims."""

    @property
    def store(self) -> Store:
        """The database."""

    @property
    def writer(self) -> Writer:
        """Where its runs' writes go."""

    @property
    def is_inline(self) -> bool:
        """Whether the caller waits for the run, which is then never suspended."""

    @property
    def owns_connections(self) -> bool:
        """Whether Django's connections are a run's own, closed after it, or the caller's."""

    @property
    def takes_turns(self) -> bool:
        """Whether all that is sync must run on one thread: a test's transaction is only there."""

    def run_awaited(self, run: R, workflow_id: str) -> bool:
        """Run a workflow that a run of this host awaits, if that can be done here and now."""

    async def arun_awaited(self, run: R, workflow_id: str) -> bool:
        """See run_awaited()."""

    def refuse_wait(self, run: R, operation: str, wake: Wake, remaining: float | None) -> None:
        """End a run whose wait, of `remaining` seconds (None: without limit), would hang."""

    def may_hold(self) -> bool:
        """Whether a run that waits may keep its slot for a moment: there are free ones."""

    def reserve_slot(self, queue_name: str, workflow_name: str) -> bool:
        """Keep a free slot for a child that is about to be started, if there is one.

        Once the start is committed the child runs in it; the writer gives it back otherwise.
        """

    def may_end_later(self) -> bool:
        """Whether the run about to end may do so before its end is written.

        It then gives its slot back, and `settled` is called when it is.
        """

    def settled(self, run: R) -> None:
        """The end of a run that ended before is written; called by the writer."""

    def without_slot(self, run: R) -> AbstractContextManager[None]:
        """A run that waits in here, without being suspended, doesn't use its slot.

        Several of its branches may: it has one slot all the same.
        """


class HostedRun(Protocol):
    """One attempt at a workflow, as its helpers see it."""

    workflow_id: str
    host: Host[Any]
    messages_sent: int
    events_set: int

    @property
    def log_fields(self) -> dict[str, object]:
        """What every log record about the run carries."""

    def check(self) -> None:
        """Raise what ends the run, if something does."""

    def stop(self, reason: RunInterrupted) -> NoReturn:
        """End the run, from within."""
