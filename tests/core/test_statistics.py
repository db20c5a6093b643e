"""Percentiles, and what raised failures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from django_dbos.core.statistics import (
    Count,
    Failure,
    grouped,
    percentile,
    place_of,
    starts_of,
)

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [
        ([], 0.5, None),
        ([3.0], 0.95, 3.0),
        ([4.0, 1.0, 3.0, 2.0], 0.5, 2.0),
        (range(1, 101), 0.95, 95),
        (range(1, 101), 0.0, 1),
        (range(1, 101), 1.0, 100),
    ],
)
def test_a_percentile_is_one_of_the_values(
    values: list[float], share: float, found: float | None
) -> None:
    assert percentile(values, share) == found


def test_spans_of_time_follow_one_another() -> None:
    hour = timedelta(hours=1)

    assert starts_of(NOON, hour, 2) == [NOON, NOON + hour, NOON + 2 * hour]


@pytest.mark.parametrize(
    ("traceback", "place"),
    [
        ("", ""),
        ("ValueError: nothing here", ""),
        (
            (
                'Traceback:\n  File "/a/b/views.py", line 3, in view\n    x()\n'
                '  File "/srv/shop/payments.py", line 42, in charge\n    raise E\nE: x\n'
            ),
            "charge, shop/payments.py:42",
        ),
        (
            '  File "C:\\shop\\payments.py", line 7, in Bank.charge\n',
            "Bank.charge, shop/payments.py:7",
        ),
        ('  File "<stdin>", line 1, in <module>\n', "<module>, <stdin>:1"),
    ],
)
def test_the_last_frame_is_the_place(traceback: str, place: str) -> None:
    assert place_of(traceback) == place


def failure(number: int, name: str, error: str = "E") -> Failure:
    at = NOON + timedelta(seconds=number)
    return Failure(workflow_id=f"w{number}", name=name, at=at, error=error, place="")


def test_failures_are_grouped_the_most_frequent_first() -> None:
    found = grouped(
        [failure(1, "a"), failure(2, "b"), failure(4, "a"), failure(3, "a"), failure(5, "a", "F")]
    )

    assert [(group.count, group.newest.workflow_id) for group in found] == [
        (3, "w4"),
        (1, "w5"),
        (1, "w2"),
    ]


def test_a_count_says_whether_there_are_more() -> None:
    assert [str(Count(1_234, False)), str(Count(10_000, True))] == ["1,234", "10,000+"]
