"""The end of a session whose connection was lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection, connections

from django_dbos.store.base import Store
from django_dbos.store.postgresql.lost_sessions import (
    CHECK_PAUSE,
    Backend,
    backend_of,
    end_lost_session,
)
from django_dbos.store.sessions import Params, Row

postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="Only PostgreSQL's sessions outlive a connection"
)


@pytest.fixture
def other(transactional_db: None) -> Iterator[Any]:
    """A connection of Django's beside this thread's."""
    wrapper = connections.create_connection("default")
    wrapper.connect()
    yield wrapper
    wrapper.close()


def is_alive(wrapper: Any) -> bool:
    try:
        with wrapper.cursor() as cursor:
            cursor.execute("SELECT 1")
    except OperationalError:
        return False
    return True


def end(store: Store, backend: Backend) -> None:
    session = store.session()
    end_lost_session(
        lambda params: session.run("end_lost_session", params), backend, grace=0.0, patience=5.0
    )


@postgresql
@pytest.mark.rule(12)
def test_a_lost_session_is_ended(store: Store, other: Any) -> None:
    end(store, backend_of(other.connection))

    assert not is_alive(other)


@postgresql
@pytest.mark.rule(12)
@pytest.mark.parametrize("name", ["application_name", "user_name"])
def test_a_session_that_has_only_its_number_is_left_alone(
    name: str, store: Store, other: Any
) -> None:
    end(store, backend_of(other.connection)._replace(**{name: "another"}))

    assert is_alive(other)


@pytest.mark.rule(12)
def test_it_may_end_by_itself_for_a_while() -> None:
    ended_by_force: list[bool] = []

    def run(params: Params) -> list[Row]:
        ended_by_force.append(params["must_end"])
        return [] if len(ended_by_force) == 5 else [(None,)]

    backend = Backend(1, "name", "user")
    end_lost_session(run, backend, grace=1.5 * CHECK_PAUSE, patience=10 * CHECK_PAUSE)

    assert ended_by_force == [False, False, True, True, True]


@pytest.mark.rule(12)
def test_one_that_does_not_end_is_not_awaited_for_ever() -> None:
    checks: list[Params] = []

    def run(params: Params) -> list[Row]:
        checks.append(params)
        return [(True,)]

    backend = Backend(1, "name", "user")
    end_lost_session(run, backend, grace=0.5 * CHECK_PAUSE, patience=CHECK_PAUSE)

    assert [check["must_end"] for check in checks] == [False, True]
