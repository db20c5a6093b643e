"""Descriptions in the histories of workflows, which later versions read."""

from __future__ import annotations

import json

import pytest

import django_dbos as dbos
from django_dbos import serializers

ADDED = {
    "why_not_running": None,
    "partition_key": None,
    "unique_until": None,
    "debounce_key": None,
    "run_number": 1,
    "steps": 0,
    "last_step": None,
    "failed_attempts": 0,
    "children": None,
    "missing_key": None,
}


@dbos.workflow
def noop() -> None: ...


@pytest.mark.django_db
def test_a_description_that_was_recorded_before_an_upgrade_is_read() -> None:
    text = serializers.dumps(noop.start().describe(), label="A description")
    for name in ADDED:
        assert f'"{name}"' in text

    found = serializers.loads(json.dumps(without(json.loads(text))))

    assert isinstance(found, dbos.WorkflowDescription)
    assert {name: getattr(found, name) for name in ADDED} == ADDED


def without(value: object) -> object:
    """Drop the added fields, wherever they are."""
    if isinstance(value, dict):
        return {key: without(part) for key, part in value.items() if key not in ADDED}
    return [without(part) for part in value] if isinstance(value, list) else value
