"""The delay before each attempt of a step."""

import pytest

from django_dbos.core import backoff


def delay(attempt: int, *, jitter: float = 0.0, random: float = 0.0, factor: float = 2.0) -> float:
    return backoff.delay_before_attempt(
        attempt,
        interval=1.0,
        backoff=factor,
        max_interval=10.0,
        jitter=jitter,
        random=lambda: random,
    )


def test_the_first_attempt_does_not_wait() -> None:
    assert delay(1) == 0.0


def test_delays_grow_by_the_factor_up_to_the_maximum() -> None:
    assert [delay(attempt) for attempt in range(2, 8)] == [1, 2, 4, 8, 10, 10]


def test_a_factor_of_one_keeps_the_delay() -> None:
    assert [delay(attempt, factor=1.0) for attempt in (2, 3, 50)] == [1, 1, 1]


def test_an_interval_above_the_maximum_is_reduced_to_it() -> None:
    result = backoff.delay_before_attempt(2, interval=60, backoff=2, max_interval=10, jitter=0)

    assert result == 10


@pytest.mark.parametrize(("random", "expected"), [(0.0, 4.0), (0.5, 3.0), (1.0, 2.0)])
def test_jitter_takes_off_up_to_its_share(random: float, expected: float) -> None:
    assert delay(4, jitter=0.5, random=random) == expected


def test_a_huge_number_of_attempts_has_the_maximum_delay() -> None:
    assert delay(100_000) == 10.0


def test_by_default_the_jitter_is_random() -> None:
    delays = {
        backoff.delay_before_attempt(2, interval=1, backoff=2, max_interval=9, jitter=1)
        for _ in range(20)
    }

    assert len(delays) > 1
    assert all(0 <= delay <= 1 for delay in delays)


def test_a_backoff_doubles_up_to_its_limit_and_restarts_after_a_reset() -> None:
    delays = backoff.Backoff(0.5, 3.0)

    assert delays.delay == 0
    assert [delays.grow() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert delays.delay == 3.0
    delays.reset()
    assert delays.delay == 0
    assert delays.grow() == 0.5
