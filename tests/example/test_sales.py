"""The schedule that the example's settings declare."""

from __future__ import annotations

from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import django_dbos as dbos
from django_dbos.executor import Executor
from example_project.shop.models import Order
from tests.waiting import LIMIT


@pytest.mark.django_db(transaction=True)
def test_the_schedule_sums_up_the_sales(
    settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DEMO_DIR", str(tmp_path))
    example = import_module("example_project.config.settings")
    settings.DBOS = {**settings.DBOS, "SCHEDULES": example.DBOS["SCHEDULES"]}
    Order.objects.create(workflow_id="o", sku="KETTLE-1", quantity=1, total=5, status="fulfilled")

    with Executor(concurrency=1):
        handle = dbos.schedules.trigger("sales")
        result = handle.get_result(timeout=LIMIT)

    assert (result["orders"], Decimal(result["total"])) == (1, Decimal(5))
    assert handle.get_event("instant") != "None"
    assert dbos.schedules.get("sales").description == "every 5 minutes"
