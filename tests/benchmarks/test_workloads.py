"""The systems and sizes of each workload, and the arithmetic that workloads share."""

from __future__ import annotations

import pytest

pytest.importorskip("psutil")
pytest.importorskip("psycopg")

from benchmarks import systems
from benchmarks.run import choose_workloads
from benchmarks.systems.system import System
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.workload import percentiles


class Drains(System):
    """A queue without steps."""


class DrainsInBatches(Drains):
    workloads = ("drain of no-ops",)


def test_a_system_without_a_verb_is_not_measured() -> None:
    assert WORKLOADS["drain of no-ops"].suits("celery", Drains)
    assert not WORKLOADS["steps in a row"].suits("celery", Drains)


def test_a_flavour_is_measured_for_its_own_workloads_only() -> None:
    assert WORKLOADS["drain of no-ops"].suits("celery batches", DrainsInBatches)
    assert WORKLOADS["start, one by one"].suits("celery", Drains)
    assert not WORKLOADS["start, one by one"].suits("celery batches", DrainsInBatches)


def test_pgqueuer_is_measured_by_its_default_and_with_larger_batches() -> None:
    pytest.importorskip("pgqueuer")
    default, larger = map(systems.load, ("pgqueuer", "pgqueuer batches of 100"))

    assert "batch_size=10" in default.settings
    assert "batch_size=100" in larger.settings
    assert default.command[-1] == "10"
    assert larger.command[-1] == "100"
    assert [name for name, one in WORKLOADS.items() if one.suits(larger.name, larger)] == [
        "drain of no-ops"
    ]


def test_the_bare_database_is_measured_where_there_is_a_ceiling() -> None:
    assert WORKLOADS["drain of no-ops"].suits("bare", object)
    assert not WORKLOADS["kill -9 with 10,000 in flight"].suits("bare", object)
    assert not WORKLOADS["drain of no-ops"].suits("bare SQLite", object)
    assert not WORKLOADS["drain of no-ops"].suits("django_dbos SQLite", Drains)


def test_slow_systems_get_less_and_a_quick_run_never_more() -> None:
    latency = WORKLOADS["start to first line"]

    assert latency.size_for("celery", is_quick=False) == 100
    assert latency.size_for("dbos async", is_quick=False) == 20
    assert latency.size_for("celery", is_quick=True) == 10


def test_heavy_workloads_run_only_when_asked_for() -> None:
    heavy = {one.name for one in WORKLOADS.values() if one.is_heavy}

    assert heavy
    assert heavy.isdisjoint(one.name for one in choose_workloads([], with_heavy=False))
    assert heavy <= {one.name for one in choose_workloads([], with_heavy=True)}
    assert [one.name for one in choose_workloads(["kill"], with_heavy=False)] == [
        "kill -9 with 10,000 in flight"
    ]


@pytest.mark.parametrize("one", WORKLOADS.values(), ids=lambda one: one.name)
def test_every_workload_says_what_it_does(one: object) -> None:
    assert one.sentence.endswith(".")  # type: ignore[attr-defined]


def test_percentiles_are_milliseconds() -> None:
    assert percentiles([one / 1_000 for one in range(100)]) == {"p50": 50, "p99": 99}
    assert percentiles([0.004]) == {"p50": 4, "p99": 4}
