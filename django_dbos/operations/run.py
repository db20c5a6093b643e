"""One attempt at one workflow: load, call, settle. (Under construction: the interface.)"""

from __future__ import annotations

from collections.abc import Sequence

from django_dbos.core.batch import FoundCheckpoint
from django_dbos.core.records import Claim
from django_dbos.core.registry import WorkflowDefinition
from django_dbos.exceptions import RunInterrupted
from django_dbos.operations.host import Host


class Run:
    """One attempt at one workflow. Made under a claim; ends it, or gives it up, in `execute`."""

    def __init__(
        self,
        claim: Claim,
        definition: WorkflowDefinition,
        host: Host,
        *,
        checkpoints: Sequence[FoundCheckpoint] = (),
        ended_streams: set[str] | frozenset[str] = frozenset(),
    ) -> None:
        self.claim = claim
        self.definition = definition
        self.host = host

    def execute(self) -> None:
        """Run a sync workflow function on this thread, to its end. Never raises."""

    async def aexecute(self) -> None:
        """Run an async workflow function on this loop, to its end. Never raises."""

    def interrupt(self, reason: RunInterrupted) -> None:
        """Have the run end: from any thread, at its next durable operation, or in its wait.

        `ClaimLost` and `RunCancelled` cancel async code at once; `HandedOver` lets the step in
        progress finish and be recorded, then gives the claim back, uncounted.
        """
