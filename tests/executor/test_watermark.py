"""The position from which a lane is claimed, with cheap and with expensive rescans."""

from __future__ import annotations

import pytest

from django_dbos.executor import watermark as watermarks
from django_dbos.executor.throttle import EXPENSIVE, SHARE, Throttle
from django_dbos.executor.watermark import BOTTOM, FIRST_CLAIMS, FIRST_RESCAN, MAX_CLAIMS, Watermark
from tests.executors import StoppedClock

pytestmark = pytest.mark.rule(29)

# The duration of an expensive rescan, in seconds.
LONG = 2 * EXPENSIVE


clock = StoppedClock(1_000.0)


def rescan(watermark: Watermark, seconds: float = 0.0) -> int:
    """Rescan for `seconds` longer than a claim takes; return the position it starts from."""
    with watermark.rescanning(usual=0.0 if seconds else 1.0):
        clock.sleep(seconds)
        return watermark.above


def note(watermark: Watermark, place: int, *, is_all: bool, is_rescan: bool = False) -> None:
    """Note a claim up to a position."""
    watermark.note_claim(place, count=1, is_all=is_all, is_rescan=is_rescan)


def taken_up_to(place: int) -> Watermark:
    """Return a watermark whose lane is empty above `place`, after slow rescans."""
    watermark = Watermark(clock)
    # Two rescans from the bottom, and two from the floor.
    for _ in range(4):
        rescan(watermark, LONG)
    note(watermark, place, is_all=True, is_rescan=True)
    return watermark


def test_an_expensive_operation_is_allowed_again_after_fifty_times_its_duration() -> None:
    throttle = Throttle(clock)
    for _ in range(2):
        began = clock()
        with throttle.spent():
            clock.sleep(LONG)

    assert throttle.is_expensive
    assert not throttle.is_allowed
    assert throttle.allowed_at - began >= LONG / SHARE


def test_a_single_slow_operation_does_not_count_as_expensive() -> None:
    throttle = Throttle(clock)
    for seconds in (LONG, 0.0, LONG):
        with throttle.spent():
            clock.sleep(seconds)

        assert throttle.is_allowed
        assert not throttle.is_expensive


def test_the_usual_duration_does_not_count() -> None:
    throttle = Throttle(clock)

    for _ in range(2):
        with throttle.spent(usual=1.0):
            clock.sleep(LONG)

    assert throttle.is_allowed
    assert not throttle.is_expensive


def test_the_first_claim_is_from_the_bottom() -> None:
    watermark = Watermark(clock)

    assert watermark.must_rescan
    assert rescan(watermark) == BOTTOM


def test_a_cheap_rescan_goes_to_the_bottom_each_time() -> None:
    watermark = Watermark(clock)
    for place in (10, 20):
        assert rescan(watermark) == BOTTOM
        note(watermark, place, is_all=True, is_rescan=True)
        watermark.begin(was_empty=True)


def test_with_expensive_rescans_a_lane_continues_at_its_watermark() -> None:
    watermark = taken_up_to(10)

    watermark.begin(was_empty=True)

    assert not watermark.must_rescan
    assert watermark.above == 10


def test_an_exhausted_lane_waits_for_its_rescan_unless_something_is_enqueued() -> None:
    watermark = taken_up_to(10)
    note(watermark, 10, is_all=True)
    # Not before the rescan is allowed, which is later.
    assert watermark.pause > FIRST_RESCAN

    watermark.begin(was_empty=False)

    assert watermark.pause == 0.0
    assert not watermark.must_rescan


def test_a_lane_whose_rescan_found_enough_is_claimed_again_at_once() -> None:
    watermark = Watermark(clock)
    note(watermark, 10, is_all=True)
    assert watermark.pause > 0.0
    rescan(watermark)

    note(watermark, 5, is_all=False, is_rescan=True)

    assert watermark.pause == 0.0
    assert not watermark.must_rescan
    assert watermark.above == 5


def test_with_an_expensive_bottom_a_rescan_starts_from_an_earlier_watermark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watermarks, "RECENT", 0.0)
    watermark = Watermark(clock)
    note(watermark, 10, is_all=False)
    rescan(watermark)
    note(watermark, 20, is_all=False)
    rescan(watermark, LONG)
    note(watermark, 30, is_all=False)
    assert rescan(watermark, LONG) == BOTTOM
    note(watermark, 40, is_all=False)

    assert rescan(watermark) == 30


def test_recently_claimed_positions_are_rescanned_anyway() -> None:
    watermark = Watermark(clock)
    for _ in range(2):
        rescan(watermark, LONG)
    note(watermark, 10, is_all=False)

    assert rescan(watermark) == BOTTOM


def test_batches_grow_while_a_lane_fills_them() -> None:
    watermark, batch_sizes = Watermark(clock), []
    for place in range(5):
        note(watermark, place, is_all=False)
        batch_sizes.append(watermark.batch_size)
    assert batch_sizes == sorted(batch_sizes)
    assert batch_sizes[-1] == MAX_CLAIMS

    note(watermark, 6, is_all=True)
    assert watermark.batch_size == FIRST_CLAIMS


def test_an_unused_watermark_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    watermark = Watermark(clock)
    note(watermark, 10, is_all=True, is_rescan=True)
    assert not watermark.is_forgotten

    monkeypatch.setattr(watermarks, "LIFETIME", -1.0)
    assert watermark.is_forgotten
