"""The end of a stream, which takes a second query: what is written in between isn't skipped."""

from __future__ import annotations

from typing import Any

import pytest

import django_dbos as dbos
from django_dbos.store import get_store
from django_dbos.store.reader import Reader
from django_dbos.testing import run_until_idle

pytestmark = pytest.mark.django_db


@dbos.workflow
def writes() -> None:
    """Write a value, and later another one and the end."""
    dbos.write_stream("k", "first")
    dbos.recv(timeout=None)
    dbos.write_stream("k", "second")
    dbos.close_stream("k")
    dbos.recv(timeout=None)


def test_what_is_written_between_the_queries_is_not_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workflow_id = writes.start().workflow_id
    run_until_idle()
    read_tail = Reader._read_tail

    def read_late(reader: Reader, *stream: Any) -> Any:
        dbos.send(workflow_id, "go on")
        run_until_idle()
        return read_tail(reader, *stream)

    monkeypatch.setattr(Reader, "_read_tail", read_late)
    page = get_store().reader.read_entries(workflow_id, "k", 1, 10)

    assert (page.entries, page.next_offset, page.is_closed) == ([], 1, False)
    page = get_store().reader.read_entries(workflow_id, "k", page.next_offset, 10)
    assert [offset for offset, _ in page.entries] == [1]
    assert page.is_closed


def test_an_offset_beyond_the_end_leads_back_to_it() -> None:
    workflow_id = writes.start().workflow_id
    run_until_idle()

    page = get_store().reader.read_entries(workflow_id, "k", 7, 10)

    assert (page.next_offset, page.is_closed) == (1, False)
