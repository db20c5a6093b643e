"""The type of `Workflow.handle`; the class, `django_dbos.WorkflowHandle`, is in a higher layer.

That class has the full descriptions. A type checker compares the two wherever `WorkflowHandle` is
returned as a `Handle`, and a test compares their names.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, Unpack

from django.db.models import TextChoices

from django_dbos.core.fork_options import ForkOptions
from django_dbos.models.checkpoints import Checkpoint

Timeout = float | timedelta | None


class Stream(Protocol):
    """The values of a stream; `entries` returns them with their offsets."""

    def __iter__(self) -> Iterator[Any]: ...
    def entries(self) -> Iterator[tuple[int, Any]]: ...  # noqa: D102


class AsyncStream(Protocol):
    """The values of a stream in async code; `entries` returns them with their offsets."""

    def __aiter__(self) -> AsyncIterator[Any]: ...
    def entries(self) -> AsyncIterator[tuple[int, Any]]: ...  # noqa: D102


class Handle(Protocol):
    """One workflow, to follow and control; see `django_dbos.WorkflowHandle`."""

    workflow_id: str

    def get_result(self, timeout: Timeout = None) -> Any:
        """Wait until the workflow has ended; return its result or raise its error."""

    def get_status(self) -> TextChoices:
        """Return the status."""

    def describe(self) -> Any:
        """Return status, name, queue, times, error and more."""

    def cancel(self, children: bool = False) -> bool:
        """Cancel the workflow."""

    def resume(self, *, queue_name: str | None = None) -> bool:
        """Put a cancelled, given-up, quarantined or waiting workflow back in its queue."""

    def fork(
        self,
        from_step: int | None = None,
        *,
        from_failure: bool = False,
        args: Sequence[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        **options: Unpack[ForkOptions],
    ) -> Handle:
        """Start a new workflow with this one's history before a step."""

    def rewind(self, to_step: int, *, children: bool = False) -> None:
        """Run the workflow again from a step on, under the same id."""

    def retry(self, *, children: bool = False) -> None:
        """Run a failed workflow again, from the step that failed."""

    def delete(self, *, children: bool = False) -> None:
        """Delete a finished workflow."""

    def run_now(self) -> bool:
        """Put a delayed workflow in its queue at once."""

    def set_run_after(self, run_after: datetime | timedelta | float) -> bool:
        """Change when a delayed workflow may begin."""

    def set_attributes(self, attributes: dict[str, Any], *, merge: bool = False) -> None:
        """Give the workflow other attributes."""

    def send(
        self, message: Any, topic: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Send a message to the workflow."""

    def get_event(self, key: str, timeout: Timeout = 60, default: Any = ...) -> Any:
        """Wait until the event is set; return its value."""

    def read_stream(
        self, key: str, offset: int = 0, timeout: Timeout = None, wait: bool = True
    ) -> Stream:
        """Return the values of a stream."""

    def events(self) -> dict[str, Any]:
        """Return the latest values of all events, by key."""

    def steps(self) -> list[Checkpoint]:
        """Return the workflow's checkpoints, in the order of their step numbers."""

    def export(self, *, children: bool = False, decrypt: bool = False) -> dict[str, Any]:
        """Return the workflow with all its rows as JSON."""

    async def aget_result(self, timeout: Timeout = None) -> Any:  # noqa: ASYNC109
        """See get_result()."""

    async def aget_status(self) -> TextChoices:
        """See get_status()."""

    async def adescribe(self) -> Any:
        """See describe()."""

    async def acancel(self, children: bool = False) -> bool:
        """See cancel()."""

    async def aresume(self, *, queue_name: str | None = None) -> bool:
        """See resume()."""

    async def afork(
        self,
        from_step: int | None = None,
        *,
        from_failure: bool = False,
        args: Sequence[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        **options: Unpack[ForkOptions],
    ) -> Handle:
        """See fork()."""

    async def arewind(self, to_step: int, *, children: bool = False) -> None:
        """See rewind()."""

    async def aretry(self, *, children: bool = False) -> None:
        """See retry()."""

    async def adelete(self, *, children: bool = False) -> None:
        """See delete()."""

    async def arun_now(self) -> bool:
        """See run_now()."""

    async def aset_run_after(self, run_after: datetime | timedelta | float) -> bool:
        """See set_run_after()."""

    async def aset_attributes(self, attributes: dict[str, Any], *, merge: bool = False) -> None:
        """See set_attributes()."""

    async def asend(
        self, message: Any, topic: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """See send()."""

    async def aget_event(
        self,
        key: str,
        timeout: Timeout = 60,  # noqa: ASYNC109
        default: Any = ...,
    ) -> Any:
        """See get_event()."""

    def aread_stream(
        self, key: str, offset: int = 0, timeout: Timeout = None, wait: bool = True
    ) -> AsyncStream:
        """See read_stream()."""

    async def aevents(self) -> dict[str, Any]:
        """See events()."""

    async def aexport(self, *, children: bool = False, decrypt: bool = False) -> dict[str, Any]:
        """See export()."""

    async def asteps(self) -> list[Checkpoint]:
        """See steps()."""
