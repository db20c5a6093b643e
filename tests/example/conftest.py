"""The shop on the tests' settings, with something on its shelves."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from example_project.shop.models import Product


@pytest.fixture(autouse=True)
def shop(settings: Any) -> Any:
    """The shop's URLs and its rule for who may read; nobody waits for a worker."""
    settings.ROOT_URLCONF = "example_project.config.urls"
    settings.DBOS = {**settings.DBOS, "CAN_READ": "example_project.shop.access.can_read"}
    settings.SHOP_ANSWER_SECONDS = 0
    settings.SHOP_STEP_SECONDS = settings.SHOP_PACKING_SECONDS = 0
    # As the demo runs; without it payments need a signature.
    settings.DEBUG = True
    return settings


@pytest.fixture
def kettle(db: None) -> Product:
    return Product.objects.create(sku="KETTLE", name="Kettle", price=Decimal("49.00"), stock=10)


@pytest.fixture
def strict_client() -> Client:
    """A browser: unlike Django's usual test client, it needs CSRF tokens."""
    return Client(enforce_csrf_checks=True)


def post_json(client: Client, path: str, value: Any, **headers: str) -> Any:
    body = value if isinstance(value, str | bytes) else json.dumps(value)
    return client.post(path, body, content_type="application/json", headers=headers or None)


def place_order(client: Client, **fields: Any) -> Any:
    return post_json(client, "/orders/", {"sku": "KETTLE", "quantity": 2, **fields})


def pay(client: Client, workflow_id: str, status: str = "paid") -> Any:
    return post_json(client, "/payments/webhook/", {"workflow_id": workflow_id, "status": status})


def get_json(client: Client, path: str) -> Any:
    return client.get(path, headers={"Accept": "application/json"})


def get_state(client: Client, workflow_id: str) -> dict[str, Any]:
    response = get_json(client, f"/orders/{workflow_id}/")
    assert response.status_code == 200
    state: dict[str, Any] = response.json()
    return state


def in_stock() -> int:
    return Product.objects.get(sku="KETTLE").stock
