"""Workflows as a shop has them, for the pictures: orders, an import, and what went wrong."""

from __future__ import annotations

import time
from typing import Any

import django_dbos as dbos


class CardDeclined(Exception):
    pass


@dbos.step(name="shopfront.steps.reserve_stock")
def reserve_stock(sku: str) -> dict[str, Any]:
    time.sleep(0.02)
    return {"sku": sku, "shelf": "B-12", "left": 41}


@dbos.step(name="shopfront.steps.charge_card", max_attempts=3, interval=0)
def charge_card(amount: str) -> dict[str, Any]:
    time.sleep(0.03)
    if amount == "0.00":
        raise CardDeclined("The bank has declined the card ending in 4242.")
    return {"receipt": "R-20261128-17", "amount": amount}


@dbos.step(name="shopfront.steps.print_label")
def print_label(parcel: int) -> str:
    time.sleep(0.01)
    return f"label-{parcel}.pdf"


@dbos.workflow(name="shopfront.workflows.ship_parcel")
def ship_parcel(number: int) -> str:
    dbos.sleep(0.01 * number)
    return print_label(number)


@dbos.workflow(name="shopfront.workflows.checkout")
def checkout(sku: str, amount: str = "64.50") -> dict[str, Any]:
    dbos.set_event("status", "received")
    reserve_stock(sku)
    dbos.write_stream("log", {"text": "Reserved for you", "worker": 4711})
    receipt = charge_card(amount)
    dbos.set_event("status", "paid")
    dbos.write_stream("log", {"text": "Payment received", "worker": 4711})
    for number in (1, 2):
        ship_parcel(number)
    dbos.write_stream("log", {"text": "On its way to you", "worker": 4711})
    approval = dbos.recv("approval", timeout=86_400)
    dbos.close_stream("log")
    return {"receipt": receipt["receipt"], "approved": approval}


@dbos.workflow(name="catalogue.workflows.import_products", queue_name="imports")
def import_products(file: str, rows: int = 3) -> int:
    for number in range(rows):
        print_label(number)
        dbos.set_event("progress", {"done": number + 1, "of": rows})
    return rows


@dbos.workflow(name="reports.workflows.nightly_report")
def nightly_report() -> None:
    dbos.sleep(3_600)


def fill() -> dict[str, str]:
    """Start and run them; return the ids of those that have pictures of their own."""
    from django_dbos.testing import run_until_idle

    checkout.using(workflow_id="order-2026-0041", attributes={"order": 41}).start("PAN-24")
    for number in range(3):
        checkout.using(user=7 + number).start("POT-18")
    waiting = checkout.using(
        workflow_id="order-2026-0042", user=7, attributes={"order": 42, "customer": "ada"}
    ).start("PAN-24")
    failed = checkout.using(workflow_id="order-2026-0043", user=8).start("PAN-24", "0.00")
    nightly_report.start()
    import_products.start("products.csv")
    run_until_idle(["default"])
    dbos.send("order-2026-0041", {"by": "grace", "ok": True}, "approval")
    dbos.send("order-2026-0042", "Please hurry", "comments")
    run_until_idle(["default"])
    import_products.using(run_after=3_600).start("later.csv")
    checkout.using(workflow_id="order-2026-0044", queue_name="priority").start("PAN-24")
    dbos.retrieve_workflow(import_products.start("gone.csv").workflow_id).cancel()
    return {
        "waiting": waiting.workflow_id,
        "failed": failed.workflow_id,
        "done": "order-2026-0041",
    }
