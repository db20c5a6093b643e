"""Successions: the places that ends free go to the next workflows in the same transaction."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import QuerySet

import django_dbos as dbos
from django_dbos.core.batch.plan import Plan
from django_dbos.core.queues import Part, Visit
from django_dbos.core.records import Claim, Finish, Lane
from django_dbos.core.status import Status
from django_dbos.executor import Executor
from django_dbos.executor.identity import Identity
from django_dbos.executor.lanes import Lanes
from django_dbos.fields import DatabaseNow
from django_dbos.models import Queue, Workflow
from django_dbos.store import errors, get_store
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session
from tests.capabilities import many_writers
from tests.executors import Start
from tests.flow import managed
from tests.flow.managed import make_queue
from tests.store.conftest import register
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db(transaction=True)

ran: list[tuple[str, int]] = []
gate = threading.Event()


@dbos.workflow
def does_nothing(number: int) -> int:
    return number


@dbos.workflow
def notes_executor(number: int) -> int:
    ran.append((str(dbos.current_workflow().workflow_id), number))
    gate.wait(LIMIT)
    return number


@pytest.fixture(autouse=True)
def _nothing_ran() -> Iterator[None]:
    ran.clear()
    gate.clear()
    yield
    gate.set()


# A row that no claim can read, or raise the number of.
SPOIL = (
    "UPDATE dbos_workflow SET claim_number = 'none' WHERE workflow_id = %s"
    if connection.vendor == "sqlite"
    else "UPDATE dbos_workflow SET claim_number = 2147483647 WHERE workflow_id = %s"
)


class Plans:
    """The plans of an executor's batches, and what happens to some of them."""

    def __init__(self, executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
        self.all: list[Plan] = []
        self.lose = 0
        self._apply = executor.store.apply
        monkeypatch.setattr(executor.store, "apply", self.apply)

    def apply(self, *args: Any, **options: Any) -> Plan:
        plan = self._apply(*args, **options)
        self.all.append(plan)
        if self.lose and plan.successions and plan.successions[0][0]:
            self.lose -= 1
            raise errors.Unavailable("lost", is_outcome_unknown=True)
        return plan

    @property
    def claims(self) -> list[Claim]:
        return [claim for plan in self.all for claims, _ in plan.successions for claim in claims]


def start(workflow: Any, count: int, **options: Any) -> list[Any]:
    with transaction.atomic():
        # All at once, so that the queue is full from the first one on.
        using = workflow.using(queue_name="mail", **options)
        return [using.start(number) for number in range(count)]


@pytest.fixture
def store() -> Store:
    return get_store()


@pytest.fixture
def executor_id(store: Store) -> str:
    return register(store)


@pytest.fixture
def session(store: Store, executor_id: str) -> Iterator[Session]:
    """A session that an executor's writer has."""
    session = store.connect(executor_id, "writer")
    yield session
    session.close()


def visit() -> Visit:
    return Visit(queue_name="mail", names=[managed.NAME], limit=10)


def end_of(claim: Claim) -> Finish:
    return Finish(
        workflow_id=claim.workflow_id,
        claim_number=claim.claim_number,
        status=Status.SUCCESS,
        queue_name=claim.ending_frees,
    )


def places() -> int:
    return Workflow.objects.filter(queue_name="mail", place__gt=0).count()


def results(handles: list[Any]) -> list[Any]:
    return [handle.get_result(timeout=LIMIT) for handle in handles]


@pytest.mark.rule(54)
def test_the_places_of_ends_go_to_the_next_workflows_and_no_further(
    store: Store, executor_id: str, session: Session
) -> None:
    make_queue(concurrency=2)
    first, second, third, _ = managed.start(store, 4)
    running = store.claim_in_turn(session, executor_id, visit())[0]
    assert [claim.workflow_id for claim in running] == [first, second]

    plan = store.apply(session, executor_id, [end_of(running[0])], is_repeat=False, visit=visit())

    ((claims, part),) = plan.successions
    assert [claim.workflow_id for claim in claims] == [third]
    assert part.is_full
    assert places() == 2
    assert plan.freed_queues == []


@pytest.mark.rule(54)
@pytest.mark.parametrize("reason", ["a pause", "a rate"])
def test_a_queue_that_lets_nothing_through_has_no_successors(
    store: Store, executor_id: str, session: Session, reason: str
) -> None:
    make_queue(concurrency=1, rate_count=1 if reason == "a rate" else 2, rate_period=600.0)
    managed.start(store, 2)
    (claim,), _ = store.claim_in_turn(session, executor_id, visit())
    if reason == "a pause":
        QuerySet(Queue).filter(name="mail").update(paused_at=DatabaseNow())

    plan = store.apply(session, executor_id, [end_of(claim)], is_repeat=False, visit=visit())

    assert [claims for claims, _ in plan.successions] == [[]]
    assert plan.freed_queues == ["mail"]
    assert places() == 0


def test_a_batch_that_is_decided_leaves_the_claim_to_the_dispatcher(
    store: Store, executor_id: str, session: Session
) -> None:
    make_queue(concurrency=1)
    managed.start(store, 2)
    (claim,), _ = store.claim_in_turn(session, executor_id, visit())

    plan = store.apply(session, executor_id, [end_of(claim)], is_repeat=True, visit=visit())

    assert plan.successions == []
    assert plan.freed_queues == ["mail"]


@pytest.mark.rule(54)
def test_workflows_of_a_full_queue_are_claimed_with_the_ends_before_them(
    start_executor: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_queue(concurrency=1)
    executor = start_executor()
    plans = Plans(executor, monkeypatch)
    handles = start(does_nothing, 40)

    assert results(handles) == list(range(40))
    # The others come from the dispatcher: the first one, some in between, as by PASSED_ON.
    assert plans.claims
    assert len({claim.workflow_id for claim in plans.claims}) == len(plans.claims)
    eventually(lambda: places() == 0)


@pytest.mark.rule(54)
def test_partition_keys_take_turns_in_successions(start_executor: Start) -> None:
    make_queue(concurrency=1)
    handles = start(does_nothing, 30, partition_key="many")
    few = start(does_nothing, 3, partition_key="one")
    start_executor()

    results(handles + few)

    order = list(
        Workflow.objects.order_by("started_at").values_list("partition_key", flat=True)[:12]
    )
    assert order.count("one") == 3


@pytest.mark.rule(54)
def test_a_queue_that_is_paused_has_no_successions(start_executor: Start) -> None:
    make_queue(concurrency=1)
    handles = start(notes_executor, 3)
    start_executor()
    eventually(lambda: ran)
    dbos.queues.pause("mail")

    gate.set()

    results(handles[:1])
    assert [handle.get_status() for handle in handles[1:]] == ["ENQUEUED"] * 2
    dbos.queues.resume("mail")
    assert results(handles) == [0, 1, 2]


@pytest.mark.rule(3)
def test_successors_whose_claim_was_lost_are_claimed_again(
    start_executor: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_queue(concurrency=2)
    executor = start_executor()
    plans = Plans(executor, monkeypatch)
    plans.lose = 2
    handles = start(does_nothing, 20)

    assert results(handles) == list(range(20))
    assert plans.lose == 0
    eventually(lambda: executor.runs.is_idle)
    assert places() == 0


@pytest.mark.rule(10)
def test_a_successor_that_cannot_be_claimed_holds_up_no_end(start_executor: Start) -> None:
    make_queue(concurrency=1)
    handles = start(does_nothing, 5)
    spoilt = handles[2].workflow_id
    with connection.cursor() as cursor:
        cursor.execute(SPOIL, [spoilt])

    start_executor()

    assert results(handles[:2] + handles[3:]) == [0, 1, 3, 4]


@pytest.mark.rule(54)
@many_writers
def test_the_lock_of_a_queue_leaves_its_places_to_the_next_claim(start_executor: Start) -> None:
    make_queue(concurrency=1)
    executor = start_executor()
    handles = start(notes_executor, 3)
    eventually(lambda: ran)
    session = executor.store.connect(executor.executor_id, "test")
    with session.transaction():
        # A claim may hold the lock just now.
        eventually(lambda: session.run("lock_queue", {"queue_name": "mail"})[0][0] == "mail")
        gate.set()
        results(handles[:1])
        assert [handle.get_status() for handle in handles[1:]] == ["ENQUEUED"] * 2
    session.close()

    assert results(handles) == [0, 1, 2]


def test_a_full_queue_has_no_successions_while_there_are_other_lanes(store: Store) -> None:
    lanes = Lanes(Identity(store, None, 1, owns_process=False), time.monotonic)
    mail, other = Lane("mail", None), Lane("other", 0)
    lanes.open({mail, other})
    lanes.turn(mail).is_full = True

    assert lanes.full_turn("mail") is None
    lanes.close(other)
    assert lanes.full_turn("mail") is lanes.turn(mail)
    lanes.close(mail)
    assert lanes.full_turn("mail") is lanes.turn(mail)
    lanes.notify([Lane("mail", 3)])
    assert lanes.full_turn("mail") is lanes.turn(mail)
    lanes.notify([other])
    assert lanes.full_turn("mail") is None


@pytest.mark.rule(54)
def test_an_executor_that_comes_later_gets_its_share(start_executor: Start) -> None:
    make_queue(concurrency=2)
    handles = start(does_nothing, 400)
    start_executor()
    eventually(lambda: Workflow.objects.filter(status="SUCCESS").count() > 20)
    second = start_executor()
    claimed: list[Claim] = []
    second.dispatcher._dispatch = _noting(claimed, second.dispatcher._dispatch)  # type: ignore[method-assign]

    def has_share() -> bool:
        # However late it comes, the first one has something left to give.
        if Workflow.objects.filter(status="ENQUEUED").count() < 100:
            handles.extend(start(does_nothing, 200))
        return len(claimed) > 1

    eventually(has_share)
    results(handles)


def _noting(claimed: list[Claim], dispatch: Any) -> Any:
    def noted(claims: Any, began: float) -> None:
        claimed.extend(claims)
        dispatch(claims, began)

    return noted


def ended(queue_name: str) -> Finish:
    return Finish(workflow_id="a", claim_number=1, status=Status.SUCCESS, queue_name=queue_name)


def claimed(queue_name: str, place: int = 1) -> Claim:
    return Claim(
        workflow_id="b", claim_number=1, name="b", input="", token=uuid.uuid4(),
        queue_name=queue_name, place=place,
    )  # fmt: skip


def test_a_queue_has_free_places_if_fewer_were_taken_than_its_ends_have_freed() -> None:
    plan = Plan(finished=[ended("mail"), ended("mail"), ended("other")])
    plan.successions.append(([claimed("mail")], Part()))
    assert plan.freed_queues == ["mail", "other"]

    plan.successions.append(([claimed("mail")], Part()))
    assert plan.freed_queues == ["other"]


def test_a_place_that_was_kept_while_waiting_takes_no_free_one() -> None:
    plan = Plan(finished=[ended("mail")])
    plan.successions.append(([claimed("mail", place=2)], Part()))

    assert plan.freed_queues == ["mail"]
