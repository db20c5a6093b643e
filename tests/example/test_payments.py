"""Webhooks of the payment provider, and the page that plays the provider."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from typing import Any

import pytest
from django.test import Client

from django_dbos.models import Message
from django_dbos.testing import run_until_idle
from example_project.shop.models import Product
from tests.example.conftest import get_state, in_stock, pay, place_order, post_json

pytestmark = pytest.mark.django_db


@pytest.fixture
def order(client: Client, kettle: Product) -> str:
    """The id of an order that waits for its payment."""
    workflow_id: str = place_order(client).json()["workflow_id"]
    run_until_idle()
    return workflow_id


def sign(body: str, secret: str) -> str:
    return hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()


def test_a_repeated_webhook_is_one_payment(client: Client, order: str) -> None:
    answers = [pay(client, order) for _ in range(3)]
    run_until_idle()
    late = pay(client, order)

    assert [answer.status_code for answer in [*answers, late]] == [200] * 4
    assert Message.objects.count() == 1
    assert in_stock() == 8


def test_a_payment_that_comes_too_late_is_kept_but_changes_nothing(
    client: Client, order: str
) -> None:
    pay(client, order, "failed")
    run_until_idle()

    assert pay(client, order, "paid").status_code == 200
    run_until_idle()

    assert get_state(client, order)["events"]["status"] == "cancelled"
    assert Message.objects.filter(consumed_at=None).count() == 1
    assert in_stock() == 10


def test_an_early_payment_is_not_lost(client: Client, kettle: Product) -> None:
    workflow_id = place_order(client).json()["workflow_id"]
    pay(client, workflow_id)
    run_until_idle()

    assert get_state(client, workflow_id)["events"]["status"] == "fulfilled"


@pytest.mark.parametrize("status", ["PAID", "", None, 1, ["paid"]])
def test_a_wrong_status_is_refused(client: Client, order: str, status: Any) -> None:
    response = pay(client, order, status)

    assert response.status_code == 400
    assert list(response.json()["errors"]) == ["status"]
    assert not Message.objects.exists()


@pytest.mark.parametrize("workflow_id", [str(uuid.uuid4()), "nonsense"])
def test_a_payment_of_an_unknown_order_is_refused(
    client: Client, db: None, workflow_id: str
) -> None:
    response = pay(client, workflow_id)

    assert response.status_code == 404
    assert workflow_id in response.json()["error"]


def test_a_webhook_must_be_json(client: Client, order: str) -> None:
    response = client.post("/payments/webhook/", {"workflow_id": order, "status": "paid"})

    assert response.status_code == 415


def test_a_signed_webhook_is_accepted(client: Client, order: str, settings: Any) -> None:
    settings.SHOP_WEBHOOK_SECRET = "s3cret"
    body = json.dumps({"workflow_id": order, "status": "paid"})

    response = post_json(
        client, "/payments/webhook/", body, **{"X-Signature": sign(body, "s3cret")}
    )

    assert response.status_code == 200


@pytest.mark.parametrize("signature", [None, "", "00", "é", "secret of somebody else"])
def test_a_webhook_with_a_wrong_signature_is_refused(
    client: Client, order: str, settings: Any, signature: str | None
) -> None:
    settings.SHOP_WEBHOOK_SECRET = "s3cret"
    body = json.dumps({"workflow_id": order, "status": "paid"})
    if signature and signature.startswith("secret"):
        signature = sign(body, "another")
    headers = {} if signature is None else {"X-Signature": signature}

    response = post_json(client, "/payments/webhook/", body, **headers)

    assert response.status_code == 403
    assert not Message.objects.exists()


def test_without_a_secret_no_payment_is_believed_unless_debug(
    client: Client, order: str, settings: Any
) -> None:
    settings.DEBUG = False

    response = pay(client, order)

    assert response.status_code == 403
    assert "SHOP_WEBHOOK_SECRET" in response.json()["error"]
    assert client.post(f"/payments/{order}/", {"status": "paid"}).status_code == 404
    assert not Message.objects.exists()


def test_the_payment_page_pays(strict_client: Client, order: str) -> None:
    page = strict_client.get(f"/payments/{order}/")
    token = strict_client.cookies["csrftoken"].value
    form = {"status": "paid", "csrfmiddlewaretoken": token}

    response = strict_client.post(f"/payments/{order}/", form)
    run_until_idle()

    assert "98.00" in page.content.decode()
    assert response["Location"] == f"/orders/{order}/"
    assert get_state(strict_client, order)["events"]["status"] == "fulfilled"


def test_the_payment_page_needs_its_csrf_token(strict_client: Client, order: str) -> None:
    assert strict_client.post(f"/payments/{order}/", {"status": "paid"}).status_code == 403


def test_a_settled_order_has_nothing_to_pay(client: Client, order: str) -> None:
    pay(client, order)
    run_until_idle()

    assert "nothing to pay" in client.get(f"/payments/{order}/").content.decode()
