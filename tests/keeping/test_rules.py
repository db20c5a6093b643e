"""Retention rules: the first that fits decides, by age or by count."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from django_dbos.core.retention import Judge, OldWorkflow, parse_rules

DAY = 86_400.0


def row(name: str = "shop.pay", status: str = "SUCCESS", days: float = 40, **values: Any) -> Any:
    """Return a workflow that ended so many days ago."""
    given: dict[str, Any] = {
        "workflow_id": "id",
        "token": "0",
        "claim_number": 1,
        "name": name,
        "status": status,
        "age": days * DAY,
        "is_marked": False,
        "is_kept": False,
        "is_orphan": False,
    }
    return OldWorkflow(**{**given, **values})


def judge(*rules: Any) -> Judge:
    """Return the judge of these rules."""
    return Judge(parse_rules(rules, "RULES"))


def test_a_duration_is_one_rule() -> None:
    by_age = Judge(parse_rules(timedelta(days=30), "RULES"))

    assert by_age.youngest == 30 * DAY
    assert by_age.is_to_go(row(days=31))
    assert not by_age.is_to_go(row(days=29))


def test_the_first_rule_that_fits_decides() -> None:
    several = judge(
        {"name": "shop.*", "status": "ERROR", "age": timedelta(days=90)},
        {"name": "shop.audit", "age": None},
        {"age": timedelta(days=30)},
    )

    assert several.youngest == 30 * DAY
    assert not several.is_to_go(row(status="ERROR"))
    assert several.is_to_go(row(status="ERROR", days=91))
    assert several.is_to_go(row())
    assert several.is_to_go(row(name="shops"))
    assert not several.is_to_go(row(name="shop.audit", days=4_000))


def test_a_count_keeps_the_newest_of_each_function() -> None:
    by_count = judge({"name": "shop.*", "count": 2})
    names = ["shop.a", "shop.a", "shop.b", "shop.a", "other", "shop.b", "shop.b"]

    gone = [by_count.is_to_go(row(name=name, days=0)) for name in names]

    assert by_count.youngest == 0
    assert gone == [False, False, False, True, False, False, True]


def test_what_must_stay_counts_and_stays() -> None:
    by_count = judge({"count": 1})

    assert not by_count.is_to_go(row(is_kept=True))
    assert by_count.is_to_go(row())
    assert not by_count.is_to_go(row(is_kept=True))


def test_a_child_that_no_rule_names_goes_with_its_parent() -> None:
    named = judge({"name": "shop.pay", "age": 60})

    assert not named.is_to_go(row(name="child"))
    assert named.is_to_go(row(name="child", is_orphan=True))
    assert not named.is_to_go(row(name="child", is_orphan=True, is_kept=True))
    assert not named.is_to_go(row(days=0, is_orphan=True))


def test_a_mark_is_final_and_an_active_workflow_stays() -> None:
    none_fits = judge({"name": "other", "age": 60})

    assert none_fits.is_to_go(row(age=None, is_marked=True, is_kept=True))
    assert not none_fits.is_to_go(row(age=None, is_orphan=True))


@pytest.mark.parametrize("status", ["ERROR", ["ERROR", "CANCELLED"]])
def test_statuses_are_one_or_several(status: Any) -> None:
    (rule,) = parse_rules([{"status": status, "age": 60}], "RULES")

    assert rule.fits("any", "ERROR")
    assert not rule.fits("any", "SUCCESS")
    assert rule.fits("any", "CANCELLED") == isinstance(status, list)
