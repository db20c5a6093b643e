"""Access to the shop's workflows from a browser."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser

from django_dbos.models import Workflow
from example_project.shop.access import can_read
from example_project.shop.workflows import checkout, import_products


@pytest.mark.parametrize(
    ("name", "kind", "key", "allowed"),
    [
        (checkout.name, "stream", "progress", True),
        (checkout.name, "event", "status", True),
        (checkout.name, "event", "payment_url", False),
        (checkout.name, "event", None, False),
        (checkout.name, "stream", "status", False),
        (import_products.name, "stream", "progress", True),
        (import_products.name, "event", "status", True),
        ("somebody.elses", "stream", "progress", False),
    ],
)
def test_the_holder_of_an_id_may_read_progress_and_status(
    name: str, kind: str, key: str | None, allowed: bool
) -> None:
    workflow = Workflow(workflow_id="7f8a", name=name)

    assert can_read(AnonymousUser(), workflow, kind, key) is allowed
