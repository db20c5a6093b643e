"""What a database's errors mean to the engine. Driver errors stay in the store."""

from __future__ import annotations

# SQLSTATE classes without a culprit in the batch: connections, transactions rolled back by the
# server, resources, objects in use, operator intervention, system errors.
TRANSIENT_CLASSES = frozenset({"08", "40", "53", "55", "57", "58"})


class StoreError(Exception):
    """The database refused a statement or could not be asked."""


class Unavailable(StoreError):
    """Nobody's fault: try again. `is_outcome_unknown` when a COMMIT may have gone through."""

    def __init__(self, message: str, *, is_outcome_unknown: bool = False) -> None:
        super().__init__(message)
        self.is_outcome_unknown = is_outcome_unknown


class LockTimeout(StoreError):
    """Somebody else holds a lock for longer than this statement may wait."""


class BadStatement(StoreError):
    """One of the written values is at fault, and would be again."""
