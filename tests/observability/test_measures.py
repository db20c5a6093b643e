"""The labels of measures: their number has a bound, whatever names there are at run time."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

import django_dbos as dbos
from django_dbos.telemetry import measures
from django_dbos.telemetry.measures import OTHER, STARTED, STEPS, Measure, MeasuringSubscriber
from django_dbos.telemetry.subscribers import subscribe, unsubscribe
from django_dbos.testing import run_until_idle

pytestmark = pytest.mark.django_db(transaction=True)


class Counts:
    """A sink that keeps all counts."""

    def __init__(self) -> None:
        self.found: dict[Measure, Counter[tuple[str, ...]]] = {
            one: Counter() for one in measures.ALL
        }

    def add(self, measure: Measure, amount: int, labels: tuple[str, ...] = ()) -> None:
        self.found[measure][labels] += amount

    def record(self, measure: Measure, seconds: float, labels: tuple[str, ...] = ()) -> None:
        self.found[measure][labels] += 1

    def defer(self, note: Callable[..., None], *values: object) -> None:
        note(*values)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counts]:
    monkeypatch.setattr(measures, "MOST_NAMES", 3)
    counts = Counts()
    subscriber = MeasuringSubscriber(counts)
    subscribe(subscriber)
    yield counts
    unsubscribe(subscriber)


@dbos.workflow
def serves(customers: int) -> None:
    for number in range(customers):
        dbos.step(name=f"serve {number}")(lambda: None)()
        dbos.start_by_name(f"elsewhere.customer_{number}")


def test_names_that_are_made_at_run_time_are_counted_together(
    counts: Counts, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="django_dbos.executor"):
        serves.start(6)
        run_until_idle()

    assert counts.found[STEPS] == {
        ("serve 0", "success"): 1,
        ("serve 1", "success"): 1,
        ("serve 2", "success"): 1,
        (OTHER, "success"): 3,
    }
    assert counts.found[STARTED].total() == 6
    assert counts.found[STARTED][OTHER,] == 3
    assert len({label for found in counts.found.values() for label in found}) < 20
    told = [one for one in caplog.messages if "names of the label 'step' apart" in one]
    assert len(told) == 1


def test_durations_of_steps_can_be_left_out() -> None:
    counts = Counts()
    subscriber = MeasuringSubscriber(counts, step_durations=False)
    subscribe(subscriber)
    serves.start(1)
    run_until_idle()
    unsubscribe(subscriber)

    assert counts.found[STEPS] == {("serve 0", "success"): 1}
    assert not counts.found[measures.STEP]
    assert counts.found[measures.RUN]
