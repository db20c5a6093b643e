"""Claims on SQLite, whose columns hold values of any type."""

from __future__ import annotations

from uuid import UUID

from django_dbos.store.claims import Claims
from django_dbos.store.columns import CLAIM
from django_dbos.store.sessions import Params, Row, Session
from django_dbos.store.sqlite.managed_claims import SqliteManagedClaims

TOKEN, ATTEMPTS = map(CLAIM.returned.index, ("token", "recovery_attempts"))


class SqliteClaims(SqliteManagedClaims, Claims):
    """Claims that are undone when a claimed row can't be read."""

    def _claim(self, session: Session, name: str, params: Params) -> list[Row]:
        with session.transaction():
            return [_checked(row) for row in super()._claim(session, name, params)]

    def _claim_of_lane(self, session: Session, params: Params) -> list[Row] | None:
        with session.transaction():
            found = self._claim(session, "claim_workflows", params)
            is_managed = not found and self._read_limits(session, params["queue_name"]) is not None
        return None if is_managed else found


def _checked(row: Row) -> Row:
    """Return a claimed row with values of the types that a claim has.

    Raises:
        ValueError, TypeError: The row holds a value of another type.
    """
    values = list(row)
    values[TOKEN], values[ATTEMPTS] = UUID(row[TOKEN]), int(row[ATTEMPTS])
    return tuple(values)
