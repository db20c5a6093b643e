"""Cron expressions: the instants at 105 clock changes and edges, refusals, random walks."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta, tzinfo
from importlib.resources import files
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from django_dbos.core import cron, zones

# Right instants by zoneinfo arithmetic, without any cron library; [] means: refused.
CASES = json.loads((Path(__file__).parent / "cron_cases.json").read_text())
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC")


def zone_of(key: str) -> tzinfo:
    """Return a zone by the rules of the tzdata package: the host's may be years old."""
    if key == "UTC":
        return UTC
    path = files("tzdata").joinpath("zoneinfo", *key.split("/"))
    with path.open("rb") as data:
        return ZoneInfo.from_file(data, key=key)


def label(case: dict[str, Any]) -> str:
    return f"{case['expression']}|{case['timezone']}|{case['after']}"


@pytest.mark.parametrize("case", [case for case in CASES if case["expected"]], ids=label)
def test_the_instants_of_an_expression(case: dict[str, Any]) -> None:
    text, zone = cron.parse(case["expression"]), zone_of(case["timezone"])
    instant = datetime.fromisoformat(case["after"])
    found = []
    for _ in case["expected"]:
        following = cron.next_after(text, zone, instant)
        assert following is not None
        assert following > instant
        instant = following
        found.append(instant.strftime("%Y-%m-%dT%H:%M:%SZ"))

    assert found == case["expected"], case["note"]


@pytest.mark.parametrize("case", [case for case in CASES if not case["expected"]], ids=label)
def test_an_expression_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cron"):
        cron.parse(case["expression"])


def test_the_cases_are_complete() -> None:
    assert len(CASES) == 105


@pytest.mark.parametrize("key", ZONES)
def test_instants_rise_and_don_t_depend_on_the_asker_s_instant(key: str) -> None:
    """Asked a second before an instant, or halfway to it, the answer is the same one."""
    zone, chance = zone_of(key), random.Random(key)
    for _ in range(60):
        text = cron.parse(
            f"{chance.choice(['*/15', '0', '30', '0,30', '7-9'])} "
            f"{chance.choice(['*', '2', '1-3', '*/2', '23', '0'])} * * "
            f"{chance.choice(['*', '0', '1-5'])}"
        )
        month = chance.choice((2, 3, 4, 10, 11))
        instant = datetime(2026, month, chance.randint(1, 28), chance.randint(0, 23), tzinfo=UTC)
        for _ in range(12):
            following = cron.next_after(text, zone, instant)
            assert following is not None
            assert following > instant
            between = instant + (following - instant) / 2
            assert cron.next_after(text, zone, between) == following
            assert cron.next_after(text, zone, following - timedelta(microseconds=1)) == following
            instant = following


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("61 * * * *", "the minute field, '61'"),
        ("0 24 * * *", "the hour field, '24'"),
        ("0 0 32 * *", "the day of month field, '32'"),
        ("0 0 1 13 *", "the month field, '13'"),
        ("0 0 * * FUN", "the day of week field, 'FUN'"),
        ("*/90 * * * *", "a step is a number from 1 to 60"),
        ("0 30 2 * * *", "Seconds aren't taken"),
        ("0 3 * *", "has 4 fields"),
        ("@reboot", "isn't one of @yearly"),
        ("0 0 31 2 *", "names no instant"),
        ("0 0 */31 * MON#5", "names no instant"),
        ("9" * 300, "256 characters"),
        (f"{'9' * 200} * * * *", "the minute field"),
    ],
)
def test_a_refusal_names_the_field_and_the_reason(expression: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("*", r"\*").replace("(", r"\(")):
        cron.parse(expression)


def test_an_unknown_zone_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ValueError, match="Did you mean 'Europe/Berlin'"):
        zones.find("Europe/Berlinn")
    with pytest.raises(ValueError, match="Zones are named like 'Europe/Berlin'"):
        zones.find("CEST")
    with pytest.raises(ValueError, match="isn't known"):
        zones.find("../../etc/passwd")
    for key in ("", "Europe", "/etc/localtime", "a\0b"):
        with pytest.raises(ValueError, match="isn't known"):
            zones.find(key)
    with pytest.raises(TypeError, match="not int 5"):
        zones.find(5)


def test_the_version_of_the_zone_data_is_that_of_the_files_in_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "UTC").touch()
    (tmp_path / "tzdata.zi").write_text("# version 2031x\nR\n")
    monkeypatch.setattr("zoneinfo.TZPATH", (str(tmp_path / "missing"), str(tmp_path)))
    zones.data_version.cache_clear()
    try:
        assert zones.data_version() == "2031x"
        monkeypatch.setattr("zoneinfo.TZPATH", ())
        zones.data_version.cache_clear()
        assert zones.data_version() >= "2026"
    finally:
        monkeypatch.undo()
        zones.data_version.cache_clear()
