"""settings.DBOS: its defaults, and the messages about invalid values."""

from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from django_dbos import conf
from django_dbos.core.retention import RetentionRule


@pytest.fixture(autouse=True)
def no_settings() -> Iterator[None]:
    with override_settings(DBOS={}):
        yield


def a_function(user: Any, workflow: Any, kind: str, key: str) -> bool:
    return True


def test_all_settings_are_optional() -> None:
    settings = conf.get_settings()

    assert settings == conf.Settings()
    assert settings.max_payload_bytes == 4 * 1024 * 1024
    assert settings.retention is None


def test_every_setting_has_a_parser_and_every_parser_a_setting() -> None:
    keys = {field.name.upper() for field in fields(conf.Settings)}

    assert set(conf._PARSERS) == keys


def test_durations_are_seconds_or_timedeltas() -> None:
    with override_settings(DBOS={"LEASE": timedelta(minutes=1), "HOLD_TIME": 2, "RETENTION": 60}):
        settings = conf.get_settings()

    assert (settings.lease, settings.hold_time) == (60.0, 2.0)
    assert settings.retention == (RetentionRule(age=60.0),)


def test_settings_are_parsed_once_and_again_after_a_change() -> None:
    first = conf.get_settings()

    with override_settings(DBOS={"CONCURRENCY": 4}):
        assert conf.get_settings().concurrency == 4

    assert conf.get_settings() == first
    assert conf.get_settings() is conf.get_settings()


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(FrozenInstanceError):
        conf.get_settings().lease = 5  # type: ignore[misc]


def test_step_databases_are_a_list_of_aliases() -> None:
    with override_settings(DBOS={"STEP_DATABASES": ["other"]}):
        assert conf.get_settings().step_databases == ("other",)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"LISTEN": 1}, "DBOS['LISTEN'] must be True or False, not int 1."),
        ({"TRANSACTION_POOLER": None}, "DBOS['TRANSACTION_POOLER'] must be True or False"),
        ({"CONCURRENCY": 0}, "DBOS['CONCURRENCY'] must be at least 1, but is 0."),
        ({"CONCURRENCY": True}, "DBOS['CONCURRENCY'] must be an int, not bool True."),
        ({"MAX_RECOVERY_ATTEMPTS": 2**31}, "must be at most 2,147,483,647, but is 2147483648."),
        ({"MAX_PAYLOAD_BYTES": "4MB"}, "DBOS['MAX_PAYLOAD_BYTES'] must be an int, not str '4MB'."),
        ({"LEASE": "20"}, "DBOS['LEASE'] must be seconds or a timedelta, not str '20'."),
        ({"LEASE": None}, "DBOS['LEASE'] must be seconds or a timedelta, not None."),
        ({"LEASE": -1}, "DBOS['LEASE'] can't be negative, but is -1."),
        ({"HEARTBEAT_INTERVAL": 0}, "DBOS['HEARTBEAT_INTERVAL'] must be more than 0."),
        ({"RETENTION": 1e12}, "DBOS['RETENTION'] can't be more than 1,000 years, but is"),
        ({"RETENTION": 0}, "DBOS['RETENTION'] must be more than 0."),
        ({"RETENTION": []}, "DBOS['RETENTION'] must have a rule."),
        ({"RETENTION": {"age": 5}}, "DBOS['RETENTION'] must be a duration or a list of rules"),
        ({"RETENTION": [{"age": 0}]}, "DBOS['RETENTION'][0]['age'] must be more than 0."),
        ({"RETENTION": [{"count": 0}]}, "DBOS['RETENTION'][0]['count'] must be at least 1"),
        ({"RETENTION": [{}]}, "DBOS['RETENTION'][0] must have an age or a count, but is {}."),
        ({"RETENTION": [{"age": 5, "count": 5}]}, "must have an age or a count"),
        ({"RETENTION": [{"ages": 5}]}, "has no key 'ages'; the keys are name, status, age, count."),
        ({"RETENTION": [{"ages": 5}]}, "Did you mean 'age'?"),
        ({"RETENTION": [{"status": "ERRR", "age": 5}]}, "Did you mean 'ERROR'?"),
        ({"RETENTION": [{"status": "PENDING", "age": 5}]}, "must be one of CANCELLED, ERROR,"),
        ({"RETENTION": [{"name": "*.work", "age": 5}]}, "may have a '*' at its end only"),
        (
            {"RETENTION": [{"age": 5}, {"name": "shop.*", "count": 5}]},
            "DBOS['RETENTION'][0] fits every workflow, so the rules after it have no effect.",
        ),
        ({"DEFAULT_QUEUE": ""}, "DBOS['DEFAULT_QUEUE'] can't be empty."),
        ({"DEFAULT_QUEUE": None}, "DBOS['DEFAULT_QUEUE'] must be a str, not NoneType None."),
        ({"DATABASE": "defualt"}, "but is 'defualt'. Did you mean 'default'?"),
        ({"DATABASE": ["default"]}, "DBOS['DATABASE'] must be one of the aliases in DATABASES"),
        ({"STEP_DATABASES": "other"}, "DBOS['STEP_DATABASES'] must be a list of aliases, not str"),
        ({"STEP_DATABASES": ["othr"]}, "DBOS['STEP_DATABASES'][0] must be one of the aliases"),
        ({"SERIALIZER": "yaml"}, "must be 'json', 'pickle' or the dotted path to a serializer"),
        ({"SERIALIZER": None}, "must be 'json', 'pickle' or the dotted path to a serializer"),
        ({"CAN_READ": "nodots"}, "DBOS['CAN_READ'] must be a function or the dotted path to one"),
        ({"CAN_SEND": 7}, "DBOS['CAN_SEND'] must be a function or the dotted path to one"),
        ({"LONG_POLL": 0}, "DBOS['LONG_POLL'] must be more than 0."),
        ({"WAITING_THREADS": -1}, "DBOS['WAITING_THREADS'] must be at least 0, but is -1."),
        ({"WAITING_THREADS": None}, "DBOS['WAITING_THREADS'] must be an int, not NoneType None."),
        ({"LEASE": 5}, "DBOS['LEASE'] is 5 s, which isn't more than twice the heartbeat interval"),
        ({"LEESE": 5}, "DBOS['LEESE'] isn't a setting of django_dbos. Did you mean 'LEASE'?"),
        ({"lease": 5}, "DBOS['lease'] isn't a setting of django_dbos. Did you mean 'LEASE'?"),
        ({1: 2}, "DBOS[1] isn't a setting of django_dbos. The settings are ALERTS, "),
        ([], "DBOS must be a dict, not list []."),
        (None, "DBOS must be a dict, not NoneType None."),
    ],
)
def test_an_invalid_value_is_refused_with_its_key_and_the_expected_type(
    given: Any, message: str
) -> None:
    with override_settings(DBOS=given):
        with pytest.raises(ImproperlyConfigured) as caught:
            conf.get_settings()
        problems = conf.setting_problems()

    assert message in str(caught.value)
    assert len(problems) == 1
    assert f"{problems[0].message} {problems[0].hint}".strip() == str(caught.value)


def test_all_problems_are_reported_at_once() -> None:
    with override_settings(DBOS={"LISTEN": 1, "LEESE": 5, "CONCURRENCY": 0}):
        keys = [problem.key for problem in conf.setting_problems()]

    assert keys == ["LISTEN", "LEESE", "CONCURRENCY"]


def test_valid_settings_have_no_problems() -> None:
    assert conf.setting_problems() == []


RULES = pytest.mark.parametrize(
    ("name", "get_rule"), [("CAN_READ", conf.get_can_read), ("CAN_SEND", conf.get_can_send)]
)


@RULES
@pytest.mark.parametrize("given", [a_function, f"{__name__}.a_function"])
def test_a_rule_is_a_function_or_its_path(name: str, get_rule: Any, given: Any) -> None:
    with override_settings(DBOS={name: given}):
        assert get_rule() is a_function


@RULES
def test_without_a_rule_there_is_no_function(name: str, get_rule: Any) -> None:
    assert get_rule() is None


@RULES
@pytest.mark.parametrize("given", ["tests.test_conf.missing", "no.such.module"])
def test_a_missing_rule_is_refused(name: str, get_rule: Any, given: str) -> None:
    with (
        override_settings(DBOS={name: given}),
        pytest.raises(ImproperlyConfigured, match=rf"DBOS\['{name}'\] is '{given}'"),
    ):
        get_rule()


@RULES
def test_a_rule_that_is_not_callable_is_refused(name: str, get_rule: Any) -> None:
    with (
        override_settings(DBOS={name: "tests.test_conf.__doc__"}),
        pytest.raises(ImproperlyConfigured, match="which isn't callable"),
    ):
        get_rule()


def test_requests_may_be_kept_from_waiting() -> None:
    with override_settings(DBOS={"WAITING_THREADS": 0}):
        assert conf.get_settings().waiting_threads == 0


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("default", "For one database, write ['default']."),
        (["nowhere"], "Add the database to DATABASES, or use an alias that is there."),
        (7, ""),
    ],
)
def test_the_hint_fits_the_mistake(settings: Any, value: object, hint: str) -> None:
    settings.DBOS = {"STEP_DATABASES": value}

    assert [problem.hint for problem in conf.setting_problems()] == [hint]
