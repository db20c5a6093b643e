"""The durability problems that the system checks of all databases report."""

from __future__ import annotations

from django.core import checks
from django.core.checks import CheckMessage


def not_durable(where: str, hint: str) -> CheckMessage:
    """Return the warning that a database may lose transactions which it has committed."""
    return checks.Warning(
        f"{where} may lose its last transactions in a power failure: a recorded step would then "
        "run again.",
        hint=hint,
        obj=where,
        id="django_dbos.W005",
    )
