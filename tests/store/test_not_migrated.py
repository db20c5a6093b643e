"""Before `migrate`, the errors of a web process name the command."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.db import DatabaseError, connection

import django_dbos as dbos
from tests.executor import workflows

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["table", "column"])
def is_missing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Remove a table, as before the first migration, or a column, as before the last one."""
    there, away = {
        "table": ("dbos_workflow RENAME TO hidden", "hidden RENAME TO dbos_workflow"),
        "column": (
            "dbos_workflow RENAME COLUMN queue_name TO hidden",
            "dbos_workflow RENAME COLUMN hidden TO queue_name",
        ),
    }[request.param]
    _alter(there)
    yield
    _alter(away)


def _alter(what: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {what}")


@pytest.mark.parametrize(
    "ask",
    [
        lambda: workflows.counts.start(1),
        lambda: workflows.counts.start_many([(1,), (2,)]),
        lambda: workflows.counts(1),
    ],
)
def test_the_error_names_migrate(is_missing: None, ask: Callable[[], object]) -> None:
    with pytest.raises(DatabaseError, match=r"Run `manage\.py migrate` first"):
        ask()


@pytest.mark.parametrize("is_missing", ["table"], indirect=True)
@pytest.mark.parametrize(
    "ask",
    [
        lambda: dbos.send("x", "message"),
        lambda: dbos.retrieve_workflow("x"),
        lambda: dbos.get_event("x", "key", timeout=0),
        lambda: list(dbos.read_stream("x", "key", timeout=0)),
    ],
)
def test_the_error_of_a_read_or_a_send_names_migrate(
    is_missing: None, ask: Callable[[], object]
) -> None:
    with pytest.raises(DatabaseError, match=r"Run `manage\.py migrate` first"):
        ask()
