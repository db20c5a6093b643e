"""The shop's settings and their defaults."""

from __future__ import annotations

from typing import Any

from django.conf import settings

DEFAULTS: dict[str, Any] = {
    # Seconds of a call to another company's server.
    "SHOP_STEP_SECONDS": 0.0,
    # Seconds of packing a parcel: `make demo` sets 3, in which a person can kill the worker.
    "SHOP_PACKING_SECONDS": 0.0,
    # The command that kills the worker, for the order's page.
    "SHOP_KILL_COMMAND": "",
    # Seconds that an order waits for its payment before the goods go back on the shelf.
    "SHOP_PAYMENT_SECONDS": 900.0,
    # Seconds that a request waits for the first answer of the workflow that it started.
    "SHOP_ANSWER_SECONDS": 10.0,
    # The key of the webhooks' signatures. Without one, webhooks are refused unless DEBUG is on.
    "SHOP_WEBHOOK_SECRET": "",
    "SHOP_IMPORT_MAX_BYTES": 2 * 1024 * 1024,
    "SHOP_IMPORT_BATCH_SIZE": 100,
}


def get(name: str) -> Any:
    """Return a setting, or its default."""
    return getattr(settings, name, DEFAULTS[name])
