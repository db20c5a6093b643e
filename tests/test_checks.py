"""The system checks: each with and without the mistake."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.db import connections

from django_dbos import checks
from django_dbos.conf import get_settings
from django_dbos.core import registry


def messages() -> list[CheckMessage]:
    return run_checks(tags=[checks.TAG])


def ids() -> set[str]:
    return {str(one.id).removeprefix("django_dbos.") for one in messages()}


def of(number: str) -> CheckMessage:
    (found,) = [one for one in messages() if one.id == f"django_dbos.{number}"]
    return found


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The workflow database's settings, to be changed."""
    changed = {**connections["default"].settings_dict}
    monkeypatch.setattr(connections["default"], "settings_dict", changed)
    return changed


def test_the_tests_own_settings_have_no_errors() -> None:
    assert not {one for one in ids() if one.startswith("E")}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"LEASES": 20}, "DBOS['LEASES'] isn't a setting"),
        ({"LEASE": -1}, "can't be negative"),
        ({"DATABASE": "nowhere"}, "'nowhere'"),
    ],
)
def test_a_setting_that_cannot_be_used_is_an_error(
    settings: Any, given: dict[str, Any], message: str
) -> None:
    settings.DBOS = given

    assert message in of("E001").msg


@pytest.mark.django_db(databases=["default", "other"])
def test_a_mistake_in_the_settings_does_not_end_the_other_checks(settings: Any) -> None:
    settings.DBOS = {"LEASES": 20}

    # Django's checks of the models ask the router, which needs the settings.
    assert "django_dbos.E001" in {one.id for one in run_checks()}


def test_an_unknown_setting_comes_with_a_suggestion(settings: Any) -> None:
    settings.DBOS = {"LEASES": 20}

    assert "'LEASE'" in str(of("E001").hint)


def test_another_vendor_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(connections["default"]), "vendor", "mysql")

    assert "mysql" in of("E002").msg


def test_psycopg_2_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(connections["default"]), "vendor", "postgresql")
    monkeypatch.setattr(checks, "find_spec", lambda name: None)

    assert "django-dbos[postgres]" in str(of("E003").hint)


@pytest.mark.rule(41)
@pytest.mark.parametrize("options", [{}, {"transaction_mode": "DEFERRED"}])
def test_sqlite_without_immediate_transactions_is_an_error(
    monkeypatch: pytest.MonkeyPatch, database: dict[str, Any], options: dict[str, Any]
) -> None:
    monkeypatch.setattr(type(connections["default"]), "vendor", "sqlite")
    database["OPTIONS"] = options

    assert '"transaction_mode": "IMMEDIATE"' in str(of("E004").hint)


@pytest.mark.rule(41)
def test_the_options_of_the_hint_pass(
    monkeypatch: pytest.MonkeyPatch, database: dict[str, Any]
) -> None:
    monkeypatch.setattr(type(connections["default"]), "vendor", "sqlite")
    block = checks.SQLITE_OPTIONS.partition('"OPTIONS": ')[2].rstrip(",")
    database["OPTIONS"] = eval(block)

    assert not ids() & {"E004", "W005"}


@pytest.mark.rule(38)
def test_sqlite_that_may_forget_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, database: dict[str, Any]
) -> None:
    monkeypatch.setattr(type(connections["default"]), "vendor", "sqlite")
    database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA synchronous = NORMAL;",
    }

    assert "FULL" in str(of("W005").hint)


def test_an_atomic_step_needs_its_database_in_the_settings(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr(registry, "step_aliases", {"charge": "other"})
    assert "E005" not in ids()

    settings.DBOS = {**settings.DBOS, "STEP_DATABASES": []}

    assert "--database other" in str(of("E005").hint)


def test_tables_elsewhere_need_the_router(settings: Any) -> None:
    assert "W001" not in ids()

    settings.DATABASE_ROUTERS = []

    assert checks.ROUTER in str(of("W001").hint)


def test_atomic_requests_are_a_warning(database: dict[str, Any]) -> None:
    assert "W002" not in ids()

    database["ATOMIC_REQUESTS"] = True

    assert "non_atomic_requests" in str(of("W002").hint)


def test_channels_without_a_layer_is_a_warning(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer"}}
    assert not ids() & {"W003", "W004"}

    settings.CHANNEL_LAYERS = {}

    assert "W003" in ids()


def test_a_layer_in_memory_is_a_warning_outside_development(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": checks.MEMORY_LAYER}}
    assert "W004" in ids()

    settings.DEBUG = True

    assert "W004" not in ids()


@pytest.mark.parametrize("path", ["tests.nowhere.can_read", "tests.test_checks.NOTHING"])
def test_can_read_must_name_a_function(settings: Any, path: str) -> None:
    settings.DBOS = {**settings.DBOS, "CAN_READ": path}

    assert path in of("W006").msg


NOTHING = None


def test_every_check_has_a_hint_and_is_in_the_docs() -> None:
    source = Path(checks.__file__).read_text()
    page = (Path(__file__).parent.parent / "docs" / "checks.md").read_text()
    in_code = set(re.findall(r'id="django_dbos\.([EW]\d{3})"', source))

    assert in_code == set(re.findall(r"`django_dbos\.([EW]\d{3})`", page))
    assert in_code == set(re.findall(r"\| django_dbos\.([EW]\d{3}) \|", source))
    assert get_settings()
