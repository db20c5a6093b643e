"""Reads for many readers in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from uuid import UUID

from django_dbos.core.status import ACTIVE, CLOSING, Status
from django_dbos.exceptions import WorkflowDoesNotExist
from django_dbos.store.postgresql.arrays import arrays
from django_dbos.store.reader import Reader
from django_dbos.store.readers.part import PAGE_BYTES
from django_dbos.store.records import EventVersions, Page, PageWanted, VersionsWanted
from django_dbos.store.sessions import Row

# The number of entries that a statement for many pages reads at most.
MAX_ROWS = 5_000


class PostgresReader(Reader):
    """Reads PostgreSQL's tables."""

    def read_pages(self, wanted: Sequence[PageWanted]) -> list[Page | WorkflowDoesNotExist | None]:
        limit = max(MAX_ROWS // max(len(wanted), 1), 1)
        columns: dict[str, Sequence[str | int]] = {
            "workflow_ids": [one.workflow_id for one in wanted],
            "keys": [one.key for one in wanted],
            "offsets": [one.offset for one in wanted],
            "limits": [min(one.limit, limit) for one in wanted],
        }
        asked = {**arrays(columns), "max_bytes": PAGE_BYTES}
        read = self._session().run("read_entries_of_many", asked)
        found = {position: list(rows) for position, rows in groupby(read, lambda row: row[0])}
        return [_page_of(one, found.get(position, [])) for position, one in enumerate(wanted, 1)]

    def read_many_versions(
        self, wanted: Sequence[VersionsWanted]
    ) -> list[EventVersions | WorkflowDoesNotExist]:
        columns: dict[str, Sequence[str | None]] = {
            "workflow_ids": [one.workflow_id for one in wanted],
            "keys": [one.key for one in wanted],
        }
        read = self._session().run("read_versions_of_many", arrays(columns))
        found = {position: list(rows) for position, rows in groupby(read, lambda row: row[0])}
        return [_versions(one, found.get(position, [])) for position, one in enumerate(wanted, 1)]


def _versions(wanted: VersionsWanted, rows: list[Row]) -> EventVersions | WorkflowDoesNotExist:
    if not rows or wanted.token not in (None, UUID(str(rows[0][2]))):
        return WorkflowDoesNotExist(wanted.workflow_id)
    versions = {key: version for *_, key, version in rows if key is not None}
    return EventVersions(versions, Status(rows[0][1]))


def _page_of(wanted: PageWanted, rows: list[Row]) -> Page | WorkflowDoesNotExist | None:
    if not rows:
        return WorkflowDoesNotExist(wanted.workflow_id)
    _, status, token, last, has_end, *_ = rows[0]
    if wanted.token not in (None, UUID(str(token))):
        return WorkflowDoesNotExist(wanted.workflow_id)
    entries = [(row[5], row[6]) for row in rows if row[6] is not None]
    next_to_write = 0 if last is None else last if has_end else last + 1
    if not entries and wanted.offset < next_to_write:
        return None
    next_offset = entries[-1][0] + 1 if entries else next_to_write
    is_last = next_offset >= next_to_write
    return Page(
        entries=entries,
        is_closed=(is_last and bool(has_end)) or Status(status) in CLOSING,
        is_active=Status(status) in ACTIVE,
        is_last=is_last,
        next_offset=next_offset,
    )
