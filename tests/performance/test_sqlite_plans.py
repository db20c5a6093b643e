"""SQLite's query plans: statements read by indexes, and never scan a table.

SQLite plans by rules, unless ANALYZE was run: no history is needed to see what it would read.
"""

from __future__ import annotations

import re

import pytest
from django.db import connection

from django_dbos.store import statements
from tests.performance.history import GUARDED

pytestmark = [
    pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite's plans"),
    pytest.mark.django_db,
]

NAMES = statements.names("sqlite")
# Indexes with all rows; the others are partial, with active rows only.
OF_ALL = ("dbos_workflow_created", "sqlite_autoindex", "dbos_message_workflow", "dbos_event_key")
# Statements of tests only.
NOT_GUARDED = {"advance_checkpoints", "advance_starts", "advance_workflows"}
# Reads the oldest finished workflows, up to a limit.
WALKS_HISTORY = {"mark_deleted": "dbos_workflow_created"}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_GUARDED])
def test_a_statement_scans_no_table(name: str) -> None:
    text = statements.load("sqlite", name)
    params = dict.fromkeys(re.findall(r"%\((\w+)\)s", text))

    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {text}", params)
        lines = [row[-1] for row in cursor.fetchall()]

    assert [line for line in lines if _is_scan(name, line, text)] == [], lines


def _is_scan(name: str, line: str, text: str) -> bool:
    """Return whether a line of a plan scans a growing table."""
    found = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", line)
    if found is None or (found[2] and found[2] == WALKS_HISTORY.get(name)):
        return False
    table, index = found.groups()
    aliased = re.search(rf"(dbos_\w+) AS {table}\b", text)
    is_guarded = (aliased[1] if aliased else table) in GUARDED
    return is_guarded and (index is None or index.startswith(OF_ALL))
