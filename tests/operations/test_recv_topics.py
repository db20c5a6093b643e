"""recv(topics=[...]): the oldest message of several topics, and the topic on which it came."""

from __future__ import annotations

from typing import Any

import pytest

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.models import Message, Wake, Workflow
from django_dbos.testing import advance, run_until_idle
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db


@dbos.workflow
def receives(topics: list[str | None], count: int = 1, timeout: Any = 600) -> Any:
    return [list(dbos.recv(topics=topics, timeout=timeout)) for _ in range(count)]


@dbos.workflow
async def areceives(topics: list[str | None], count: int = 1, timeout: Any = 600) -> Any:  # noqa: ASYNC109
    return [list(await dbos.arecv(topics=topics, timeout=timeout)) for _ in range(count)]


BOTH = [receives, areceives]


def row_of(handle: Any) -> Workflow:
    return Workflow.objects.get(pk=handle.workflow_id)


@pytest.mark.rule(28)
@pytest.mark.parametrize("workflow", BOTH)
def test_messages_keep_their_order_across_topics(workflow: Any) -> None:
    handle = workflow.start(["a", "b", None], count=4)
    handle.send(1, topic="b")
    handle.send(2, topic="a")
    handle.send(3)
    handle.send(0, topic="other")
    handle.send(4, topic="b")
    run_until_idle()

    assert handle.get_result() == [["b", 1], ["a", 2], [None, 3], ["b", 4]]
    assert Message.objects.get(consumed_at=None).topic == "other"


@pytest.mark.rule(15)
@pytest.mark.rule(70)
@pytest.mark.parametrize("workflow", BOTH)
def test_a_message_on_any_of_the_topics_wakes_the_workflow(workflow: Any) -> None:
    handle = workflow.start(["a", "b"], count=2)
    run_until_idle()
    row = row_of(handle)
    assert (row.status, row.wake_kind, row.due_at is None) == ("WAITING", "any", False)
    assert Wake.objects.count() == 2

    handle.send(1, topic="b")
    run_until_idle()
    handle.send(2, topic="a")
    run_until_idle()

    assert handle.get_result() == [["b", 1], ["a", 2]]
    assert not Wake.objects.exists()


@pytest.mark.rule(13)
def test_each_crash_consumes_each_message_once(run_through_crashes: Any) -> None:
    def start() -> Any:
        handle = receives.start(["a", "b"], count=2)
        handle.send({"$x": 1}, topic="b")
        handle.send(2, topic="a")
        return handle

    def check(handle: Any) -> None:
        assert handle.get_result() == [["b", {"$x": 1}], ["a", 2]]

    run_through_crashes(start, check)


@pytest.mark.rule(17)
@pytest.mark.parametrize("workflow", BOTH)
def test_without_a_message_it_times_out(workflow: Any) -> None:
    handle = workflow.start(["a", "b"], timeout=60)
    run_until_idle()
    advance(61)
    run_until_idle()

    with pytest.raises(dbos.WaitTimeout, match="a message 'a' or 'b'"):
        handle.get_result()


def test_a_default_is_returned_as_it_is() -> None:
    @dbos.workflow
    def has_default() -> Any:
        return dbos.recv(topics=["a", "b"], timeout=0, default="none")

    assert has_default() == "none"


def test_a_received_message_names_its_parts() -> None:
    @dbos.workflow
    def named(own: str) -> Any:
        dbos.send(own, (1, 2), topic="a")
        received = dbos.recv(topics=["a"])
        return [type(received).__name__, received.topic, received.message]

    assert named.using(workflow_id="own")("own") == ["Received", "a", (1, 2)]


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"topics": []}, ValueError, "topics can't be empty"),
        ({"topics": "ab"}, TypeError, "not the str 'ab'"),
        ({"topics": ["a", "a"]}, ValueError, "twice"),
        ({"topics": ["a", 1]}, TypeError, "A topic must be a str"),
        ({"topic": "a", "topics": ["b"]}, TypeError, "not both"),
    ],
)
def test_bad_topics_are_refused_at_the_caller(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        dbos.recv(**arguments)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("workflow", BOTH)
def test_a_worker_is_woken(worker: Executor, workflow: Any) -> None:
    handle = workflow.start(["a", "b"], count=3)
    for number in range(3):
        eventually(lambda: row_of(handle).status == "WAITING")
        handle.send(number, topic="ab"[number % 2])

    assert handle.get_result(timeout=LIMIT) == [["a", 0], ["b", 1], ["a", 2]]
