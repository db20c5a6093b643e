"""Orders over HTTP, from the shelf to the parcel."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.test import Client

import django_dbos as dbos
from django_dbos.models import Workflow
from django_dbos.testing import advance, run_until_idle
from example_project.shop.models import Order, Product
from tests.example.conftest import get_json, get_state, in_stock, pay, place_order, post_json

pytestmark = pytest.mark.django_db


def test_an_order_answers_where_to_pay(client: Client, kettle: Product) -> None:
    place_order(client, idempotency_key="one")
    run_until_idle()

    response = place_order(client, idempotency_key="one")

    workflow_id = response.json()["workflow_id"]
    assert response.status_code == 201
    assert response.json()["payment_url"] == f"http://testserver/payments/{workflow_id}/"
    assert get_state(client, workflow_id) == {
        "workflow_id": workflow_id,
        "status": "WAITING",
        "events": {
            "status": "awaiting_payment",
            "payment_url": f"http://testserver/payments/{workflow_id}/",
        },
        "result": None,
    }


def test_without_a_worker_an_order_is_accepted_all_the_same(
    client: Client, kettle: Product
) -> None:
    response = place_order(client)

    assert response.status_code == 202
    assert response.json()["payment_url"] is None
    assert "worker" in response.json()["detail"]
    assert get_state(client, response.json()["workflow_id"])["status"] == "ENQUEUED"


def test_a_paid_order_is_delivered(client: Client, kettle: Product) -> None:
    workflow_id = place_order(client).json()["workflow_id"]
    run_until_idle()
    pay(client, workflow_id)
    run_until_idle()

    state = get_state(client, workflow_id)
    assert (state["status"], state["events"]["status"]) == ("SUCCESS", "fulfilled")
    assert state["result"] == {
        "status": "fulfilled",
        "sku": "KETTLE",
        "quantity": 2,
        "total": "98.00",
        "parcel": f"P-{workflow_id[:8].upper()}",
    }
    assert in_stock() == 8
    assert Order.objects.get().status == Order.Status.FULFILLED


def test_progress_tells_every_stage_once(client: Client, kettle: Product) -> None:
    workflow_id = place_order(client).json()["workflow_id"]
    run_until_idle()
    pay(client, workflow_id)
    run_until_idle()

    entries = list(dbos.read_stream(workflow_id, "progress", wait=False).entries())

    assert [offset for offset, _ in entries] == list(range(8))
    assert [entry["stage"] for _, entry in entries] == [
        "received",
        "reserved",
        "awaiting_payment",
        "paid",
        "packing",
        "packed",
        "booked",
        "fulfilled",
    ]


def test_a_failed_payment_gives_the_stock_back(client: Client, kettle: Product) -> None:
    workflow_id = place_order(client).json()["workflow_id"]
    run_until_idle()
    assert in_stock() == 8
    pay(client, workflow_id, "failed")
    run_until_idle()

    state = get_state(client, workflow_id)
    assert state["result"] == {"status": "cancelled", "reason": "payment failed"}
    assert state["events"]["status"] == "cancelled"
    assert in_stock() == 10
    assert Order.objects.get().status == Order.Status.CANCELLED


def test_an_order_that_nobody_pays_gives_the_stock_back(client: Client, kettle: Product) -> None:
    workflow_id = place_order(client).json()["workflow_id"]
    run_until_idle()
    advance(901)
    run_until_idle()

    assert get_state(client, workflow_id)["result"]["reason"] == "not paid in time"
    assert in_stock() == 10


def test_an_order_of_too_many_ends_out_of_stock(client: Client, kettle: Product) -> None:
    place_order(client, quantity=11, idempotency_key="many")
    run_until_idle()

    response = place_order(client, quantity=11, idempotency_key="many")

    state = get_state(client, response.json()["workflow_id"])
    assert response.status_code == 409
    assert (state["status"], state["events"]["status"]) == ("SUCCESS", "out_of_stock")
    assert in_stock() == 10
    assert not Order.objects.exists()


def test_the_same_key_of_the_same_customer_is_the_same_order(
    client: Client, kettle: Product
) -> None:
    first = place_order(client, idempotency_key="mine")
    second = place_order(client, idempotency_key="mine")
    run_until_idle()

    assert first.json() == second.json()
    assert in_stock() == 8
    assert Workflow.objects.count() == 1


def test_the_same_key_of_another_customer_is_another_order(kettle: Product) -> None:
    first = place_order(Client(), idempotency_key="mine")
    second = place_order(Client(), idempotency_key="mine")

    assert first.json()["workflow_id"] != second.json()["workflow_id"]


def test_a_customer_who_logs_in_keeps_their_keys(
    client: Client, kettle: Product, admin_user: Any
) -> None:
    first = place_order(client, idempotency_key="mine")
    client.force_login(admin_user)
    second = place_order(client, idempotency_key="mine")

    assert first.json()["workflow_id"] == second.json()["workflow_id"]


def test_without_a_key_every_order_is_a_new_one(client: Client, kettle: Product) -> None:
    ids = {place_order(client).json()["workflow_id"] for _ in range(3)}

    assert len(ids) == 3
    assert all(str(uuid.UUID(workflow_id)) == workflow_id for workflow_id in ids)


def test_an_order_knows_who_placed_it(client: Client, kettle: Product, admin_user: Any) -> None:
    client.force_login(admin_user)

    workflow_id = place_order(client).json()["workflow_id"]

    assert Workflow.objects.get(pk=workflow_id).user_id == str(admin_user.pk)


def test_an_unknown_product_cannot_be_ordered(client: Client, kettle: Product) -> None:
    response = place_order(client, sku="TEAPOT")

    assert response.status_code == 404
    assert "TEAPOT" in response.json()["error"]
    assert not Workflow.objects.exists()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"quantity": 0}, "quantity"),
        ({"quantity": -1}, "quantity"),
        ({"quantity": 1.5}, "quantity"),
        ({"quantity": True}, "quantity"),
        ({"quantity": "two"}, "quantity"),
        ({"quantity": None}, "quantity"),
        ({"quantity": [1]}, "quantity"),
        ({"quantity": 10**30}, "quantity"),
        ({"sku": ""}, "sku"),
        ({"sku": None}, "sku"),
        ({"sku": ["KETTLE"]}, "sku"),
        ({"sku": "K" * 41}, "sku"),
        ({"sku": "KETTLE\0"}, "sku"),
        ({"sku": "\ud800"}, "sku"),
        ({"idempotency_key": "k" * 201}, "idempotency_key"),
        ({"idempotency_key": "\ud800"}, "idempotency_key"),
        ({"idempotency_key": {"a": 1}}, "idempotency_key"),
    ],
)
def test_bad_fields_are_refused_by_name(
    client: Client, kettle: Product, fields: dict[str, Any], field: str
) -> None:
    response = place_order(client, **fields)

    assert response.status_code == 400
    assert list(response.json()["errors"]) == [field]
    assert not Workflow.objects.exists()


@pytest.mark.parametrize(
    "body", [" ", "{", "[]", '"x"', b"\xff", "[" * 100_000, '{"quantity": ' + "9" * 5000 + "}"]
)
def test_a_body_that_is_no_json_object_is_refused(
    client: Client, db: None, body: str | bytes
) -> None:
    response = post_json(client, "/orders/", body)

    assert response.status_code == 400
    assert "body" in response.json()["error"]


def test_a_body_that_is_too_large_is_refused(client: Client, db: None, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100

    assert place_order(client, idempotency_key="k" * 100).status_code == 413


def test_json_needs_no_csrf_token(strict_client: Client, kettle: Product) -> None:
    assert place_order(strict_client).status_code == 202


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "text/plain; application/json",
        "text/plain;charset=application/json",
        "",
    ],
)
def test_what_another_sites_form_can_send_needs_a_csrf_token(
    strict_client: Client, kettle: Product, content_type: str
) -> None:
    body = '{"sku": "KETTLE", "quantity": 1}'

    response = strict_client.post("/orders/", body, content_type=content_type)

    assert response.status_code == 403
    assert not Workflow.objects.exists()


def test_a_form_with_its_token_leads_to_the_orders_page(
    strict_client: Client, kettle: Product
) -> None:
    strict_client.get("/")
    token = strict_client.cookies["csrftoken"].value
    form = {"sku": "KETTLE", "quantity": "1", "csrfmiddlewaretoken": token}

    response = strict_client.post("/orders/", form)

    assert response.status_code == 302
    assert response["Location"] == f"/orders/{Workflow.objects.get().pk}/"


def test_a_browser_is_refused_with_a_page(client: Client, kettle: Product) -> None:
    form = {"sku": "KETTLE", "quantity": "0"}

    response = client.post("/orders/", form, headers={"Accept": "text/html"})

    assert response.status_code == 400
    assert response["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("path", ["/orders/{}/", "/payments/{}/", "/imports/{}/"])
@pytest.mark.parametrize("workflow_id", [str(uuid.uuid4()), "nonsense", "x" * 300, "%00"])
def test_an_unknown_id_is_not_found(client: Client, db: None, path: str, workflow_id: str) -> None:
    response = get_json(client, path.format(workflow_id))

    assert response.status_code == 404
    assert "error" in response.json()


def test_an_order_is_no_import(client: Client, kettle: Product) -> None:
    workflow_id = place_order(client).json()["workflow_id"]

    assert get_json(client, f"/imports/{workflow_id}/").status_code == 404


def test_the_orders_page_shows_its_progress(client: Client, kettle: Product) -> None:
    workflow_id = place_order(client).json()["workflow_id"]
    run_until_idle()

    page = client.get(f"/orders/{workflow_id}/").content.decode()

    assert f'data-workflow="{workflow_id}"' in page
    assert 'data-offset="3"' in page
    assert "Waiting for your payment" in page
    assert f'href="http://testserver/payments/{workflow_id}/"' in page
