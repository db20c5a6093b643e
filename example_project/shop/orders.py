"""Ids of orders: random to everybody else, the same again for a customer's own key."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from django.utils.crypto import get_random_string, salted_hmac

if TYPE_CHECKING:
    from django.http import HttpRequest


def order_id(request: HttpRequest, idempotency_key: str) -> str:
    """The id of the order that this customer means by the key; a fresh one without a key.

    Nobody who lacks the server's secret and the customer's session can work it out, so
    guessing keys leads to nobody else's order.
    """
    if not idempotency_key:
        return str(uuid.uuid4())
    meaning = f"{customer(request)}:{idempotency_key}"
    digest = salted_hmac("shop.orders", meaning, algorithm="sha256").digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


def customer(request: HttpRequest) -> str:
    """A random name for this session's customer, which stays the same when they log in."""
    if "customer" not in request.session:
        request.session["customer"] = get_random_string(32)
    return str(request.session["customer"])
