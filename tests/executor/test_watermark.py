"""Where a lane is claimed from, while looking back is cheap and when it is expensive."""

from __future__ import annotations

import pytest

from django_dbos.executor import throttle as throttles
from django_dbos.executor import watermark as watermarks
from django_dbos.executor.throttle import EXPENSIVE, SHARE, Throttle
from django_dbos.executor.watermark import BOTTOM, FIRST_CLAIMS, MAX_CLAIMS, SECOND_LOOK, Watermark

pytestmark = pytest.mark.rule(29)

# Seconds that an expensive look back takes here.
LONG = 2 * EXPENSIVE


class Clock:
    """Stands in for `time`: it goes on when somebody sleeps, and not otherwise."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


clock = Clock()


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watermarks, "time", clock)
    monkeypatch.setattr(throttles, "time", clock)


def look_back(watermark: Watermark, seconds: float = 0.0) -> int:
    """Look back, `seconds` longer than a claim takes; return the position it starts from."""
    with watermark.looking_back(usual=0.0 if seconds else 1.0):
        clock.sleep(seconds)
        return watermark.above


def note(watermark: Watermark, place: int, *, is_all: bool, looked_back: bool = False) -> None:
    """Note a claim up to this position."""
    watermark.note_claim(place, count=1, is_all=is_all, looked_back=looked_back)


def taken_up_to(place: int) -> Watermark:
    """Return a watermark whose lane is empty above `place`, after slow looks back."""
    watermark = Watermark()
    # Twice to the bottom, twice to the floor.
    for _ in range(4):
        look_back(watermark, LONG)
    note(watermark, place, is_all=True, looked_back=True)
    return watermark


def test_what_takes_long_is_allowed_again_after_fifty_times_as_long() -> None:
    throttle = Throttle()
    for _ in range(2):
        began = clock.monotonic()
        with throttle.spent():
            clock.sleep(LONG)

    assert throttle.is_expensive
    assert not throttle.is_allowed
    assert throttle.allowed_at - began >= LONG / SHARE


def test_what_took_long_once_is_not_expensive() -> None:
    throttle = Throttle()
    for seconds in (LONG, 0.0, LONG):
        with throttle.spent():
            clock.sleep(seconds)

        assert throttle.is_allowed
        assert not throttle.is_expensive


def test_what_it_takes_anyhow_does_not_count() -> None:
    throttle = Throttle()

    for _ in range(2):
        with throttle.spent(usual=1.0):
            clock.sleep(LONG)

    assert throttle.is_allowed
    assert not throttle.is_expensive


def test_the_first_claim_is_from_the_bottom() -> None:
    watermark = Watermark()

    assert watermark.must_look_back
    assert look_back(watermark) == BOTTOM


def test_a_cheap_look_back_goes_to_the_bottom_each_time() -> None:
    watermark = Watermark()
    for place in (10, 20):
        assert look_back(watermark) == BOTTOM
        note(watermark, place, is_all=True, looked_back=True)
        watermark.begin(was_empty=True)


def test_when_looking_back_is_expensive_a_lane_begins_where_it_ended() -> None:
    watermark = taken_up_to(10)

    watermark.begin(was_empty=True)

    assert not watermark.must_look_back
    assert watermark.above == 10


def test_an_exhausted_lane_waits_for_its_look_back_unless_something_is_enqueued() -> None:
    watermark = taken_up_to(10)
    note(watermark, 10, is_all=True)
    # Not before it may: that is later.
    assert watermark.pause > SECOND_LOOK

    watermark.begin(was_empty=False)

    assert watermark.pause == 0.0
    assert not watermark.must_look_back


def test_a_lane_whose_look_back_found_enough_goes_on_at_once() -> None:
    watermark = Watermark()
    note(watermark, 10, is_all=True)
    assert watermark.pause > 0.0
    look_back(watermark)

    note(watermark, 5, is_all=False, looked_back=True)

    assert watermark.pause == 0.0
    assert not watermark.must_look_back
    assert watermark.above == 5


def test_when_the_bottom_is_too_expensive_it_looks_back_to_where_it_was_a_while_ago(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watermarks, "RECENT", 0.0)
    watermark = Watermark()
    note(watermark, 10, is_all=False)
    look_back(watermark)
    note(watermark, 20, is_all=False)
    look_back(watermark, LONG)
    note(watermark, 30, is_all=False)
    assert look_back(watermark, LONG) == BOTTOM
    note(watermark, 40, is_all=False)

    assert look_back(watermark) == 30


def test_what_was_taken_lately_is_looked_back_through_all_the_same() -> None:
    watermark = Watermark()
    for _ in range(2):
        look_back(watermark, LONG)
    note(watermark, 10, is_all=False)

    assert look_back(watermark) == BOTTOM


def test_claims_grow_while_a_lane_gives_as_many() -> None:
    watermark, appetites = Watermark(), []
    for place in range(5):
        note(watermark, place, is_all=False)
        appetites.append(watermark.appetite)
    assert appetites == sorted(appetites)
    assert appetites[-1] == MAX_CLAIMS

    note(watermark, 6, is_all=True)
    assert watermark.appetite == FIRST_CLAIMS


def test_an_unused_watermark_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    watermark = Watermark()
    note(watermark, 10, is_all=True, looked_back=True)
    assert not watermark.is_forgotten

    monkeypatch.setattr(watermarks, "LIFETIME", -1.0)
    assert watermark.is_forgotten
