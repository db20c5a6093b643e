"""The options of queues: their forms, their limits, and what contradicts what."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

import django_dbos as dbos
from django_dbos import conf
from django_dbos.admin.queue_form import QueueForm
from django_dbos.core import queue_options
from django_dbos.core.queue_options import CHECKS, QueueOptions, Rate, check_options, to_rate
from django_dbos.management.commands.dbos_queues import COUNTS, RATES


@pytest.mark.parametrize(
    ("given", "rate", "text"),
    [
        ("100/m", Rate(100, 60.0), "100/m"),
        ("100/min", Rate(100, 60.0), "100/m"),
        ("100 / minute", Rate(100, 60.0), "100/m"),
        ("5/10s", Rate(5, 10.0), "5/10s"),
        ("5/10 seconds", Rate(5, 10.0), "5/10s"),
        ("1/60s", Rate(1, 60.0), "1/m"),
        ("7/90s", Rate(7, 90.0), "7/90s"),
        ("7/120s", Rate(7, 120.0), "7/2m"),
        ("7/0.5s", Rate(7, 0.5), "7/0.5s"),
        ("7/1.5m", Rate(7, 90.0), "7/90s"),
        ("1000/h", Rate(1000, 3_600.0), "1000/h"),
        ("9/d", Rate(9, 86_400.0), "9/d"),
        ((100, timedelta(minutes=1)), Rate(100, 60.0), "100/m"),
        ((3, 0.25), Rate(3, 0.25), "3/0.25s"),
        ([3, 1], Rate(3, 1.0), "3/s"),
        ((1, timedelta(days=365)), Rate(1, 365 * 86_400.0), "1/365d"),
    ],
)
def test_a_rate_has_several_forms_and_one_text(given: Any, rate: Rate, text: str) -> None:
    assert to_rate(given, "rate_limit") == rate
    assert str(rate) == text
    assert to_rate(text, "rate_limit") == rate


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"concurency": 5}, TypeError, "'concurency' isn't an option of a queue. Did you mean"),
        ({"wat": 5}, TypeError, "The options are concurrency, worker_concurrency, rate_limit"),
        ({"concurrency": 0}, ValueError, "concurrency must be at least 1, but is 0."),
        ({"concurrency": -3}, ValueError, "concurrency must be at least 1, but is -3."),
        ({"concurrency": "5"}, TypeError, "concurrency must be an int, not str '5'."),
        ({"concurrency": True}, TypeError, "concurrency must be an int, not bool True."),
        ({"worker_concurrency": 2**31}, ValueError, "must be at most 2,147,483,647"),
        ({"partition_concurrency": 0}, ValueError, "partition_concurrency must be at least 1"),
        ({"hold_while_waiting": 1}, TypeError, "hold_while_waiting must be True or False"),
        ({"hold_while_waiting": None}, TypeError, "hold_while_waiting must be True or False"),
        ({"rate_limit": "100"}, ValueError, "rate_limit must be like '100/m'"),
        ({"rate_limit": "100/fortnight"}, ValueError, "but is '100/fortnight'."),
        ({"rate_limit": "many/m"}, ValueError, "but is 'many/m'."),
        ({"rate_limit": "100/sin"}, ValueError, "but is '100/sin'."),
        ({"rate_limit": "0/m"}, ValueError, "The count of rate_limit must be at least 1"),
        ({"rate_limit": "-1/m"}, ValueError, "but is '-1/m'."),
        ({"rate_limit": 100}, TypeError, "not int 100."),
        ({"rate_limit": (100,)}, TypeError, "not tuple (100,)."),
        ({"rate_limit": (100, None)}, TypeError, "not tuple (100, None)."),
        ({"rate_limit": (0, 60)}, ValueError, "The count of rate_limit must be at least 1"),
        ({"rate_limit": ("9", 60)}, TypeError, "The count of rate_limit must be an int"),
        ({"rate_limit": (9, 0)}, ValueError, "must have a period of at least 1 ms"),
        ({"rate_limit": (9, -1)}, ValueError, "The period of rate_limit can't be negative"),
        ({"rate_limit": (9, timedelta(days=400_000))}, ValueError, "more than 1,000 years"),
        ({"rate_limit": "9/400000d"}, ValueError, "more than 1,000 years"),
        ({"partition_rate_limit": "x"}, ValueError, "partition_rate_limit must be like"),
        (
            {"concurrency": 5, "worker_concurrency": 6},
            ValueError,
            "worker_concurrency is 6, above concurrency, which is 5: it could never be reached.",
        ),
        (
            {"concurrency": 5, "partition_concurrency": 6},
            ValueError,
            "partition_concurrency is 6, above concurrency, which is 5",
        ),
        (
            {"rate_limit": "10/m", "partition_rate_limit": "11/30s"},
            ValueError,
            "partition_rate_limit is 11/30s, above rate_limit, which is 10/m",
        ),
    ],
)
def test_an_impossible_option_is_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        check_options(options)

    assert message in str(caught.value)


def test_limits_of_parts_may_equal_those_of_the_whole() -> None:
    options = {
        "concurrency": 5,
        "worker_concurrency": 5,
        "partition_concurrency": 5,
        "rate_limit": "10/m",
        "partition_rate_limit": "11/h",
    }

    assert check_options(options) == options


def test_what_was_edited_wins_and_none_removes_a_limit() -> None:
    declared = {"concurrency": 10, "rate_limit": "100/m"}
    edited = {"concurrency": None, "hold_while_waiting": True}

    in_force = queue_options.merged(declared, edited)

    assert queue_options.to_columns(in_force) == {
        "concurrency": None,
        "worker_concurrency": None,
        "rate_count": 100,
        "rate_period": 60.0,
        "partition_concurrency": None,
        "partition_rate_count": None,
        "partition_rate_period": None,
        "hold_while_waiting": True,
    }
    assert queue_options.has_limit(in_force)
    assert not queue_options.has_limit({"hold_while_waiting": True, "concurrency": None})


def test_settings_hold_the_options_in_their_plain_form() -> None:
    given = {"mail": {"concurrency": 10, "rate_limit": (100, timedelta(minutes=1))}, "slow": {}}

    with override_settings(DBOS={"QUEUES": given}):
        queues = conf.get_settings().queues

    assert queues == {"mail": {"concurrency": 10, "rate_limit": "100/m"}, "slow": {}}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["mail"], "DBOS['QUEUES'] must be a dict of queues and their options, not list ['mail']."),
        ({"mail": 10}, "DBOS['QUEUES']['mail'] must be a dict of options, not int 10."),
        ({"": {}}, "The name of DBOS['QUEUES'][''] can't be empty."),
        ({7: {}}, "The name of DBOS['QUEUES'][7] must be a str, not int 7."),
        ({"mail": {"concurrency": 0}}, "DBOS['QUEUES']['mail']['concurrency'] must be at least 1"),
        (
            {"mail": {"concurency": 1}},
            "DBOS['QUEUES']['mail']['concurency'] isn't an option of a queue. Did you mean",
        ),
        ({"mail": {"rate_limit": "x"}}, "DBOS['QUEUES']['mail']['rate_limit'] must be like"),
        (
            {"mail": {"concurrency": 1, "worker_concurrency": 2}},
            "worker_concurrency of DBOS['QUEUES']['mail'] is 2, above concurrency, which is 1",
        ),
    ],
)
def test_an_invalid_declaration_is_refused_with_its_place(given: Any, message: str) -> None:
    with override_settings(DBOS={"QUEUES": given}):
        with pytest.raises(ImproperlyConfigured) as caught:
            conf.get_settings()
        problems = conf.setting_problems()

    assert message in str(caught.value)
    assert [problem.key for problem in problems] == ["QUEUES"]


def test_all_problems_of_all_queues_are_reported_at_once() -> None:
    given = {"mail": {"concurrency": 0, "rate_limit": "x"}, "slow": {"wat": 1}}

    with override_settings(DBOS={"QUEUES": given}):
        messages = [problem.message for problem in conf.setting_problems()]

    assert len(messages) == 3


def test_every_option_has_its_line_in_the_guide_its_field_and_its_flag() -> None:
    guide = Path(dbos.__file__).parent.parent / "docs" / "guides" / "queues.md"
    _, _, rows = guide.read_text().partition("| option | default | limits |")
    documented = re.findall(r"^\| `(\w+)` \|", rows.partition("\n\n")[0], re.MULTILINE)

    assert documented == list(CHECKS) == list(QueueOptions.__annotations__)
    assert list(QueueForm.base_fields) == list(CHECKS)
    assert {*COUNTS, *RATES, "hold_while_waiting"} == set(CHECKS)
