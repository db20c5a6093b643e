"""One workflow's checkpoints: the next step number, and what was recorded under it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from django_dbos.core.records import Checkpoint, State
from django_dbos.exceptions import NondeterminismError


class History:
    """What a workflow's earlier runs have recorded, and how far this run has come with it."""

    def __init__(self, workflow_id: str, checkpoints: Iterable[Checkpoint] = ()) -> None:
        self._workflow_id = workflow_id
        self._checkpoints = {one.step_number: one for one in checkpoints}
        self._last_recorded = max(self._checkpoints, default=0)
        last_order = max((c.record_order for c in self._checkpoints.values()), default=0)
        # Atomic steps of an async run are recorded on another thread: next() is one operation.
        self._orders = itertools.count(last_order + 1)
        self.step_number = 0
        """The position of the latest operation; 0 before the first."""

    @property
    def is_replaying(self) -> bool:
        """Whether operations that were recorded are still to come."""
        return self.step_number < self._last_recorded

    def next_step_number(self) -> int:
        """Take the next position."""
        self.step_number += 1
        return self.step_number

    def next_record_order(self) -> int:
        """Take the next place in the order of outcomes: after all that are recorded."""
        return next(self._orders)

    def find(
        self, step_number: int, step_name: str, fingerprint: str | None = None
    ) -> Checkpoint | None:
        """Return the outcome recorded at a position; raise NondeterminismError if of another step.

        The deadline of a wait that isn't over is no outcome.
        """
        found = self._checkpoints.get(step_number)
        if found is None:
            return None
        self.check(found, step_name, fingerprint)
        return None if found.state is State.WAITING else found

    def wait_at(self, step_number: int) -> Checkpoint | None:
        """Return what says, at a position, until when an earlier run has waited there."""
        found = self._checkpoints.get(step_number)
        return found if found is not None and found.state is State.WAITING else None

    def check(self, found: Checkpoint, step_name: str, fingerprint: str | None = None) -> None:
        """Raise NondeterminismError unless the checkpoint is this step's, with these arguments."""
        if found.step_name != step_name:
            raise NondeterminismError(
                self._workflow_id, found.step_number, f"{found.step_name!r}", f"{step_name!r}"
            )
        if fingerprint and found.fingerprint and fingerprint != found.fingerprint:
            raise NondeterminismError(
                self._workflow_id,
                found.step_number,
                f"{step_name!r}",
                f"{step_name!r} with other arguments",
            )

    def check_finished(self) -> None:
        """Raise NondeterminismError if the function ended before all that was recorded."""
        if self.is_replaying:
            left = min(number for number in self._checkpoints if number > self.step_number)
            name = self._checkpoints[left].step_name
            raise NondeterminismError(self._workflow_id, left, f"{name!r}", "its end")
