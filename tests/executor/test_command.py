"""What `dbos_worker` does before and around the executor."""

from __future__ import annotations

import logging

import pytest

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
