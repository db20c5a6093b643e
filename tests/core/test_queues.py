"""The rule of limits, without a database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from django_dbos.core import queues
from django_dbos.core.queues import Limits, Obstacle, Part, Turn, Usage, Waiting

ENQUEUED = Waiting(queue_name="mail", partition_key="a", place=0, is_lingering=False, is_start=True)


@pytest.mark.parametrize(
    ("limits", "usage", "waiting", "expected"),
    [
        ({}, {"places": 99}, {}, None),
        ({"is_paused": True}, {}, {"place": 2}, Obstacle.PAUSED),
        ({}, {}, {"place": 1, "is_lingering": True}, Obstacle.LINGERING),
        ({"concurrency": 2}, {"places": 1}, {}, None),
        ({"concurrency": 2}, {"places": 2}, {}, Obstacle.CONCURRENCY),
        ({"concurrency": 2}, {"places": 2}, {"place": 2}, None),
        ({"worker_concurrency": 2}, {"own_places": 2}, {}, Obstacle.WORKER_CONCURRENCY),
        ({"worker_concurrency": 2}, {"own_places": 2}, {"place": 2}, Obstacle.WORKER_CONCURRENCY),
        ({"partition_concurrency": 1}, {"partition_places": 1}, {}, Obstacle.PARTITION_CONCURRENCY),
        ({"partition_concurrency": 1}, {"partition_places": 1}, {"partition_key": ""}, None),
        ({"rate_count": 1}, {"next_start": 3.0}, {}, Obstacle.RATE),
        ({"rate_count": 1}, {"next_start": 3.0}, {"is_start": False}, None),
        ({"partition_rate_count": 1}, {"partition_next_start": 3.0}, {}, Obstacle.PARTITION_RATE),
        (
            {"partition_rate_count": 1},
            {"partition_next_start": 3.0},
            {"partition_key": ""},
            None,
        ),
    ],
)
def test_what_keeps_a_workflow_from_being_claimed(
    limits: dict[str, Any], usage: dict[str, Any], waiting: dict[str, Any], expected: Any
) -> None:
    found = queues.obstacle(Limits(**limits), Usage(**usage), replace(ENQUEUED, **waiting))

    assert found == expected


@pytest.mark.rule(56)
@pytest.mark.parametrize(
    ("starts", "expected"),
    [
        ([], None),
        ([(1.0, 2)], None),
        ([(1.0, 3)], 9.0),
        ([(1.0, 1), (2.0, 1), (4.0, 1)], 6.0),
        # The rate was lowered: all but two must leave the window.
        ([(1.0, 2), (2.0, 5), (4.0, 9)], 8.0),
        ([(10.5, 3)], 0.0),
    ],
)
def test_the_next_start_is_when_enough_have_left_the_window(
    starts: list[tuple[float, int]], expected: float | None
) -> None:
    assert queues.next_start(starts, 3, 10.0) == expected


def test_keys_share_what_there_is_room_for() -> None:
    assert [queues.share(10, keys) for keys in (0, 1, 3, 10, 20)] == [10, 10, 4, 1, 1]
    assert queues.in_turn([["a1", "a2", "a3"], ["b1"], ["c1", "c2"]]) == [
        "a1", "b1", "c1", "a2", "c2", "a3",
    ]  # fmt: skip


def test_a_turn_ends_when_all_keys_were_seen_from_the_first_one_on() -> None:
    turn = Turn()

    assert not turn.note(Part())
    assert turn.note(Part(is_cut=True))
    assert turn.note(Part(after="k"))
    assert turn.after == "k"
    # Something comes while the turn is in the middle: perhaps for a key that it has passed.
    turn.begin()
    assert turn.note(Part())
    assert (turn.after, turn.note(Part(after="k"))) == (None, True)
    assert not turn.note(Part())


def test_a_turn_goes_on_where_a_limit_has_ended_it() -> None:
    turn = Turn()

    assert not turn.note(Part(after="k", is_full=True))
    turn.begin()
    assert turn.after == "k"
    assert turn.note(Part())
    assert not turn.note(Part())


def test_a_turn_knows_the_next_start_of_all_its_parts() -> None:
    turn = Turn()

    turn.note(Part(after="k", next_start=5.0))
    turn.note(Part(after="m", next_start=3.0))
    assert not turn.note(Part(next_start=9.0))
    assert turn.next_start == 3.0
    turn.begin()
    assert turn.next_start is None
