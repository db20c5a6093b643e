"""Reads of streams, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django_dbos.core.status import ACTIVE, CLOSING
from django_dbos.exceptions import WorkflowDoesNotExist
from django_dbos.models import StreamEntry
from django_dbos.store.readers.part import PAGE_BYTES, ReaderPart, status_and_token
from django_dbos.store.records import Page, PageWanted


class StreamReader(ReaderPart):
    """Reads the entries of streams."""

    def read_entries(
        self, workflow_id: str, key: str, offset: int, limit: int, *, token: UUID | None = None
    ) -> Page:
        """Return up to `limit` entries from an offset: at least one, and up to PAGE_BYTES.

        Raise WorkflowDoesNotExist, also if a new workflow has the id: its token is another one.
        """
        stream = {"workflow_id": workflow_id, "key": key}
        asked = {**stream, "offset": offset, "limit": limit + 1, "max_bytes": PAGE_BYTES}
        read = self._session().run("read_entries", asked)
        status, _ = status_and_token(read, workflow_id, token)
        rows = [row[2:] for row in read if row[2] is not None]
        # The entry after the page comes without its value.
        found = [row[:3] for row in rows if not row[3]]
        has_end = bool(found) and bool(found[-1][2])
        is_last = len(found) <= limit and len(found) == len(rows)
        entries = [(at, value) for at, value, _ in found[:limit] if value is not None]
        next_offset = entries[-1][0] + 1 if entries else offset
        if not found and offset > 0:
            end, has_end = self._read_tail(workflow_id, key)
            # What was written since the first query is read from this offset on, and the end later.
            has_end = has_end and end <= offset
            next_offset = min(offset, end)
        return Page(
            entries=entries,
            next_offset=next_offset,
            is_closed=(is_last and has_end) or status in CLOSING,
            is_active=status in ACTIVE,
            is_last=is_last or (len(found) == limit + 1 and has_end),
        )

    def read_pages(self, wanted: Sequence[PageWanted]) -> list[Page | WorkflowDoesNotExist | None]:
        """Return pages of several streams, which share PAGE_BYTES.

        A page may be shorter than the others allow: `is_last` tells. One for which the others have
        left no room is None, and is to be asked for again; the first one never is.
        """
        pages: list[Page | WorkflowDoesNotExist | None] = []
        room = PAGE_BYTES
        for one in wanted:
            if room <= 0:
                pages.append(None)
                continue
            try:
                page = self.read_entries(
                    one.workflow_id, one.key, one.offset, one.limit, token=one.token
                )
            except WorkflowDoesNotExist as error:
                pages.append(error)
            else:
                room -= sum(len(text) for _, text in page.entries)
                pages.append(page)
        return pages

    def _read_tail(self, workflow_id: str, key: str) -> tuple[int, bool]:
        """Return the offset after a stream's last value, and whether the stream was closed."""
        entries = StreamEntry.objects.using(self._alias).filter(workflow_id=workflow_id, key=key)
        last = entries.order_by("-offset").values_list("offset", "is_end").first()
        if last is None:
            return 0, False
        offset, is_end = last
        return (offset if is_end else offset + 1), is_end
