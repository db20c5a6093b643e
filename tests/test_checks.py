"""The system checks, each with and without its mistake."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.db import connections

import django_dbos as dbos
from django_dbos import checks
from django_dbos.core import registry, zones
from django_dbos.store.postgresql import checks as postgresql_checks
from django_dbos.store.sqlite.checks import OPTIONS_HINT


def messages() -> list[CheckMessage]:
    return run_checks(tags=[checks.TAG])


def ids() -> set[str]:
    return {str(message.id).removeprefix("django_dbos.") for message in messages()}


def only_message(number: str) -> CheckMessage:
    (found,) = [message for message in messages() if message.id == f"django_dbos.{number}"]
    return found


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return a copy of the workflow database's settings, in use and free to change."""
    changed = {**connections["default"].settings_dict}
    monkeypatch.setattr(connections["default"], "settings_dict", changed)
    return changed


def test_the_settings_of_the_tests_have_no_errors() -> None:
    assert not {number for number in ids() if number.startswith("E")}


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, *files: str) -> None:
    """Create the files that pip leaves of a distribution."""
    info = folder / f"{name.replace('-', '_')}-9.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.0\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    for file in files:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).touch()
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])


def test_another_distribution_with_the_same_package_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, monkeypatch, "django-dbos", "django_dbos/__init__.py")

    found = only_message("E007")
    assert "'django-dbos'" in found.msg
    assert "pip install django-durable-workflows" in str(found.hint)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("django-durable-workflows", "django_dbos/__init__.py"),
        # An editable install of this project from the time when it had that name.
        ("django-dbos", "_editable_impl_django_dbos.pth"),
    ],
)
def test_this_project_itself_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, file: str
) -> None:
    installed(tmp_path, monkeypatch, name, file)

    assert "E007" not in ids()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"LEASES": 20}, "DBOS['LEASES'] isn't a setting"),
        ({"LEASE": -1}, "can't be negative"),
        ({"DATABASE": "nowhere"}, "'nowhere'"),
    ],
)
def test_an_invalid_setting_is_an_error(settings: Any, given: dict[str, Any], message: str) -> None:
    settings.DBOS = given

    assert message in only_message("E001").msg


@pytest.mark.django_db(databases=["default", "other"])
def test_an_invalid_setting_does_not_stop_the_other_checks(settings: Any) -> None:
    settings.DBOS = {"LEASES": 20}

    # Django's model checks call the router, which reads the settings.
    assert "django_dbos.E001" in {message.id for message in run_checks()}


def test_an_unknown_setting_comes_with_a_suggestion(settings: Any) -> None:
    settings.DBOS = {"LEASES": 20}

    assert "'LEASE'" in str(only_message("E001").hint)


def test_another_vendor_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(connections["default"]), "vendor", "mysql")

    assert "mysql" in only_message("E002").msg
    assert "E003" not in ids()


def test_psycopg_2_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(connections["default"]), "vendor", "postgresql")
    monkeypatch.setattr(postgresql_checks, "find_spec", lambda name: object())
    assert "E003" not in ids()

    monkeypatch.setattr(postgresql_checks, "find_spec", lambda name: None)

    assert "django-durable-workflows[postgres]" in str(only_message("E003").hint)


@pytest.mark.rule(41)
@pytest.mark.parametrize("options", [{}, {"transaction_mode": "DEFERRED"}])
def test_sqlite_without_immediate_transactions_is_an_error(
    monkeypatch: pytest.MonkeyPatch, database: dict[str, Any], options: dict[str, Any]
) -> None:
    monkeypatch.setattr(type(connections["default"]), "vendor", "sqlite")
    database["OPTIONS"] = options

    assert '"transaction_mode": "IMMEDIATE"' in str(only_message("E004").hint)


@pytest.mark.rule(41)
def test_the_options_in_the_hint_pass(
    monkeypatch: pytest.MonkeyPatch, database: dict[str, Any]
) -> None:
    monkeypatch.setattr(type(connections["default"]), "vendor", "sqlite")
    block = OPTIONS_HINT.partition('"OPTIONS": ')[2].rstrip(",")
    database["OPTIONS"] = eval(block)

    assert not ids() & {"E004", "W005"}


@pytest.mark.rule(38)
@pytest.mark.parametrize(
    "command",
    [
        "PRAGMA synchronous = NORMAL;",
        "pragma synchronous=off",
        "PRAGMA synchronous(1)",
        "PRAGMA synchronous=FULL; PRAGMA synchronous='normal';",
    ],
)
def test_sqlite_without_durable_commits_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, database: dict[str, Any], command: str
) -> None:
    monkeypatch.setattr(type(connections["default"]), "vendor", "sqlite")
    database["OPTIONS"] = {"transaction_mode": "IMMEDIATE", "init_command": command}

    assert "FULL" in str(only_message("W005").hint)


@pytest.mark.rule(38)
@pytest.mark.parametrize("command", ["", "PRAGMA synchronous=EXTRA;", "PRAGMA synchronous = 2"])
def test_sqlite_with_durable_commits_passes(
    monkeypatch: pytest.MonkeyPatch, database: dict[str, Any], command: str
) -> None:
    monkeypatch.setattr(type(connections["default"]), "vendor", "sqlite")
    database["OPTIONS"] = {"transaction_mode": "IMMEDIATE", "init_command": command}

    assert "W005" not in ids()


@pytest.fixture
def postgresql(monkeypatch: pytest.MonkeyPatch, database: dict[str, Any]) -> dict[str, Any]:
    """Return settings as of PostgreSQL with psycopg 3, regardless of the installed packages."""
    monkeypatch.setattr(type(connections["default"]), "vendor", "postgresql")
    monkeypatch.setattr(postgresql_checks, "find_spec", lambda name: object())
    return database


@pytest.mark.parametrize(
    ("options", "is_forgetful"),
    [
        ("-c synchronous_commit=off", True),
        ("-c synchronous_commit=on -c synchronous_commit=off", True),
        ("-c synchronous_commit=local", False),
        ("-c statement_timeout=1s", False),
    ],
)
def test_postgresql_without_durable_commits_is_a_warning(
    postgresql: dict[str, Any], options: str, is_forgetful: bool
) -> None:
    postgresql["OPTIONS"] = {"options": options}

    assert ("W005" in ids()) == is_forgetful


@pytest.mark.parametrize(
    ("pool", "is_small"),
    [
        (True, True),
        ({"max_size": 31}, True),
        ({"max_size": 32}, False),
        ({"min_size": 40}, False),
        ({}, False),
    ],
)
def test_a_pool_smaller_than_a_worker_is_a_warning(
    postgresql: dict[str, Any], settings: Any, pool: Any, is_small: bool
) -> None:
    settings.DBOS = {**settings.DBOS, "CONCURRENCY": 32}
    postgresql["OPTIONS"] = {"pool": pool}

    assert ("W008" in ids()) == is_small


def test_an_atomic_step_needs_its_database_in_the_settings(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr(registry, "step_aliases", {"charge": "other"})
    assert "E005" not in ids()

    settings.DBOS = {**settings.DBOS, "STEP_DATABASES": []}

    assert "--database other" in str(only_message("E005").hint)


@pytest.mark.parametrize(
    "dbos", [{"STEP_DATABASES": ["other"]}, {"DATABASE": "other"}], ids=["steps", "workflows"]
)
def test_tables_on_another_database_need_the_router(settings: Any, dbos: dict[str, Any]) -> None:
    settings.DBOS = dbos
    assert not ids() & {"W001", "W007"}

    settings.DATABASE_ROUTERS = []

    assert checks.ROUTER in str(only_message("W001").hint)


def test_one_database_needs_no_router(settings: Any) -> None:
    settings.DBOS = {}
    settings.DATABASE_ROUTERS = []

    assert not ids() & {"W001", "W007"}


class ToOther:
    """Sends all writes and migrations to another database."""

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "other"

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == "other"


class FromReplica:
    """Reads from another database, which projects may do."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "other"


def test_another_router_must_not_take_precedence(settings: Any) -> None:
    settings.DATABASE_ROUTERS = [checks.ROUTER, "tests.test_checks.ToOther"]
    assert "W007" not in ids()

    settings.DATABASE_ROUTERS = ["tests.test_checks.ToOther", checks.ROUTER]

    assert checks.ROUTER in str(only_message("W007").hint)


def test_a_replica_for_reads_is_no_mistake(settings: Any) -> None:
    settings.DATABASE_ROUTERS = ["tests.test_checks.FromReplica", checks.ROUTER]

    assert not ids() & {"W001", "W007"}


@pytest.mark.parametrize("path", ["tests.nowhere.Serializer", "tests.test_checks.ToOther"])
def test_a_serializer_must_be_one(settings: Any, path: str) -> None:
    assert "E006" not in ids()

    settings.DBOS = {**settings.DBOS, "SERIALIZER": path}

    assert path in only_message("E006").msg


def test_atomic_requests_are_a_warning(database: dict[str, Any]) -> None:
    assert "W002" not in ids()

    database["ATOMIC_REQUESTS"] = True

    assert "non_atomic_requests" in str(only_message("W002").hint)


def test_channels_without_a_layer_is_a_warning(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer"}}
    assert not ids() & {"W003", "W004"}

    settings.CHANNEL_LAYERS = {}

    assert "W003" in ids()


def test_a_missing_layer_is_no_warning_without_channels(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {}
    settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if name != "channels"]

    assert "W003" not in ids()


def test_a_layer_in_memory_is_a_warning_outside_development(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": checks.MEMORY_LAYER}}
    assert "W004" in ids()

    settings.DEBUG = True

    assert "W004" not in ids()


@pytest.mark.parametrize("key", ["CAN_READ", "CAN_SEND", "REDACT"])
@pytest.mark.parametrize("path", ["tests.nowhere.can_read", "tests.test_checks.NOTHING"])
def test_a_rule_must_be_the_path_of_a_function(settings: Any, key: str, path: str) -> None:
    assert "W006" not in ids()

    settings.DBOS = {**settings.DBOS, key: path}

    assert f"DBOS['{key}'] is '{path}'" in only_message("W006").msg


NOTHING = None


def test_a_check_can_be_silenced(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {}
    settings.SILENCED_SYSTEM_CHECKS = ["django_dbos.W003"]

    assert only_message("W003").is_silenced()


@pytest.mark.parametrize("module", ["tests.settings", "example_project.config.settings"])
def test_the_settings_of_the_project_pass(tmp_path: Path, module: str) -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": module, "DEMO_DIR": str(tmp_path)}

    checked = subprocess.run(
        [sys.executable, "-m", "django", "check", "--tag", checks.TAG],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stderr


def test_a_worker_does_not_start_with_an_invalid_setting() -> None:
    """Django calls the router before the checks run; when it raised, the check never showed."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DBOS_TEST_SETTINGS": '{"LEASES": 20}',
    }

    started = subprocess.run(
        [sys.executable, "-m", "django", "dbos_worker", "--once"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert started.returncode != 0
    assert "django_dbos.E001" in started.stderr


PATTERN = r'id="django_dbos\.([EW]\d{3})"'


def test_every_check_is_in_the_docs() -> None:
    source = Path(checks.__file__).read_text()
    page = (Path(__file__).parent.parent / "docs" / "checks.md").read_text()
    package = Path(checks.__file__).parent
    texts = [path.read_text() for path in package.rglob("*.py")]
    in_code = {found for text in texts for found in re.findall(PATTERN, text)}

    assert in_code == set(re.findall(r"`django_dbos\.([EW]\d{3})`", page))
    assert in_code == set(re.findall(r"\| django_dbos\.([EW]\d{3}) \|", source))


def test_workflows_beside_the_settings_are_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    assert "W009" not in ids()
    (tmp_path / "newsite").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    settings.ROOT_URLCONF = "newsite.urls"
    assert "W009" not in ids()

    (tmp_path / "newsite" / "workflows.py").touch()

    assert "Move it into an app" in str(only_message("W009").hint)
    settings.ROOT_URLCONF = "nowhere.to.be.urls"
    assert "W009" not in ids()


@pytest.mark.parametrize("queues", [{}, {"urgent": {}}, {"mail": {}, "mial": {}}])
def test_queues_need_not_be_declared(settings: Any, queues: dict[str, Any]) -> None:
    settings.DBOS = {"STEP_DATABASES": ["other"], "DEFAULT_QUEUE": "mial", "QUEUES": queues}

    assert "W010" not in ids()


def test_a_queue_that_is_spelled_like_a_declared_one_is_a_warning(settings: Any) -> None:
    settings.DBOS = {"STEP_DATABASES": ["other"], "DEFAULT_QUEUE": "mial", "QUEUES": {"mail": {}}}

    found = only_message("W010")

    assert found.msg == (
        "DBOS['DEFAULT_QUEUE'] names queue 'mial', which isn't in DBOS['QUEUES'] and so has no "
        "limits."
    )
    assert "Did you mean 'mail'?" in str(found.hint)


def test_the_queue_of_a_function_is_compared_with_the_declared_ones(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = next(iter(registry.workflows.values()))
    monkeypatch.setitem(
        registry.workflows, "shop.notify", replace(definition, queue_name="payment")
    )
    settings.DBOS = {"STEP_DATABASES": ["other"], "QUEUES": {"payments": {}}}

    assert only_message("W010").msg.startswith("Workflow 'shop.notify' names queue 'payment'")


def test_the_queue_of_a_schedule_is_compared_with_the_declared_ones(settings: Any) -> None:
    nightly = {"workflow": "tests.executor.workflows.counts", "every": 60, "args": [1]}
    settings.DBOS = {
        **settings.DBOS,
        "QUEUES": {"mail": {}},
        "SCHEDULES": {"nightly": {**nightly, "queue_name": "mial"}},
    }

    assert only_message("W010").msg.startswith("Schedule 'nightly' names queue 'mial'")


def test_a_cron_schedule_without_cronsim_is_an_error(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    nightly = {"workflow": "tests.executor.workflows.counts", "cron": "0 3 * * *", "args": [1]}
    settings.DBOS = {**settings.DBOS, "SCHEDULES": {"nightly": nightly}}
    assert "E008" not in ids()

    monkeypatch.setitem(sys.modules, "cronsim", None)

    assert "django-durable-workflows[schedules]" in only_message("E008").msg


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"workflow": "tests.executor.workflows.cuonts", "every": 60}, "workflows.counts"),
        ({"every": 60}, "missing a required argument"),
        ({"cron": "@daily", "args": [1], "timezone": "Europe/Berlim"}, "Europe/Berlin"),
        ({"every": 60, "args": [1], "timezone": "UTC"}, "every or timezone='UTC', not both"),
        ({"every": 60, "args": [1], "queue_name": "imports"}, "a partition key"),
        ({"cron": "0 3 * * 9", "args": [1]}, "the day of week field, '9'"),
        ({"args": [1]}, "either cron or every"),
        ({"every": 60, "args": [1], "overlapp": "skip"}, "'overlap'"),
    ],
)
def test_a_mistake_in_a_declared_schedule_is_an_error(
    settings: Any, options: dict[str, Any], expected: str
) -> None:
    declared = {"workflow": "tests.executor.workflows.counts", **options}
    queues = {"imports": {"partition_concurrency": 1}}
    settings.DBOS = {**settings.DBOS, "SCHEDULES": {"nightly": declared}, "QUEUES": queues}

    assert expected in only_message("E009").msg
    assert only_message("E009").msg.count("Schedule 'nightly'") == 1


def test_a_declared_schedule_whose_end_has_passed_is_a_warning(settings: Any) -> None:
    nightly = {"workflow": "tests.executor.workflows.counts", "args": [1], "every": 3600}
    settings.DBOS = {**settings.DBOS, "SCHEDULES": {"nightly": nightly}}
    nightly["end"] = datetime.now(UTC) + timedelta(days=1)
    assert "W012" not in ids()

    nightly["end"] = datetime(2026, 1, 1, tzinfo=UTC)
    assert "Schedule 'nightly' starts nothing any more" in only_message("W012").msg


@pytest.mark.parametrize(
    ("given", "place"),
    [
        (30, "DBOS['RETENTION'] is 30"),
        ([{"name": "shop.*", "count": 9}, {"age": 90}], "[1]['age']"),
    ],
)
def test_an_age_that_may_mean_days_is_a_warning(settings: Any, given: Any, place: str) -> None:
    settings.DBOS = {**settings.DBOS, "RETENTION": given}

    assert place in only_message("W013").msg
    assert "timedelta(days=" in str(only_message("W013").hint)


@pytest.mark.parametrize(
    "given", [None, 3600, timedelta(seconds=30), [{"name": "shop.*", "age": None}, {"count": 9}]]
)
def test_an_age_that_is_meant_is_no_warning(settings: Any, given: Any) -> None:
    settings.DBOS = {**settings.DBOS, "RETENTION": given}

    assert "W013" not in ids()


def test_a_schedule_in_the_wrong_form_is_an_error_of_the_settings(settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "SCHEDULES": {"nightly": {"cron": "@daily"}}}

    assert "'workflow'" in only_message("E001").msg


def test_old_time_zone_data_is_a_warning(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    nightly = {"workflow": "tests.executor.workflows.counts", "args": [1], "cron": "0 3 * * *"}
    monkeypatch.setattr(zones, "data_version", lambda: "2021a")
    settings.DBOS = {**settings.DBOS, "SCHEDULES": {"nightly": {**nightly, "timezone": "UTC"}}}
    assert "W011" not in ids()

    nightly["timezone"] = "Europe/Berlin"
    settings.DBOS = {**settings.DBOS, "SCHEDULES": {"nightly": nightly}}
    assert "2021a" in only_message("W011").msg

    monkeypatch.setattr(zones, "data_version", lambda: "2099a")
    assert "W011" not in ids()


@pytest.mark.parametrize("permission", ["refund", "shop.", "shop.refund.all", "shop refund"])
def test_a_permission_that_nobody_could_have_is_an_error(
    permission: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "workflows", {})
    monkeypatch.setattr(registry, "versions", {})
    dbos.workflow(name="shop.refund", permission="shop.refund")(lambda: None)
    assert "E011" not in ids()

    dbos.workflow(name="shop.return", permission=permission)(lambda: None)

    assert f"Workflow 'shop.return' needs permission {permission!r}" in only_message("E011").msg
