"""Keys of encryption for tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

KEYS = {
    "2025": "b2xkIGtleSBvZiB0aGUgdGVzdHMsIDMyIGJ5dGVzLi4=",
    "2026": "bmV3IGtleSBvZiB0aGUgdGVzdHMsIDMyIGJ5dGVzLi4=",
}


def ring(*key_ids: str, **options: Any) -> dict[str, Any]:
    """Return a value of DBOS["ENCRYPTION"] with these keys, of which the first encrypts."""
    return {"KEYS": {key_id: KEYS[key_id] for key_id in key_ids}, **options}


def with_keys(*key_ids: str, **options: Any) -> dict[str, str]:
    """Return the environment of a process with these keys."""
    return {"DBOS_TEST_SETTINGS": json.dumps({"ENCRYPTION": ring(*key_ids, **options)})}


@pytest.fixture
def use_keys(settings: Any) -> Callable[..., None]:
    """Let the test choose the keys of its own process; without any, encryption is off."""

    def use(*key_ids: str, **options: Any) -> None:
        chosen = ring(*key_ids, **options) if key_ids else None
        settings.DBOS = {**settings.DBOS, "ENCRYPTION": chosen}

    return use


@pytest.fixture
def encrypted(use_keys: Callable[..., None]) -> None:
    """Encrypt what this process writes."""
    use_keys("2025")
