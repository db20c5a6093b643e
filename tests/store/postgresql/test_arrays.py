"""Array literals come back from PostgreSQL unchanged."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import DatabaseError, connection

from django_dbos.store.postgresql.arrays import array, arrays

TEXTS = ["", "a", 'say "x"', "back\\slash", "{a,b}", "NULL", "null", "é\u2028\n\t", "'", "%s"]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's own")
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("text", TEXTS),
        ("text", [*TEXTS, None]),
        ("int", [1, -2, None]),
        ("bigint", [2**62]),
        ("float8", [0.1, 1e-300, 2, None]),
        ("bool", [True, False]),
        ("uuid", [UUID(int=5), None]),
        ("interval", [timedelta(days=-1, microseconds=3), None]),
    ],
)
def test_an_array_comes_back_unchanged(db: None, kind: str, values: list[Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM unnest(%s::{kind}[])", [array(values)])

        assert [row[0] for row in cursor.fetchall()] == values


@pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's own")
def test_a_column_of_nulls_is_filled_up(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT * FROM unnest(%s::text[], %s::text[])", [array(["a", "b"]), array([None, None])]
        )

        assert cursor.fetchall() == [("a", None), ("b", None)]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's own")
@pytest.mark.parametrize("values", [["a\0b"], ["a", "\0"], ["\0", "a", None]])
def test_a_text_that_postgresql_cannot_store_is_refused_as_a_whole(
    db: None, values: list[Any]
) -> None:
    with connection.cursor() as cursor, pytest.raises(DatabaseError):
        cursor.execute("SELECT %s::text[]", [array(values)])


def test_each_column_is_an_array() -> None:
    assert arrays({"step_number": [3, None], "key": ["a", "b"], "topic": [None, None]}) == {
        "step_number": "{3,NULL}",
        "key": '{"a","b"}',
        "topic": None,
    }
