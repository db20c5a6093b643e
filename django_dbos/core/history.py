"""A workflow's checkpoints, and the position of a run in them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from django_dbos.core.records import Checkpoint, State
from django_dbos.exceptions import NondeterminismError


class History:
    """The checkpoints that earlier runs of a workflow have recorded, and this run's position.

    After `continue_as_new` the step numbers go on: the first one follows `steps_before`.
    """

    def __init__(
        self, workflow_id: str, checkpoints: Iterable[Checkpoint] = (), *, steps_before: int = 0
    ) -> None:
        self._workflow_id = workflow_id
        self._checkpoints = {checkpoint.step_number: checkpoint for checkpoint in checkpoints}
        self._last_recorded = max(self._checkpoints, default=steps_before)
        orders = (checkpoint.record_order for checkpoint in self._checkpoints.values())
        # Atomic steps of an async run are recorded on another thread; next() is atomic.
        self._orders = itertools.count(max(orders, default=0) + 1)
        self._steps_before = steps_before
        self.step_number = steps_before
        """The position of the latest operation; `steps_before` before the first one."""

    @property
    def is_replaying(self) -> bool:
        """True while recorded operations lie ahead of the run's position."""
        return self.step_number < self._last_recorded

    @property
    def steps(self) -> int:
        """The number of positions that were taken since the workflow began anew."""
        return self.step_number - self._steps_before

    def next_step_number(self) -> int:
        """Advance to the next position and return it."""
        self.step_number += 1
        return self.step_number

    def next_record_order(self) -> int:
        """Return the next number in the order of outcomes, higher than all recorded ones."""
        return next(self._orders)

    def find(
        self, step_number: int, step_name: str, fingerprint: str | None = None
    ) -> Checkpoint | None:
        """Return the outcome recorded at a position, or None.

        The deadline of an unfinished wait isn't an outcome.

        Raises:
            NondeterminismError: The position belongs to another step, or to other arguments.
        """
        found = self._checkpoints.get(step_number)
        if found is None:
            return None
        self.check(found, step_name, fingerprint)
        return None if found.state is State.WAITING else found

    def is_next(self, step_name: str) -> bool:
        """Return whether the next position has a checkpoint of this step."""
        found = self._checkpoints.get(self.step_number + 1)
        return found is not None and found.step_name == step_name

    def is_next_another(self, step_name: str) -> bool:
        """Return whether the next position has a checkpoint of another step than this one."""
        found = self._checkpoints.get(self.step_number + 1)
        return found is not None and found.step_name != step_name

    def wait_at(self, step_number: int) -> Checkpoint | None:
        """Return the checkpoint that records the deadline of an unfinished wait, or None."""
        found = self._checkpoints.get(step_number)
        return found if found is not None and found.state is State.WAITING else None

    def check(self, found: Checkpoint, step_name: str, fingerprint: str | None = None) -> None:
        """Raise NondeterminismError unless the checkpoint is of this step and these arguments."""
        if found.step_name != step_name:
            raise NondeterminismError(
                self._workflow_id, found.step_number, f"{found.step_name!r}", f"{step_name!r}"
            )
        if _differ(fingerprint, found.fingerprint):
            raise NondeterminismError(
                self._workflow_id,
                found.step_number,
                f"{step_name!r}",
                f"{step_name!r} with other arguments",
            )

    def check_finished(self, ending: str) -> None:
        """Raise NondeterminismError if recorded operations lie ahead at this ending."""
        if self.is_replaying:
            unreached = min(number for number in self._checkpoints if number > self.step_number)
            name = self._checkpoints[unreached].step_name
            raise NondeterminismError(self._workflow_id, unreached, f"{name!r}", ending)


def _differ(fingerprint: str | None, recorded: str | None) -> bool:
    """Return whether two fingerprints are of different arguments.

    Those made with a key begin with a "k" and the key's mark: only ones with the same mark can be
    compared.
    """
    if not fingerprint or not recorded:
        return False
    is_keyed = "k" in (fingerprint[0], recorded[0])
    return fingerprint != recorded and not (is_keyed and fingerprint[:4] != recorded[:4])
