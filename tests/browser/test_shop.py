"""The shop as a customer watches it, while workers and servers are killed."""

from __future__ import annotations

import signal
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

import django_dbos as dbos
from django_dbos.models import Workflow
from example_project.shop.models import Product
from tests.admin.conftest import page_of
from tests.browser.chromium import Chromium
from tests.browser.servers import Server
from tests.process.conftest import Worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.process]

STAGES = [
    "received",
    "reserved",
    "awaiting_payment",
    "paid",
    "packing",
    "packed",
    "booked",
    "fulfilled",
]
SHOWN = "[...document.querySelectorAll('.timeline > li')].map(item => item.dataset.stage)"
WORKERS = "[...document.querySelectorAll('.timeline small span')].map(place => place.textContent)"


@pytest.fixture
def kettle(transactional_db: None) -> Product:
    return Product.objects.create(sku="KETTLE", name="Kettle", price=Decimal("49.00"), stock=10)


def order(browser: Chromium, server: Server) -> str:
    """Order a kettle; return the order's id."""
    browser.go(server.url)
    browser.click(".buy button")
    assert "Your order" in browser.text
    return Workflow.objects.get().workflow_id


def test_an_order_is_watched_through_kills(
    browser: Chromium, server: Server, kettle: Product, start_worker: Callable[..., Worker]
) -> None:
    first = start_worker()
    workflow_id = order(browser, server)
    browser.wait(lambda: browser.run(SHOWN) == STAGES[:3])
    browser.wait_for_text("awaiting payment")

    first.send(signal.SIGKILL)
    server.kill()
    browser.wait_for_text("Reconnecting")
    dbos.send(workflow_id, {"status": "paid"}, topic="payment")
    second = start_worker()
    server.start()

    browser.wait(lambda: browser.run(SHOWN) == STAGES)
    browser.wait_for_text("fulfilled")
    workers = browser.run(WORKERS)
    assert workers[:2] == [str(first.pid)] * 2
    assert set(workers[2:]) == {str(second.pid)}
    browser.wait(lambda: "Reconnecting" not in browser.text)


TAIL = (
    "[...document.querySelectorAll('#streams li pre')].map(entry => JSON.parse(entry.textContent))"
)


def test_an_operator_watches_an_order_through_kills(
    viewer: Chromium, server: Server, kettle: Product, start_worker: Callable[..., Worker]
) -> None:
    first = start_worker()
    workflow_id = order(viewer, server)
    dbos.get_event(workflow_id, "payment_url")
    viewer.go(server.url + page_of(workflow_id))
    viewer.run("window.isTheSamePage = true")
    viewer.wait_for_text("Waiting for a message on topic 'payment'")

    first.send(signal.SIGKILL)
    server.kill()
    viewer.wait(lambda: viewer.run("document.querySelector('[data-dbos-state=lost]') !== null"))
    dbos.send(workflow_id, {"status": "paid"}, topic="payment")
    start_worker()
    server.start()

    viewer.wait(
        lambda: "succeeded" in str(viewer.run("document.querySelector('#badge').innerText"))
    )
    viewer.wait(lambda: [entry["stage"] for entry in viewer.run(TAIL)] == STAGES)
    assert viewer.run("window.isTheSamePage")


def test_the_page_of_a_worker_without_scripts(
    browser: Chromium, server: Server, kettle: Product, start_worker: Callable[..., Worker]
) -> None:
    start_worker()
    workflow_id = order(browser, server)
    browser.wait(lambda: browser.run(SHOWN) == STAGES[:3])
    browser.set_scripts(are_run=False)

    browser.go(f"{server.url}/orders/{workflow_id}/")

    assert "Waiting for your payment" in browser.text
    assert "awaiting payment" in browser.text


def test_an_import_shows_its_progress(
    browser: Chromium,
    server: Server,
    start_worker: Callable[..., Worker],
    client: Any,
) -> None:
    rows = "\n".join(f"SKU-{number},Name,1,1" for number in range(500))
    started = client.post(
        "/imports/", f"sku,name,price,stock\n{rows}\n", content_type="text/csv"
    ).json()
    browser.go(f"{server.url}/imports/{started['workflow_id']}/")
    start_worker()

    browser.wait_for_text("500 of 500 products")
    browser.wait_for_text("100\N{NO-BREAK SPACE}%")
    browser.wait_for_text("500 new, 0 updated.")
    assert browser.complaints() == []


@pytest.fixture(autouse=True)
def _shop(settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.browser.site"
