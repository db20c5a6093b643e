"""A workflow of which worker processes have different versions, as DBOS_TEST_DEPLOYED says."""

from __future__ import annotations

import os

import django_dbos as dbos
from tests.process.workflows import pass_through

NAME = "tests.ship"


@dbos.step
def pack(number: int) -> str:
    return f"{number} packed"


@dbos.step
def weigh(number: int) -> str:
    return f"{number} weighed"


def ship_1(number: int, gate: str) -> str:
    pack(number)
    pass_through(gate)
    return f"{pack(number)} by one"


def ship_2(number: int, gate: str) -> str:
    weigh(number)
    weigh(number)
    pass_through(gate)
    return f"{weigh(number)} by two"


deployed = os.environ.get("DBOS_TEST_DEPLOYED", "2, and 1")
if deployed == "1":
    ship = dbos.workflow(name=NAME, version="1")(ship_1)
else:
    ship = dbos.workflow(name=NAME, version="2")(ship_2)
    if deployed == "2, and 1":
        older = ship.version("1")(ship_1)
