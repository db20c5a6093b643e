"""SQLite's query plans: statements read by indexes, and never scan a table.

SQLite plans by rules, unless ANALYZE was run: no history is needed to see what it would read.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

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
NOT_GUARDED = {"advance_checkpoints", "advance_inquiries", "advance_starts", "advance_workflows"}
# Reads workflows from a place on, up to a limit.
WALKS_HISTORY = {"list_finished": "dbos_workflow_created"}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_GUARDED])
def test_a_statement_scans_no_table(name: str) -> None:
    text = statements.load("sqlite", name)
    params = dict.fromkeys(re.findall(r"%\((\w+)\)s", text))

    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {text}", params)
        lines = [row[-1] for row in cursor.fetchall()]

    assert [line for line in lines if _is_scan(name, line, text)] == [], lines


@pytest.mark.parametrize(
    "asked", ["", "status=SUCCESS", "status=ERROR", "name=x", "queue_name=x", "status=PENDING"]
)
def test_the_list_of_the_admin_sorts_no_table(admin_client: Client, asked: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert admin_client.get(f"/admin/django_dbos/workflow/?{asked}").status_code == 200
    (text,) = [
        query["sql"]
        for query in queries
        if "LIMIT 51" in query["sql"] and 'FROM "dbos_workflow"' in query["sql"]
    ]

    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {text}")
        lines = [row[-1] for row in cursor.fetchall()]

    assert "USING INDEX dbos_workflow_" in lines[0], lines
    assert "USE TEMP B-TREE FOR ORDER BY" not in lines or "PENDING" in asked, lines


def _is_scan(name: str, line: str, text: str) -> bool:
    """Return whether a line of a plan scans a growing table."""
    found = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", line)
    if found is None or (found[2] and found[2] == WALKS_HISTORY.get(name)):
        return False
    table, index = found.groups()
    aliased = re.search(rf"(dbos_\w+) AS {table}\b", text)
    is_guarded = (aliased[1] if aliased else table) in GUARDED
    return is_guarded and (index is None or index.startswith(OF_ALL))


def test_the_last_entry_is_found_as_quickly_in_a_long_stream() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO dbos_stream_entry "
            '(workflow_id, key, "offset", is_end, step_number, write_id, created_at) '
            "WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 999) "
            "SELECT 'long', 'key', n, n = 999, n, '', '' FROM n "
            "UNION ALL SELECT 'short', 'key', 0, 0, 0, '', ''"
        )

    (short, few), (long, many) = _find_tail("short"), _find_tail("long")

    assert (short, long) == ([("short", "key", 0, 0)], [("long", "key", 999, 1)])
    # The first look-up may be an instruction more or less; a scan would be thousands.
    assert abs(many - few) < 100


def _find_tail(workflow_id: str) -> tuple[list[Any], int]:
    """Return the last entry, and how many instructions SQLite has run."""
    count = 0

    def step() -> None:
        nonlocal count
        count += 1

    with connection.cursor() as cursor:
        connection.connection.set_progress_handler(step, 1)
        try:
            rows = json.dumps([(workflow_id, "key")])
            cursor.execute(statements.load("sqlite", "find_tails"), {"rows": rows})
            return cursor.fetchall(), count
        finally:
            connection.connection.set_progress_handler(None, 0)
