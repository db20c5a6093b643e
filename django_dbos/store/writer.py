"""Writer: takes the writes of runs and answers each once it is durable.

`BatchWriter` (`group_commit`) writes for the runs of an executor, `InlineWriter` (`inline_writer`)
for workflows that run inline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from django_dbos.core.batch.plan import Plan
from django_dbos.core.queues import Visit
from django_dbos.core.records import Answer, Write

# Limits of one batch.
MAX_BATCH_ROWS = 500
MAX_BATCH_BYTES = 8 * 1024 * 1024
# The first and the longest delay in seconds before a batch is written again.
WRITE_BACKOFF = (0.05, 2.0)

Callback = Callable[[Answer], None]


class Succession(Protocol):
    """A claim that may be made in the transaction of a batch, for the places that it frees."""

    visit: Visit

    def note(self, plan: Plan) -> None:
        """Note the plan of the committed batch, with the claims if they were tried."""


WithEnds = Callable[[Sequence[Write]], AbstractContextManager[Succession | None]]
"""Yields the succession for a batch of writes, or None, for the length of their transaction."""


class Writer(Protocol):
    """Takes the writes of a run."""

    def write(self, write: Write) -> Answer:
        """Write, and wait until the write is durable."""

    async def awrite(self, write: Write) -> Answer:
        """See write()."""

    def post(self, write: Write, callback: Callback | None = None) -> None:
        """Write without waiting; later writes of the workflow commit after it."""

    async def apost(self, write: Write, callback: Callback | None = None) -> None:
        """See post()."""

    def leave(self, write: Write, callback: Callback) -> None:
        """Like post(), from a thread that is done and may therefore lead the group commit."""
