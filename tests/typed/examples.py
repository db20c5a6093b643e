"""Code of users that a type checker must accept, with the types that it must infer."""

from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

import django_dbos as dbos
from django_dbos.models import Checkpoint, Inquiry, Workflow


@dbos.workflow
def total(prices: list[int], *, discount: int = 0) -> int:
    return sum(prices) - discount


@dbos.workflow(queue_name="slow", timeout=timedelta(hours=1))
async def atotal(price: int) -> int:
    return price


@dbos.schedule("0 3 * * *", overlap="skip")
@dbos.workflow
def nightly() -> int:
    return 1


def schedules() -> None:
    assert_type(nightly.start().get_result(), int)
    dbos.schedules.create("total", total, every=timedelta(hours=1), args=[[1, 2]])
    assert_type(dbos.schedules.get("total").description, str)


@dbos.step
def fetch(url: str, retries: int = 1) -> bytes:
    return b""


class Shop:
    @staticmethod
    @dbos.workflow
    def opened(hour: int) -> str:
        return str(hour)


class Mailer:
    @dbos.step(max_attempts=3)
    def send(self, to: str) -> bool:
        return bool(to)

    @dbos.step
    async def asend(self, to: str) -> bool:
        return bool(to)


def starts() -> None:
    assert_type(total([1]), int)
    assert_type(Shop.opened.start(8).get_result(), str)
    assert_type(total.start([1], discount=2).get_result(), int)
    assert_type(total.start_many([([1],), {"prices": [1]}]), list[dbos.WorkflowHandle[int]])
    later = total.using(workflow_id="t", run_after=datetime.now(UTC), on_existing="reject")
    assert_type(
        later.using(timeout=None, user=7, attributes={"a": [1]}).start([1]).get_result(), int
    )
    options: dbos.StartOptions = {"priority": 5, "run_after": timedelta(minutes=5)}
    total.using(**options).using(deduplication_id="d", on_duplicate="return").start([1])
    dbos.start_by_name("shop.checkout", 7, sku="pan", using=options)
    handle = dbos.start_by_name("shop.checkout", using={"queue_name": None, "timeout": 2.5})
    assert_type(handle.describe().status, Workflow.Status)
    assert_type(handle.run_now(), bool)
    handles = total.start_many([([1],)])
    assert_type(dbos.get_results(handles), list[int])
    assert_type(dbos.get_results(handles, return_exceptions=True), list[int | BaseException])
    assert_type(total.map([[1], [2]], concurrency=2, tolerate=0.5), list[int])
    winner = dbos.wait_any(handles[0], paid=dbos.message("paid"), late=dbos.until(60))
    assert_type(winner.name, str | int)
    assert_type(dbos.wait_any(dbos.event("id", "key"), default="late"), dbos.Winner | str)
    dbos.wait_any(dbos.stream_entry("id", "key", 3), timeout=timedelta(hours=1))
    received = dbos.recv(topics=["a", None], timeout=timedelta(days=1))
    assert_type(received.topic, str | None)
    assert_type(dbos.recv(topics=["a"], default=None), dbos.Received | None)
    row = Workflow.objects.get(pk="t")
    assert_type(row.handle.cancel(children=True), bool)
    assert_type(row.handle.steps(), list[Checkpoint])


def steps() -> None:
    assert_type(fetch("/", retries=2), bytes)
    assert_type(Mailer().send("ada"), bool)
    assert_type(dbos.run_step(len, "abc"), int)


def messages() -> None:
    dbos.send_many([{"workflow_id": "w", "message": 1, "topic": None, "idempotency_key": "k"}])
    several: list[dbos.OutgoingMessage] = [{"workflow_id": "w", "message": n} for n in range(3)]
    dbos.send_many(several)


def people() -> None:
    answer = dbos.wait_for_form("shop.forms.RefundForm", timeout=timedelta(days=7), default=None)
    assert_type(answer, dbos.FormAnswer | None)
    data, user_id = dbos.wait_for_form("shop.forms.RefundForm", users=[1], reminders=[60])
    assert_type(data, dict[str, Any])
    assert_type(user_id, str | None)
    assert_type(dbos.form("shop.forms.RefundForm"), dbos.Awaited[dbos.FormAnswer])
    assert_type(dbos.callback_url("paid", max_age=timedelta(days=1)), str)
    assert_type(Inquiry.objects.pending().get().may_be_answered_by(None), bool)


async def awaits() -> None:
    assert_type(await atotal(1), int)
    assert_type(await atotal.acall(1), int)
    assert_type(await (await atotal.using(priority=1).astart(1)).aget_result(), int)
    assert_type(await Mailer().asend("ada"), bool)
    assert_type(await Mailer().send.acall("ada"), bool)
    await dbos.asend_many([{"workflow_id": "w", "message": 1}])
    await dbos.astart_by_name("shop.checkout", using={"user": None})
