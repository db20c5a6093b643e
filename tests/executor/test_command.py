"""`dbos_worker`: its options, checks and logging, before and around the executor."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError, SystemCheckError

from django_dbos.executor import declared_queues
from django_dbos.executor.cli import command
from django_dbos.management.base import USAGE
from django_dbos.store import get_store
from tests.executor import workflows


@pytest.mark.parametrize(
    ("set_by_project", "verbosity", "level"),
    [
        (logging.NOTSET, 1, logging.INFO),
        (logging.NOTSET, 2, logging.DEBUG),
        (logging.WARNING, 1, logging.WARNING),
    ],
)
def test_the_log_level_of_the_project_takes_precedence(
    monkeypatch: pytest.MonkeyPatch, set_by_project: int, verbosity: int, level: int
) -> None:
    root = logging.getLogger("django_dbos")
    monkeypatch.setattr(root, "hasHandlers", lambda: False)
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", set_by_project)

    command._show_log(verbosity)

    assert root.level == level
    assert len(root.handlers) == 1


@pytest.mark.django_db(databases="__all__")
def test_only_checks_of_the_engine_stop_a_worker(settings: Any) -> None:
    # The command is refused after the checks, so no worker starts.
    arguments: dict[str, Any] = {"processes": 0, "skip_checks": False}
    settings.ROOT_URLCONF = "there.is.none"

    with pytest.raises(CommandError, match="--processes must be at least 1"):
        call_command("dbos_worker", **arguments)

    settings.DBOS = {**settings.DBOS, "CONCURRENCY": "many"}
    with pytest.raises(SystemCheckError, match="E001"):
        call_command("dbos_worker", **arguments)


@pytest.mark.parametrize("port", [0, 70_000])
@pytest.mark.django_db(databases="__all__")
def test_a_port_that_can_not_be_is_refused(port: int) -> None:
    with pytest.raises(CommandError, match=f"--metrics-port must be from 1 to 65535, not {port}"):
        call_command("dbos_worker", metrics_port=port, skip_checks=True)


@pytest.mark.parametrize(
    "given",
    [
        ["--processes=0"],
        ["--concurrency=0"],
        ["--processes=2", "--once"],
        ["--once", "--reload"],
        ["--metrics-port=70000"],
        ["--metrics-port=8000", "--processes=2"],
        ["--database=nowhere"],
        ["--queues=high,,low"],
    ],
)
@pytest.mark.django_db(databases="__all__")
def test_wrong_usage_has_an_exit_code_of_its_own(given: list[str]) -> None:
    with pytest.raises(CommandError) as caught:
        call_command("dbos_worker", *given, skip_checks=True)

    assert caught.value.returncode == USAGE


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[command.Arguments]:
    """Collect the arguments with which the command would have run."""
    ran: list[command.Arguments] = []
    monkeypatch.setattr(command, "run", lambda arguments: ran.append(arguments) or 0)
    return ran


@pytest.mark.parametrize(
    "given", [["--queues", "high, low "], ["--queues", "high", "--queues= low"]]
)
def test_blanks_around_names_of_queues_are_ignored(
    ran: list[command.Arguments], given: list[str]
) -> None:
    call_command("dbos_worker", *given, skip_checks=True)

    assert ran[0].queues == ["high", "low"]


@pytest.mark.parametrize("given", ["high,,low", "high,", ""])
def test_a_queue_without_a_name_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="A queue name can't be empty"):
        command.Executor([name.strip() for name in given.split(",")])


@pytest.mark.parametrize("given", [["--queue", "high"], ["--conc", "3"], ["--proc=2"]])
def test_abbreviated_options_are_refused(ran: list[command.Arguments], given: list[str]) -> None:
    with pytest.raises(CommandError, match="unrecognized arguments"):
        call_command("dbos_worker", *given, skip_checks=True)

    assert not ran


@pytest.mark.django_db(databases="__all__")
def test_the_warning_names_unknown_queues(caplog: pytest.LogCaptureFixture) -> None:
    workflows.counts.using(queue_name="in use").start(1)

    command.warn_of_unknown_queues(["default", "in use", "defualt"])

    (record,) = caplog.records
    assert record.getMessage() == (
        "Queue 'defualt' is named by no workflow function and not in DBOS['QUEUES'], and no "
        "workflow is in it. Did you mean 'default'?"
    )


@pytest.mark.django_db(databases="__all__")
def test_a_misspelt_queue_is_warned_of_at_each_start(caplog: pytest.LogCaptureFixture) -> None:
    """A worker writes rows for the queues that it serves, also for one that nobody else knows."""
    store = get_store()
    store.edit_queue("mail", {"concurrency": 2})

    for _ in range(2):
        command.warn_of_unknown_queues(["mail", "mial"])
        declared_queues.declare(store, ["mail", "mial"])

    hint = " Did you mean 'mail'?"
    assert [record.args for record in caplog.records if record.args] == [("mial", hint)] * 2
