"""What a database's errors mean to the engine. Driver errors stay in the store.

They are Django's errors too: whoever starts a workflow in a view catches what any query raises.
"""

from __future__ import annotations

from django.db import DatabaseError, OperationalError

# SQLSTATE classes without a culprit in the batch: connections, transactions rolled back by the
# server, resources, objects in use, operator intervention, system errors.
TRANSIENT_CLASSES = frozenset({"08", "40", "53", "55", "57", "58"})
# Others without a culprit: a server that is a standby since a failover, transactions that took too
# long for its settings, and a session that has lost its prepared statements.
TRANSIENT_STATES = frozenset({"25006", "25P03", "25P04", "26000"})


class StoreError(DatabaseError):
    """The database refused a statement or could not be asked."""


class Unavailable(StoreError, OperationalError):
    """Nobody's fault: try again. `is_outcome_unknown` when a COMMIT may have gone through."""

    def __init__(self, message: str, *, is_outcome_unknown: bool = False) -> None:
        super().__init__(message)
        self.is_outcome_unknown = is_outcome_unknown


class LockTimeout(StoreError, OperationalError):
    """Somebody else holds a lock for longer than this statement may wait."""


class Conflict(LockTimeout):
    """Somebody else inserted the same between a batch's look and its write: look again."""


class BadStatement(StoreError):
    """One of the written values is at fault, and would be again."""


def of_sqlstate(sqlstate: str | None, message: str) -> StoreError:
    """What an error of PostgreSQL's means; without a state it is the connection's."""
    if sqlstate == "55P03":
        return LockTimeout(message)
    is_transient = (
        sqlstate is None or sqlstate[:2] in TRANSIENT_CLASSES or sqlstate in TRANSIENT_STATES
    )
    if not is_transient:
        return BadStatement(message)
    is_outcome_unknown = sqlstate is None or sqlstate.startswith(("08", "57P"))
    return Unavailable(message, is_outcome_unknown=is_outcome_unknown)
