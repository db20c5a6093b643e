"""What `dbos_worker` does before and around the executor."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError, SystemCheckError

from django_dbos.executor import command


@pytest.mark.parametrize(
    ("set_by_project", "verbosity", "level"),
    [
        (logging.NOTSET, 1, logging.INFO),
        (logging.NOTSET, 2, logging.DEBUG),
        (logging.WARNING, 1, logging.WARNING),
    ],
)
def test_the_log_level_is_the_project_s_own_if_it_has_set_one(
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
def test_its_own_settings_stop_a_worker_and_the_project_s_pages_do_not(settings: Any) -> None:
    # Refused after the checks: no worker is started here.
    arguments: dict[str, Any] = {"processes": 0, "skip_checks": False}
    settings.ROOT_URLCONF = "there.is.none"

    with pytest.raises(CommandError, match="--processes must be at least 1"):
        call_command("dbos_worker", **arguments)

    settings.DBOS = {**settings.DBOS, "CONCURRENCY": "many"}
    with pytest.raises(SystemCheckError, match="E001"):
        call_command("dbos_worker", **arguments)
