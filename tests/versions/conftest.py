"""Deploys: this process forgets the code of a workflow, and is given other code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import django_dbos as dbos
from django_dbos.core import registry

NAME = "shop.checkout"

Deploy = Callable[..., Any]


@pytest.fixture
def deploy(monkeypatch: pytest.MonkeyPatch) -> Deploy:
    """Return a function that replaces the code of one workflow, with its current one and older.

    It takes a function, the options of its decorator, and the functions of older versions.
    """
    monkeypatch.setattr(registry, "workflows", dict(registry.workflows))
    monkeypatch.setattr(registry, "versions", dict(registry.versions))

    def deploy(
        function: Any,
        version: str | None = None,
        *,
        older: dict[Any, Any] | None = None,
        **options: Any,
    ) -> Any:
        registry.workflows.pop(NAME, None)
        registry.versions.pop(NAME, None)
        current = dbos.workflow(name=NAME, version=version, **options)(function)
        for old_version, old in (older or {}).items():
            current.version(old_version)(old)
        return current

    return deploy


@pytest.fixture
def withdraw(deploy: Deploy) -> Callable[[], None]:
    """Return a function that takes the workflow's code away."""

    def withdraw() -> None:
        registry.workflows.pop(NAME, None)
        registry.versions.pop(NAME, None)

    return withdraw
