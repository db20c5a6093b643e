"""Claims on PostgreSQL."""

from __future__ import annotations

from django_dbos.store.claims import Claims
from django_dbos.store.postgresql.managed_claims import PostgresManagedClaims
from django_dbos.store.sessions import Params, Row, Session


class PostgresClaims(PostgresManagedClaims, Claims):
    """Claims by statements that skip the rows that others have locked."""

    def give_places(self, session: Session, executor_id: str) -> bool:
        session.run("give_places", {"executor_id": executor_id})
        return True

    def _claim_of_lane(self, session: Session, params: Params) -> list[Row] | None:
        found = self._claim(session, "claim_workflows", params)
        # There is a row without a workflow if nothing was claimed.
        if found[0][0] is not None:
            return found
        *_, is_managed = found[0]
        return None if is_managed else []
