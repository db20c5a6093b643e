"""The arithmetic and the layout of the benchmarks' tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.report import markdown, render, title
from benchmarks.results import Measurement, Results, Row, Summary, number, rows, times_as_good


def measured(system: str, round_: int = 1, **values: float) -> Measurement:
    return Measurement("drain", system, round_, size=10, load=0.5, seconds=1.0, values=values)


def results(*measurements: Measurement, **units: str) -> Results:
    units = units or {"rate": "/s"}
    return Results(
        machine={"cores": 2},
        settings={"django_dbos": "defaults"},
        workloads={"drain": {"units": units, "sentence": "A queue is drained."}},
        measurements=list(measurements),
    )


def table(*measurements: Measurement, **units: str) -> dict[str, Row]:
    return {row.system: row for row in rows(results(*measurements, **units), "drain")}


def test_a_cell_is_the_median_of_the_rounds_with_least_and_most() -> None:
    (cell,) = (
        row.cells["rate"]
        for row in table(
            measured("dbos", 1, rate=30), measured("dbos", 2, rate=10), measured("dbos", 3, rate=20)
        ).values()
    )

    assert cell == Summary(median=20, least=10, most=30, rounds=3)
    assert str(cell) == "20.0 (10.0 to 30.0)"
    assert str(Summary.of([7.0])) == "7.00"


@pytest.mark.parametrize(
    ("unit", "ratio"), [("/s", 4.0), ("steps/s", 4.0), ("ms", 0.25), ("MB", 0.25)]
)
def test_a_ratio_above_one_is_better_for_us(unit: str, ratio: float) -> None:
    assert times_as_good(200, 50, unit) == ratio


def test_what_an_idle_worker_asks_is_a_cost() -> None:
    assert times_as_good(1, 10, "statements/s") == 10


def test_async_is_compared_with_async_and_the_rest_with_sync() -> None:
    found = table(
        measured("django_dbos", rate=100),
        measured("django_dbos async", rate=300),
        measured("dbos", rate=10),
        measured("dbos async", rate=10),
        measured("celery", rate=200),
        measured("bare", rate=1_000),
    )

    assert {name: row.ratios for name, row in found.items()} == {
        "django_dbos": {},
        "django_dbos async": {},
        "dbos": {"rate": 10},
        "dbos async": {"rate": 30},
        "celery": {"rate": 0.5},
        "bare": {"rate": 0.1},
    }


def test_nothing_is_compared_with_what_was_not_measured() -> None:
    failed = Measurement("drain", "django_dbos", 1, 10, 0.5, 1.0, error="It broke.")

    assert table(failed, measured("dbos", rate=10))["dbos"].ratios == {}
    assert table(measured("dbos", rate=10))["dbos"].ratios == {}
    assert table(measured("django_dbos", rate=1), measured("dbos", rate=0))["dbos"].ratios == {}


def test_what_says_something_of_a_system_in_itself_is_not_compared() -> None:
    found = table(
        measured("django_dbos", rate=20, gain=1.5),
        measured("bare", rate=10, gain=1.2),
        rate="/s",
        gain="x",
    )

    assert found["bare"].ratios == {"rate": 2}


def test_only_what_is_compared_has_a_column_for_it() -> None:
    text = render(
        results(
            measured("django_dbos", rate=400, gain=1.5),
            measured("bare", rate=1_000, gain=1.2),
            rate="/s",
            gain="x",
        ),
        is_markdown=True,
    )

    assert "| system | /s | django_dbos is as good | gain |" in text
    assert "| django_dbos | 400 |  | 1.50 |" in text
    assert "| bare | 1,000 | 40% | 1.20 |" in text


def test_what_failed_is_told_from_what_is_not_known() -> None:
    text = render(
        results(
            measured("django_dbos", rate=400),
            Measurement("drain", "dbos", 1, 10, 0.5, 1.0, error="It broke."),
            rate="/s",
            CPU="% of a core",
        ),
        is_markdown=True,
    )

    assert "| django_dbos | 400 | - |" in text
    assert "| dbos | failed | failed |" in text
    assert "dbos, round 1: It broke." in text


@pytest.mark.parametrize(
    ("metric", "unit", "expected"),
    [
        ("rate", "steps/s", "steps/s"),
        ("threads", "threads", "threads"),
        ("statements", "statements/s", "statements/s"),
        ("RSS", "MB", "RSS, MB"),
        ("two / one", "x", "two / one"),
    ],
)
def test_a_column_says_its_unit_once(metric: str, unit: str, expected: str) -> None:
    assert title(metric, unit) == expected


def test_a_failed_round_leaves_the_others() -> None:
    failed = Measurement("drain", "dbos", 2, 10, 0.5, 1.0, error="It broke.\nTraceback …")
    found = results(measured("dbos", rate=10), failed)

    (row,) = rows(found, "drain")
    text = render(found)

    assert row.cells["rate"].rounds == 1
    assert "dbos, round 2: It broke." in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("value", "text"), [(61_234.5, "61,234"), (99.95, "100.0"), (12.34, "12.3"), (3.456, "3.46")]
)
def test_numbers_have_as_many_digits_as_say_something(value: float, text: str) -> None:
    assert number(value) == text


def test_the_report_says_what_it_was_made_with() -> None:
    text = render(
        results(measured("django_dbos", rate=400), measured("bare", rate=1_000)), is_markdown=True
    )

    assert "### drain\n\nA queue is drained. (Size 10.)" in text
    assert "| bare | 1,000 | 40% |" in text
    assert "* django_dbos: defaults" in text
    assert "* cores: 2" in text


def test_markdown_aligns_figures_right_and_keeps_its_columns() -> None:
    assert markdown([["system", "a|b"], ["x", "1"]]).splitlines() == [
        "| system | a/b |",
        "| --- | ---: |",
        "| x | 1 |",
    ]


def test_kept_results_come_back(tmp_path: Path) -> None:
    before = results(measured("dbos", rate=10))

    before.save(tmp_path / "run.json")

    assert Results.load(tmp_path / "run.json") == before


def test_a_later_run_replaces_its_workloads_and_leaves_the_others(tmp_path: Path) -> None:
    start = Measurement("start", "dbos", 1, 10, 0.5, 1.0, values={"rate": 5})
    before, after = results(measured("dbos", rate=10), start), results(measured("celery", rate=20))
    before.workloads["start"] = before.workloads["drain"]
    before.save(tmp_path / "before")
    after.save(tmp_path / "after")

    joined = Results.joined([tmp_path / "before", tmp_path / "after"])

    assert list(joined.workloads) == ["drain", "start"]
    assert joined.measurements == [start, *after.measurements]
