"""Ids of orders: random to everybody else, the same again for a customer's own key."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from django.utils.crypto import get_random_string, salted_hmac

if TYPE_CHECKING:
    from django.http import HttpRequest


def order_id(request: HttpRequest, idempotency_key: str) -> str:
    """Return the id of this customer's order for a key; a new id without a key.

    Nobody who lacks the server's secret and the customer's session can work it out, so
    guessing keys leads to nobody else's order.
    """
    if not idempotency_key:
        return str(uuid.uuid4())
    meaning = f"{customer(request)}:{idempotency_key}"
    digest = salted_hmac("shop.orders", meaning, algorithm="sha256").digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


def customer(request: HttpRequest) -> str:
    """Return a random name for the session's customer, which outlives their login."""
    if "customer" not in request.session:
        request.session["customer"] = get_random_string(32)
    return str(request.session["customer"])
