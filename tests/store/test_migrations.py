"""Migrations with rows in the tables, forwards and backwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

PLAIN_NAMES = "0006_plain_names"

pytestmark = pytest.mark.django_db(transaction=True)


def migrate(name: str) -> Any:
    """Migrate the tables to a migration; return the models as they are then."""
    executor = MigrationExecutor(connection)
    executor.migrate([("django_dbos", name)])
    # The executor's own graph doesn't show what it has just applied.
    loader = MigrationExecutor(connection).loader
    return loader.project_state([("django_dbos", name)]).apps


@pytest.fixture
def latest() -> Iterator[None]:
    """Leave the tables as all migrations make them."""
    yield
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes("django_dbos"))


def workflow(apps: Any, workflow_id: str, **values: Any) -> None:
    apps.get_model("django_dbos", "Workflow").objects.create(
        workflow_id=workflow_id,
        token=uuid4(),
        name="shop.order",
        status="ERROR",
        queue_name="default",
        queue_sequence=1,
        input_text="{}",
        created_at=timezone.now(),
        **values,
    )


def checkpoint(apps: Any, step_number: int, **values: Any) -> None:
    apps.get_model("django_dbos", "Checkpoint").objects.create(
        workflow_id="stopped",
        step_number=step_number,
        step_name="start",
        record_order=step_number,
        claim_number=1,
        recorded_at=timezone.now(),
        **values,
    )


def values(apps: Any, model: str, *names: str) -> list[tuple[Any, ...]]:
    rows = apps.get_model("django_dbos", model).objects.order_by("pk")
    return list(rows.values_list(*names))


def test_plain_names_keep_what_is_in_the_columns(latest: None) -> None:
    before = migrate("0005_attempt_errors")
    workflow(before, "failed", is_set_aside=False)
    workflow(before, "stopped", is_set_aside=True)
    checkpoint(before, 1, child_workflow_id="child-1")
    checkpoint(before, 2)

    after = migrate(PLAIN_NAMES)

    assert values(after, "Workflow", "pk", "is_quarantined") == [
        ("failed", False),
        ("stopped", True),
    ]
    found = values(after, "Checkpoint", "step_number", "related_workflow_id")
    assert found == [(1, "child-1"), (2, None)]


def test_plain_names_can_be_taken_back(latest: None) -> None:
    after = migrate(PLAIN_NAMES)
    workflow(after, "stopped", is_quarantined=True)
    checkpoint(after, 1, related_workflow_id="child-1")

    before = migrate("0005_attempt_errors")

    assert values(before, "Workflow", "pk", "is_set_aside") == [("stopped", True)]
    assert values(before, "Checkpoint", "child_workflow_id") == [("child-1",)]


def test_all_migrations_can_be_taken_back_and_applied_again(latest: None) -> None:
    migrate("0001_initial")
    workflow(migrate(PLAIN_NAMES), "kept", is_quarantined=True)

    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes("django_dbos"))

    from django_dbos.models import Workflow

    assert Workflow.objects.get().is_quarantined
