"""The connection that the parts of the reader share, and the size of a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from django_dbos.core.status import Status
from django_dbos.exceptions import WorkflowDoesNotExist
from django_dbos.store.sessions import Row, Session

# The size at which a page of values ends, in bytes: a single value may have megabytes.
PAGE_BYTES = 1_000_000


class ReaderPart:
    """The base of every part: one database and Django's connection of the calling thread."""

    def __init__(self, alias: str, session: Callable[[], Session]) -> None:
        self._alias = alias
        self._session = session


def status_and_token(
    read: Sequence[Row], workflow_id: str, token: UUID | None
) -> tuple[Status, UUID]:
    """Return the status and token of the workflow that all rows belong to.

    Raise WorkflowDoesNotExist for no rows, and for a token that isn't the given one.
    """
    if not read:
        raise WorkflowDoesNotExist(workflow_id)
    status, found = Status(read[0][0]), UUID(str(read[0][1]))
    if token is not None and token != found:
        raise WorkflowDoesNotExist(workflow_id)
    return status, found
