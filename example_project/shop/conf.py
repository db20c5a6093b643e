"""The shop's settings and their defaults."""

from __future__ import annotations

from typing import Any

from django.conf import settings

DEFAULTS: dict[str, Any] = {
    # How long a call to somebody else's computer takes.
    "SHOP_STEP_SECONDS": 0.0,
    # How long a parcel is packed: `make demo` sets 3 s, in which a person can kill the worker.
    "SHOP_PACKING_SECONDS": 0.0,
    # What does that, for the order's page.
    "SHOP_KILL_COMMAND": "",
    # How long an order waits for its payment before the goods go back on the shelf.
    "SHOP_PAYMENT_SECONDS": 900.0,
    # How long a request waits for the workflow that it started to answer.
    "SHOP_ANSWER_SECONDS": 10.0,
    # The payment provider signs its webhooks with it. Without one all are refused, but for DEBUG.
    "SHOP_WEBHOOK_SECRET": "",
    "SHOP_IMPORT_MAX_BYTES": 2 * 1024 * 1024,
    "SHOP_IMPORT_BATCH_SIZE": 100,
}


def get(name: str) -> Any:
    """The setting, or its default."""
    return getattr(settings, name, DEFAULTS[name])
