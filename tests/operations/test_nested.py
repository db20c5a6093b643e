"""Workflows that are defined inside a function, which a worker may not find."""

from __future__ import annotations

import logging
from typing import Any

import pytest

import django_dbos as dbos
from django_dbos.testing import run_until_idle

pytestmark = pytest.mark.django_db


def make() -> Any:
    @dbos.workflow
    def nested() -> str:
        return "done"

    return nested


def make_named() -> Any:
    @dbos.workflow(name="tests.nested")
    def nested() -> str:
        return "done"

    return nested


@dbos.workflow
def top() -> None: ...


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_its_start_is_logged_once_and_works_where_it_is_known(caplog: Any) -> None:
    nested = make()

    handles = [nested.start(), nested.start(), *nested.start_many([()])]

    (warning,) = warnings(caplog)
    assert "'tests.operations.test_nested.make.<locals>.nested' is defined inside" in warning
    assert "top level" in warning
    run_until_idle()
    assert [handle.get_result(timeout=0) for handle in handles] == ["done"] * 3


@pytest.mark.parametrize("start", [lambda: make_named().start(), lambda: top.start()])
def test_others_are_not(start: Any, caplog: Any) -> None:
    start()

    assert not warnings(caplog)


@pytest.mark.django_db(transaction=True)
def test_a_call_is_not(caplog: Any) -> None:
    assert make()() == "done"

    assert not warnings(caplog)
