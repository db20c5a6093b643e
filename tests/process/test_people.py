"""Forms and callbacks of workflows whose workers are killed."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client

import django_dbos as dbos
from django_dbos.models import Checkpoint, Inquiry, Message
from tests.process.asking import asks, calls_back
from tests.process.conftest import Worker
from tests.process.workflows import Gate
from tests.waiting import LIMIT, eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.process]
Start = Callable[..., Worker]
BASE = "https://shop.example"


@pytest.mark.rule(82)
def test_a_form_outlives_workers_that_are_killed(start_worker: Start, tmp_path: Path) -> None:
    """One dies while it reminds people, another one while it waits; the answer comes in between."""
    gate = Gate(tmp_path / "gate")
    first = start_worker()
    handle = asks.start(gate.path)
    eventually(lambda: gate.is_reached)
    first.send(signal.SIGKILL)
    first.wait()
    gate.open()
    second = start_worker()
    eventually(lambda: handle.get_status() == "WAITING")
    second.send(signal.SIGKILL)
    second.wait()

    (form,) = Inquiry.objects.pending()
    dbos.answer_form(form.pk, {"amount": "1", "note": "approved"})
    start_worker()

    assert handle.get_result(LIMIT) == "approved"
    assert Inquiry.objects.count() == Message.objects.count() == 1
    assert Checkpoint.objects.filter(step_name__startswith="dbos.remind").count() == 1


@pytest.mark.rule(82)
def test_a_callback_outlives_a_worker_that_is_killed(start_worker: Start) -> None:
    settings = {"DBOS_TEST_SETTINGS": json.dumps({"BASE_URL": BASE})}
    first = start_worker(**settings)
    handle = calls_back.start()
    path = handle.get_event("url", LIMIT).removeprefix(BASE)
    first.send(signal.SIGKILL)
    first.wait()

    for _ in range(2):
        assert Client().post(path, "1", content_type="application/json").status_code == 200
    start_worker(**settings)

    assert handle.get_result(LIMIT) == 1
    assert Inquiry.objects.count() == Message.objects.count() == 1
