"""The plans of a worker's statements: made once, unless the best one depends on the values."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from django_dbos.core.records import Wake, WakeKind
from django_dbos.store.base import Store

pytest.importorskip("psycopg")

from django_dbos.store.postgresql.worker_session import NOT_PREPARED

pytestmark = [
    pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's own"),
    pytest.mark.django_db(transaction=True),
]


def counts_of_plans(session: Any) -> list[tuple[int, int]]:
    """Return the number of generic and of custom plans of each statement prepared by its name."""
    found = session.connection.execute(
        "SELECT generic_plans, custom_plans FROM pg_prepared_statements "
        "WHERE name LIKE 'dbos\\_%' AND generic_plans + custom_plans > 0"
    )
    return list(found)


def test_a_statement_is_planned_once(store: Store, session: Any) -> None:
    """Without the setting the server plans those with lists at each call."""
    wake = Wake(kind=WakeKind.EVENT, workflow_id="w", name="key")

    for _ in range(20):
        store._notify_and_wake(session, ["key"], [], [wake])
        session.run("load_checkpoints", {"workflow_ids": ["w"]})

    counts = counts_of_plans(session)
    assert counts
    assert {custom for _, custom in counts} == {0}


@pytest.mark.parametrize("name", sorted(NOT_PREPARED))
def test_values_are_in_the_text_of_what_is_planned_at_each_call(
    store: Store, session: Any, executor_id: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parameter would get the plan for all values."""
    sent: list[tuple[str, Any, Any]] = []
    execute = session.connection.execute

    def note(text: str, params: Any = None, *, prepare: Any = None) -> Any:
        sent.append((text, params, prepare))
        return execute(text, params, prepare=prepare)

    monkeypatch.setattr(session.connection, "execute", note)
    if name == "heartbeat":
        store.heartbeat(session, executor_id, None)
    else:
        store.wake_satisfied(session, ["some-id"])

    ((text, params, prepare),) = sent
    assert (executor_id if name == "heartbeat" else "some-id") in text
    # psycopg would prepare a text that comes often, and a plan without parameters is kept.
    assert (params, prepare) == (None, False)


@pytest.mark.parametrize("names", [[], ["plain"], ['a"b', "c\\d", "{e,f}", "größe", "NULL", ""]])
def test_a_list_arrives_as_it_is(session: Any, names: list[str]) -> None:
    """It is sent as a text: psycopg takes ten times as long to write a list."""
    found = session.connection.execute(
        "SELECT %(names)s::text[]", {"names": session.pack(names)}
    ).fetchone()

    assert found == (names,)
