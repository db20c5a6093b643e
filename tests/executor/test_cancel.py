"""Cancellation: the steps that a cancelled run may still begin, here and in another process."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, transaction

import django_dbos as dbos
from django_dbos.core.records import run_key
from django_dbos.executor.dispatcher import Dispatcher
from django_dbos.executor.runs import Runs
from django_dbos.models import Checkpoint, Workflow
from django_dbos.operations import runner
from django_dbos.store.sqlite.socket_notifier import SocketNotifier
from tests.capabilities import polls
from tests.executors import Start, cancel_silently
from tests.waiting import LIMIT, eventually

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.rule(32),
]

began: list[str] = []
reached, go, left = threading.Event(), threading.Event(), threading.Event()


@pytest.fixture(autouse=True)
def _closed_gates() -> Iterator[None]:
    began.clear()
    for gate in (reached, go, left):
        gate.clear()
    yield
    go.set()


@dbos.step
def effect() -> None:
    began.append("effect")


@dbos.step(confirm=True)
def confirmed() -> None:
    began.append("confirmed")


@dbos.step(confirm=True)
async def aconfirmed() -> None:
    began.append("confirmed")


@dbos.step(atomic=True, confirm=True)
def atomic_and_confirmed() -> None:
    began.append("confirmed")


STEPS = {"confirmed": confirmed, "atomic": atomic_and_confirmed, "effect": effect}


@dbos.workflow
def passes_gate(step: str = "effect") -> None:
    reached.set()
    try:
        go.wait(LIMIT)
        STEPS[step]()
    finally:
        left.set()


@dbos.workflow
async def apasses_gate(step: str = "effect") -> None:
    reached.set()
    try:
        while not go.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        if step == "confirmed":
            await aconfirmed()
        await STEPS[step].acall()
    finally:
        left.set()


@dbos.workflow
def cancels_at_gate(workflow_id: str) -> None:
    reached.set()
    go.wait(LIMIT)
    dbos.WorkflowHandle(workflow_id).cancel()


def by_handle(handle: Any) -> None:
    assert handle.cancel()


def by_twin(handle: Any) -> None:
    assert async_to_sync(handle.acancel)()


def by_queryset(handle: Any) -> None:
    Workflow.objects.filter(workflow_id=handle.workflow_id).cancel()


def by_transaction(handle: Any) -> None:
    with transaction.atomic():
        assert handle.cancel()


@pytest.mark.parametrize("workflow", [passes_gate, apasses_gate])
@pytest.mark.parametrize("cancel", [by_handle, by_twin, by_queryset, by_transaction])
def test_once_cancel_has_returned_no_step_begins(
    workflow: Any, cancel: Any, start_executor: Start
) -> None:
    start_executor()
    handle = workflow.start()
    assert reached.wait(LIMIT)

    cancel(handle)
    go.set()

    assert left.wait(LIMIT)
    assert began == []
    with pytest.raises(dbos.WorkflowCancelled):
        handle.get_result(timeout=LIMIT)


def test_a_cancelled_workflow_cancels_no_other(start_executor: Start) -> None:
    """A call that reads or changes other workflows is recorded after its effect."""
    start_executor()
    other = dbos.WorkflowHandle(passes_gate.using(run_after=1_000).start().workflow_id)
    handle = cancels_at_gate.start(other.workflow_id)
    assert reached.wait(LIMIT)

    handle.cancel()
    go.set()

    with pytest.raises(dbos.WorkflowCancelled):
        handle.get_result(timeout=LIMIT)
    eventually(lambda: not Workflow.objects.filter(status="PENDING").exists())
    assert other.get_status() == "DELAYED"


@pytest.mark.rule(51)
def test_a_workflow_cancelled_between_claim_and_run_begins_no_step(
    start_executor: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Runs.begin

    def cancel_first(runs: Runs, run: Any, since: float) -> None:
        assert dbos.WorkflowHandle(run.workflow_id).cancel()
        begin(runs, run, since)

    monkeypatch.setattr(Runs, "begin", cancel_first)
    start_executor()
    go.set()

    passes_gate.start()

    assert left.wait(LIMIT)
    assert began == []


def cancel_elsewhere(handle: Any) -> None:
    """Cancel as another process does, which notifies afterwards."""
    cancel_silently()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            keys = json.dumps([run_key(handle.workflow_id)])
            cursor.execute("SELECT pg_notify('dbos_changed', %s)", [keys])


@pytest.mark.parametrize("workflow", [passes_gate, apasses_gate])
def test_a_cancel_by_another_process_is_received(workflow: Any, start_executor: Start) -> None:
    executor = start_executor()
    handle = workflow.start()
    assert reached.wait(LIMIT)
    run = executor.runs[handle.workflow_id]
    eventually(lambda: executor.store.wakeups.is_listening)

    cancel_elsewhere(handle)
    eventually(lambda: run.interruption is not None)
    go.set()

    assert left.wait(LIMIT)
    assert began == []


@polls
@pytest.mark.parametrize("message", [None, b"[", b"{}", b"7", b'["event:w:k", "run:w"]', b"\xff"])
def test_a_datagram_names_the_cancelled_workflow(
    message: bytes | None, start_executor: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other runs aren't put in doubt, as the file changes constantly."""
    monkeypatch.setattr(Dispatcher, "audit_soon", lambda dispatcher: None)
    executor = start_executor()
    handle = passes_gate.start()
    assert reached.wait(LIMIT)
    run = executor.runs[handle.workflow_id]
    eventually(lambda: executor.store.wakeups.is_listening)
    elsewhere = SocketNotifier(lambda: str(connection.settings_dict["NAME"]))

    if message is not None:
        elsewhere.send([message])
        go.set()
        assert handle.get_result(timeout=LIMIT) is None
        assert run.last_doubt is None
    else:
        cancel_silently()
        elsewhere.send([json.dumps([run_key(handle.workflow_id)]).encode()])
        eventually(lambda: run.last_doubt is not None)
        go.set()
        assert left.wait(LIMIT)
        assert began == []


@pytest.mark.rule(14)
@pytest.mark.rule(51)
def test_a_false_notification_stops_no_run(start_executor: Start) -> None:
    """Any client of the database can send a notification."""
    executor = start_executor()
    handle = passes_gate.start()
    assert reached.wait(LIMIT)

    for _ in range(3):
        executor.store.wakeups.notify([run_key(handle.workflow_id)])
    go.set()

    assert handle.get_result(timeout=LIMIT) is None
    assert began == ["effect"]
    assert Workflow.objects.get().claim_number == 2


def test_without_notifications_a_heartbeat_finds_cancelled_workflows(
    start_executor: Start, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DBOS = {**settings.DBOS, "LISTEN": False, "HEARTBEAT_INTERVAL": 0.05}
    executor = start_executor()
    monkeypatch.setattr(type(executor.store.wakeups), "is_listening", False)
    handle = passes_gate.start()
    assert reached.wait(LIMIT)
    run = executor.runs[handle.workflow_id]

    cancel_silently()
    doubt = run.last_doubt
    eventually(lambda: run.last_doubt is not doubt)
    go.set()

    assert left.wait(LIMIT)
    assert began == []


@pytest.mark.parametrize(
    ("workflow", "step", "expected"),
    [
        (passes_gate, "confirmed", []),
        (passes_gate, "atomic", []),
        (apasses_gate, "confirmed", []),
        (apasses_gate, "atomic", []),
        (passes_gate, "effect", ["effect"]),
    ],
)
def test_a_confirming_step_checks_its_claim_before_it_begins(
    workflow: Any, step: str, expected: list[str], settings: Any
) -> None:
    """Inline, where notifications of other processes don't arrive."""
    workflow_id = f"inline-{step}"

    def cancel() -> None:
        assert reached.wait(LIMIT)
        cancel_silently()
        connection.close()
        go.set()

    other = threading.Thread(target=cancel)
    other.start()
    call = workflow.using(workflow_id=workflow_id)
    with pytest.raises(dbos.WorkflowCancelled):
        async_to_sync(call.acall)(step)
    other.join()

    assert began == expected


def test_a_confirming_step_does_not_begin_past_the_deadline() -> None:
    @dbos.workflow
    def late() -> None:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE dbos_workflow SET deadline_at = created_at")
        confirmed()

    with pytest.raises(dbos.WorkflowCancelled):
        late()

    assert began == []


def test_a_confirming_step_outside_a_workflow_is_a_plain_call() -> None:
    confirmed()

    assert began == ["confirmed"]


def test_an_inline_run_is_notified_of_a_cancel_in_its_process() -> None:
    def cancel() -> None:
        assert reached.wait(LIMIT)
        assert dbos.WorkflowHandle("inline").cancel()
        connection.close()
        go.set()

    other = threading.Thread(target=cancel)
    other.start()
    with pytest.raises(dbos.WorkflowCancelled):
        passes_gate.using(workflow_id="inline")()
    other.join()

    assert began == []


runs: list[int] = []


@dbos.workflow
def first_run_is_slow() -> str:
    runs.append(len(runs))
    is_first = len(runs) == 1
    if is_first:
        reached.set()
        go.wait(LIMIT)
    try:
        effect()
    finally:
        if is_first:
            left.set()
    return "done"


def test_the_old_run_of_a_workflow_resumed_at_once_begins_nothing(start_executor: Start) -> None:
    """The old run is in doubt before cancel() returns, so before anybody can resume, claim, and
    record the step. What it begins afterwards, it asks for first. A step that it had begun before
    is one in progress, as it may be at every cancel."""
    runs.clear()
    start_executor()
    handle = first_run_is_slow.start()
    assert reached.wait(LIMIT)

    assert handle.cancel()
    assert handle.resume()
    assert handle.get_result(timeout=LIMIT) == "done"
    assert began == ["effect"]
    go.set()

    assert left.wait(LIMIT)
    assert began == ["effect"]
    assert Checkpoint.objects.count() == 1


def test_a_cancelled_result_comes_after_the_async_function_has_left(
    start_executor: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LAST_WORDS", 60.0)
    start_executor()
    handle = apasses_gate.start()
    assert reached.wait(LIMIT)

    handle.cancel()
    with pytest.raises(dbos.WorkflowCancelled):
        handle.get_result(timeout=LIMIT)

    assert left.is_set()
