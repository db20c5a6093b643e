"""The code of the workflow that the deploys replace: its versions, sync and async."""

from __future__ import annotations

import django_dbos as dbos


@dbos.step
def pack(order: str) -> str:
    return f"{order} packed"


@dbos.step
def weigh(order: str) -> str:
    return f"{order} weighed"


def one(order: str) -> str:
    """Wait between two steps, as the first version did."""
    pack(order)
    dbos.recv("paid", timeout=None)
    return f"{pack(order)} by one"


def two(order: str) -> str:
    """Begin with another step."""
    weigh(order)
    dbos.recv("paid", timeout=None)
    return f"{weigh(order)} by two"


async def aone(order: str) -> str:
    await pack.acall(order)
    await dbos.arecv("paid", timeout=None)
    return f"{await pack.acall(order)} by one"


async def atwo(order: str) -> str:
    await weigh.acall(order)
    await dbos.arecv("paid", timeout=None)
    return f"{await weigh.acall(order)} by two"


def three(order: str, gift: bool = False) -> str:
    return f"{order} by three"
