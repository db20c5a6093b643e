"""The shop's settings and their defaults."""

from __future__ import annotations

from typing import Any

from django.conf import settings

DEFAULTS: dict[str, Any] = {
    # How long a slow step takes: long enough to kill a worker in the middle of an order.
    "SHOP_STEP_SECONDS": 0.0,
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
