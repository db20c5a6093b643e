"""Why an enqueued workflow isn't running: the rule, and what `describe()` says."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models import QuerySet
from django.utils import timezone

import django_dbos as dbos
from django_dbos import queues
from django_dbos.core.queue_reasons import MOST_AHEAD, Holdup, behind, of_busy_workers, reasons
from django_dbos.models import QueueStart, Workflow
from django_dbos.store import get_store
from django_dbos.testing import run_until_idle
from tests.store.conftest import register
from tests.waiting import eventually

NOON = datetime(2026, 11, 28, 12)


@dbos.workflow
def noop() -> None: ...


@dbos.workflow
def waits() -> None:
    dbos.recv("go", timeout=None)


def said(are_workers_full: bool = False, **facts: Any) -> list[str]:
    holdup = Holdup(
        **{
            "workflow_id": "w",
            "queue_name": "mail",
            "partition_key": "",
            "holds_place": False,
            "lingers_on": None,
            "has_started": False,
            **facts,
        }
    )
    found = reasons(holdup, lambda value: f"{value:%H:%M}", are_workers_full=are_workers_full)
    return [str(reason) for reason in [*found, behind(holdup)] if reason is not None]


@pytest.mark.parametrize(
    ("facts", "sentences"),
    [
        ({}, []),
        ({"concurrency": 10, "places": 9}, []),
        ({"concurrency": 10, "places": 10}, ["Queue 'mail' is at 10 of 10."]),
        ({"concurrency": 8, "places": 10}, ["Queue 'mail' is at 10 of 8."]),
        ({"concurrency": 1, "places": 1, "holds_place": True}, []),
        (
            {"partition_concurrency": 1, "partition_places": 1, "partition_key": "c-7"},
            ["Key 'c-7' of queue 'mail' is at 1 of 1."],
        ),
        (
            {"concurrency": 1, "places": 1, "parent_key": ""},
            ["Queue 'mail' is at 1 of 1.", "Its parent holds one of these places."],
        ),
        ({"concurrency": 2, "places": 1, "parent_key": ""}, []),
        (
            {
                "partition_concurrency": 1,
                "partition_places": 1,
                "partition_key": "c-7",
                "parent_key": "c-7",
            },
            ["Key 'c-7' of queue 'mail' is at 1 of 1.", "Its parent holds one of these places."],
        ),
        (
            {
                "partition_concurrency": 1,
                "partition_places": 1,
                "partition_key": "c-7",
                "parent_key": "c-8",
            },
            ["Key 'c-7' of queue 'mail' is at 1 of 1."],
        ),
        ({"paused_at": NOON}, ["Queue 'mail' is paused since 12:00."]),
        (
            {"paused_at": NOON, "paused_by": "ada", "holds_place": True},
            ["Queue 'mail' is paused since 12:00 by ada."],
        ),
        ({"next_start": 11.2}, ["Rate limit: next start in 12 s."]),
        ({"next_start": 0.0}, ["Rate limit: next start in 1 s."]),
        ({"next_start": 11.2, "has_started": True}, []),
        ({"partition_next_start": 3}, ["Rate limit of its key: next start in 3 s."]),
        (
            {"lingers_on": "executor-1"},
            ["Its step still runs on executor-1; it goes on once that has ended."],
        ),
        (
            {"worker_concurrency": 5, "are_workers_full": True},
            ["Each worker of queue 'mail' is at its limit of 5."],
        ),
        ({"ahead": 41}, ["Behind 41 of its queue."]),
        ({"ahead": 41, "partition_key": "c-7"}, ["Behind 41 of its key."]),
        (
            {"ahead": 41, "concurrency": 1, "places": 1},
            ["Queue 'mail' is at 1 of 1.", "Behind 41 of its queue."],
        ),
        (
            {"ahead": MOST_AHEAD + 1, "partition_key": "c-7"},
            ["Behind more than 1000 of its key."],
        ),
    ],
)
def test_each_reason_has_its_sentence(facts: dict[str, Any], sentences: list[str]) -> None:
    assert said(**facts) == sentences


def change(workflow_id: str, **columns: Any) -> None:
    QuerySet(Workflow).filter(workflow_id=workflow_id).update(**columns)


def why(workflow_id: str) -> str | None:
    return dbos.retrieve_workflow(workflow_id).describe().why_not_running


@dbos.workflow(queue_name="ledger")
def waits_for_a_child() -> None:
    noop.using(queue_name="ledger").start().get_result()


@pytest.mark.django_db
def test_a_child_tells_that_its_parent_holds_the_place() -> None:
    queues.set("ledger", concurrency=1, hold_while_waiting=True)
    handle = waits_for_a_child.start()
    run_until_idle()
    register(get_store())

    text = why(f"{handle.workflow_id}-1")

    assert text == "Queue 'ledger' is at 1 of 1. Its parent holds one of these places."


@pytest.mark.django_db
def test_describe_tells_why_a_workflow_is_not_running() -> None:
    for number in range(4):
        noop.using(queue_name="mail", workflow_id=f"w{number}").start()
    noop.using(queue_name="mail", workflow_id="urgent", priority=5).start()
    assert why("w3") == "No live worker serves queue 'mail'; run dbos_worker."
    executor_id = register(get_store())
    assert why("w3") is None
    change("w0", status="PENDING", executor_id=executor_id)
    assert why("w3") == "The only slot of its worker is taken."

    queues.set("mail", concurrency=1)
    change("w0", status="PENDING", place=1, executor_id=executor_id)
    assert why("w0") is None
    assert why("w3") == "Queue 'mail' is at 1 of 1. Behind 3 of its queue."
    assert why("urgent") == "Queue 'mail' is at 1 of 1."

    queues.set("mail", concurrency=None, worker_concurrency=1)
    assert why("urgent") == "Each worker of queue 'mail' is at its limit of 1."
    register(get_store())
    assert why("urgent") is None

    queues.pause("mail", by="ada")
    text = why("urgent") or ""
    assert text.startswith("Queue 'mail' is paused since 20")
    assert text.endswith(" by ada.")


@pytest.mark.django_db
def test_a_workflow_that_others_come_before_says_so_while_a_place_is_free() -> None:
    executor_id = register(get_store())
    queues.set("mail", concurrency=2)
    for number in range(4):
        noop.using(queue_name="mail", workflow_id=f"w{number}").start()
    assert why("w0") is None
    assert why("w3") == "Behind 3 of its queue."

    change("w0", status="PENDING", place=1, executor_id=executor_id)

    assert why("w3") == "The only slot of its worker is taken. Behind 2 of its queue."


@pytest.mark.django_db
def test_workflows_of_other_keys_are_not_ahead() -> None:
    register(get_store())
    queues.set("mail", partition_concurrency=1)
    for number, key in enumerate(["a", "b", "a", "a"]):
        noop.using(queue_name="mail", workflow_id=f"w{number}").start()
        change(f"w{number}", partition_key=key)
    change("w0", status="PENDING", place=1)

    assert why("w1") is None
    assert why("w3") == "Key 'a' of queue 'mail' is at 1 of 1. Behind 1 of its key."
    assert dbos.retrieve_workflow("w3").describe().partition_key == "a"


@pytest.mark.django_db
def test_the_rates_of_a_queue_and_of_a_key_tell_when_the_next_start_may_be() -> None:
    register(get_store())
    queues.set("mail", rate_limit="2/m", partition_rate_limit="1/h")
    for number, key in enumerate(["", "a", "b"]):
        noop.using(queue_name="mail", workflow_id=f"w{number}").start()
        change(f"w{number}", partition_key=key)
    assert [why(f"w{number}") for number in range(3)] == [None, None, None]

    starts("mail", "", [2, 30, 70])
    starts("mail", "a", [600, 5000])

    limited = "Rate limit: next start in 31 s."
    assert near(why("w0"), limited)
    assert near(why("w1"), f"{limited} Rate limit of its key: next start in 3001 s.")
    assert near(why("w2"), limited)
    # What was resumed starts anew; what goes on comes before zero.
    change("w0", started_at=timezone.now())
    assert near(why("w0"), limited)
    change("w0", queue_sequence=-1)
    assert why("w0") is None


def starts(name: str, key: str, ages: list[int]) -> None:
    """Log starts of these ages, in seconds."""
    for age in ages:
        row = QueueStart(
            queue_name=name,
            partition_key=key,
            last_at=timezone.now() - timedelta(seconds=age),
            count=1,
        )
        QuerySet(QueueStart).bulk_create([row])


def near(found: str | None, expected: str) -> bool:
    """Compare two texts, whose numbers of seconds may be smaller on a busy machine."""

    def without(text: str) -> str:
        return re.sub(r"in \d+ s", "in … s", text)

    def seconds(text: str) -> list[int]:
        return [int(number) for number in re.findall(r"in (\d+) s", text)]

    pairs = zip(seconds(found or ""), seconds(expected), strict=True)
    return without(found or "") == without(expected) and all(0 < a <= b for a, b in pairs)


@pytest.mark.django_db
def test_a_resumed_workflow_waits_for_its_own_step() -> None:
    executor_id = register(get_store())
    queues.set("mail", concurrency=1)
    noop.using(queue_name="mail", workflow_id="w").start()
    change("w", place=1, executor_id=executor_id)

    assert why("w") == f"Its step still runs on {executor_id}; it goes on once that has ended."


@pytest.mark.django_db(transaction=True)
def test_a_call_that_waits_for_long_logs_the_reasons(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("django_dbos.operations.client.PATIENCE", 0.0)
    queues.set("mail", concurrency=1)
    queues.pause("mail", by="ada")
    paused, waiting = noop.using(queue_name="mail").start(), waits.start()
    run_until_idle()

    def is_explained(handle: Any, times: int) -> bool:
        # On a machine that is busy the time may be up before the first pause.
        with pytest.raises(dbos.WaitTimeout):
            handle.get_result(timeout=0.5)
        return len(caplog.messages) == times

    eventually(lambda: is_explained(paused, 1))
    eventually(lambda: is_explained(waiting, 2))

    first, second = caplog.messages
    assert re.search(r"get_result\(\) has waited .*: Queue 'mail' is paused since .* by ada", first)
    assert second.endswith("it waits for message 'go'.")


@pytest.mark.parametrize(
    ("slots", "sentence"),
    [
        (1, "The only slot of its worker is taken."),
        (64, "All 64 slots of its workers are taken."),
    ],
)
def test_workers_without_a_free_slot_are_counted(slots: int, sentence: str) -> None:
    assert str(of_busy_workers(slots)) == sentence
