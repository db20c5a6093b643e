"""The shop's durable workflows: kill the worker anywhere in here, and another one continues.

Each step returns the process id of the worker that did it, so that the pages can show
how an order moves from one worker to the next.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import Any

from django.db.models import Count, Sum

import django_dbos as dbos
from example_project.shop import conf
from example_project.shop.forms import RefundForm
from example_project.shop.models import ImportBatch, Order, Product

Result = dict[str, Any]
APPROVES_REFUNDS = "shop.change_order"


@dbos.workflow
def checkout(sku: str, quantity: int, payment_page: str) -> Result:
    """Sell `quantity` of a product: reserve it, wait for the payment, deliver or give it back."""
    order_id = current_id()
    dbos.set_event("status", "received")
    report("received", f"Order received: {quantity} of {sku}")

    reservation = reserve_stock(order_id, sku, quantity)
    if reservation is None:
        return turn_away(sku, quantity)
    report("reserved", "Reserved for you", reservation["worker"])

    payment = create_payment(order_id, reservation["total"], payment_page)
    dbos.set_event("payment_url", payment["url"])
    dbos.set_event("status", "awaiting_payment")
    report("awaiting_payment", "Waiting for your payment", payment["worker"], url=payment["url"])

    answer = dbos.recv("payment", timeout=conf.get("SHOP_PAYMENT_SECONDS"), default=None)
    if answer is None:
        return cancel(order_id, "not paid in time")
    if answer["status"] != "paid":
        return cancel(order_id, "payment failed")
    return deliver(order_id, sku, quantity, reservation["total"])


def turn_away(sku: str, quantity: int) -> Result:
    dbos.set_event("status", "out_of_stock")
    # The view waits for this event: None means that there is nothing to pay.
    dbos.set_event("payment_url", None)
    report("out_of_stock", f"There aren't {quantity} of {sku} left")
    return {"status": "out_of_stock", "sku": sku, "quantity": quantity}


def cancel(order_id: str, reason: str) -> Result:
    done = cancel_order(order_id)
    dbos.set_event("status", "cancelled")
    report("cancelled", f"Cancelled ({reason}); the goods are back on the shelf", done["worker"])
    return {"status": "cancelled", "reason": reason}


def deliver(order_id: str, sku: str, quantity: int, total: str) -> Result:
    dbos.set_event("status", "paid")
    report("paid", "Payment received")
    report("packing", "Packing your parcel …")
    report("packed", "Parcel packed", pack(order_id)["worker"])
    label = book_courier(order_id)
    report("booked", f"Courier booked, parcel {label['parcel']}", label["worker"])
    done = fulfil(order_id)
    dbos.set_event("status", "fulfilled")
    report("fulfilled", "On its way to you", done["worker"])
    return {
        "status": "fulfilled",
        "sku": sku,
        "quantity": quantity,
        "total": total,
        "parcel": label["parcel"],
    }


@dbos.step(atomic=True)
def reserve_stock(order_id: str, sku: str, quantity: int) -> Result | None:
    """Take the goods off the shelf and write the order, or do neither."""
    if not Product.objects.take(sku, quantity):
        return None
    total = Product.objects.get(sku=sku).price * quantity
    Order.objects.create(workflow_id=order_id, sku=sku, quantity=quantity, total=total)
    return {"total": str(total), "worker": os.getpid()}


@dbos.step
def create_payment(order_id: str, total: str, payment_page: str) -> Result:
    """Create a page of the payment provider; here, the shop imitates one."""
    take_a_while()
    return {"url": payment_page, "worker": os.getpid()}


@dbos.step
def pack(order_id: str) -> Result:
    """Pack the parcel; a worker killed meanwhile has recorded nothing of this step."""
    time.sleep(conf.get("SHOP_PACKING_SECONDS"))
    return {"worker": os.getpid()}


@dbos.step
def book_courier(order_id: str) -> Result:
    take_a_while()
    return {"parcel": f"P-{order_id[:8].upper()}", "worker": os.getpid()}


@dbos.step(atomic=True)
def fulfil(order_id: str) -> Result:
    Order.objects.filter(workflow_id=order_id).update(status=Order.Status.FULFILLED)
    return {"worker": os.getpid()}


@dbos.step(atomic=True)
def cancel_order(order_id: str) -> Result:
    """Put the goods back and mark the order as cancelled, or do neither."""
    order = Order.objects.get(workflow_id=order_id)
    Product.objects.give_back(order.sku, order.quantity)
    Order.objects.filter(pk=order.pk).update(status=Order.Status.CANCELLED)
    return {"worker": os.getpid()}


@dbos.workflow
def refund(order_id: str, reason: str) -> Result:
    """Give money back once somebody of the staff has approved it, in the admin or on a page."""
    order = look_up(order_id)
    answer = dbos.wait_for_form(
        RefundForm,
        title=f"Refund {order['quantity']} of {order['sku']}?",
        description=reason,
        initial={"amount": order["total"]},
        permission=APPROVES_REFUNDS,
        timeout=timedelta(days=7),
        default=None,
    )
    if answer is None:
        return {"status": "nobody answered"}
    if not answer.data["approved"]:
        return {"status": "refused", "by": answer.user_id, "reason": answer.data["reason"]}
    amount = str(answer.data["amount"])
    paid_back = pay_back(order_id, amount)
    return {"status": "refunded", "by": answer.user_id, "amount": amount, **paid_back}


@dbos.step
def look_up(order_id: str) -> Result:
    order = Order.objects.get(workflow_id=order_id)
    return {"sku": order.sku, "quantity": order.quantity, "total": str(order.total)}


@dbos.step
def pay_back(order_id: str, amount: str) -> Result:
    """Ask the payment provider to give the money back."""
    take_a_while()
    return {"worker": os.getpid()}


@dbos.workflow
def report_sales() -> Result:
    """Sum up the sales; the settings have its schedule. The admin can pause and trigger it."""
    workflow = dbos.current_workflow()
    assert workflow is not None
    dbos.set_event("instant", str(workflow.scheduled_at))
    return sum_up()


@dbos.step
def sum_up() -> Result:
    sold = Order.objects.filter(status=Order.Status.FULFILLED)
    found = sold.aggregate(orders=Count("pk"), total=Sum("total"))
    return {"orders": found["orders"], "total": str(found["total"] or 0), "worker": os.getpid()}


@dbos.workflow(queue_name="imports")
def import_products(import_id: str, batch_count: int, row_count: int) -> Result:
    """Import a file of products, batch by batch; each batch is imported exactly once."""
    dbos.set_event("status", "importing")
    created = updated = done = 0
    for number in range(batch_count):
        fetch_pictures(import_id, number)
        batch = import_batch(import_id, number)
        created += batch["created"]
        updated += batch["updated"]
        done += batch["created"] + batch["updated"]
        text = f"{done:,} of {row_count:,} products · worker {batch['worker']}"
        dbos.write_stream("progress", {"done": done, "total": row_count, "text": text})
    dbos.set_event("status", "imported")
    return {"created": created, "updated": updated}


@dbos.step
def fetch_pictures(import_id: str, number: int) -> None:
    """Wait for the slow part of an import, outside of any transaction."""
    take_a_while(0.5)


@dbos.step(atomic=True)
def import_batch(import_id: str, number: int) -> Result:
    """Write the products of one batch and drop the batch, or do neither."""
    batch = ImportBatch.objects.get(of_import=import_id, number=number)
    products = [
        Product(sku=sku, name=name, price=price, stock=stock)
        for sku, name, price, stock in batch.rows
    ]
    known = Product.objects.filter(sku__in=[product.sku for product in products]).count()
    Product.objects.bulk_create(
        products,
        update_conflicts=True,
        unique_fields=["sku"],
        update_fields=["name", "price", "stock"],
    )
    batch.delete()
    return {"created": len(products) - known, "updated": known, "worker": os.getpid()}


def report(stage: str, text: str, worker: int | None = None, **extra: str) -> None:
    dbos.write_stream("progress", {"stage": stage, "text": text, "worker": worker, **extra})


def current_id() -> str:
    workflow = dbos.current_workflow()
    assert workflow is not None
    return workflow.workflow_id


def take_a_while(share: float = 1.0) -> None:
    """Imitate a call to another company's server."""
    time.sleep(conf.get("SHOP_STEP_SECONDS") * share)
